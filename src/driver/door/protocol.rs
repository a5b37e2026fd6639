//! What goes through a door: requests that only read, and their answers, as JSON.
//!
//! Both sides begin with a [`DoorHello`]. Within one version of the protocol, neither the requests
//! nor the answers change.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::driver::DriverError;
use crate::event::{AggregateKey, KeyedEvent, Position, Sequence};

/// The version of the protocol. Another one is refused, and both are named.
pub const PROTOCOL: u32 = 1;
/// Connections at a time; further ones are refused.
pub const MAX_CONNECTIONS: usize = 16;

/// The largest request: a key or a prefix, and numbers.
pub(super) const MAX_REQUEST_BYTES: usize = 16 << 10;
/// The largest answer: a page, or one event, which the driver's limits keep below 8 MiB.
pub(super) const MAX_ANSWER_BYTES: usize = 64 << 20;
/// The most events in a page. A page also ends at about 1 MiB.
pub(super) const PAGE_EVENTS: usize = 1_000;
/// The longest prefix of keys that makes sense.
pub(super) const MAX_PREFIX_BYTES: usize = AggregateKey::MAX_BYTES;

/// How long a connection may be quiet before the owner ends it. A client connects again.
pub(super) const IDLE: Duration = Duration::from_secs(60);
/// How long a frame may take once its first byte is there, and the hello from the beginning.
pub(super) const FRAME_TIME: Duration = Duration::from_secs(5);
/// How long a write may wait for a peer that does not read.
pub(super) const WRITE_TIME: Duration = Duration::from_secs(10);
/// How long the owner waits for a new event before it answers that there is none.
pub(super) const WAIT: Duration = Duration::from_secs(5);
/// How long a client waits for an answer.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(30);

/// The first frame of each side.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct DoorHello {
    /// The protocol that this side speaks.
    pub(super) protocol: u32,
    /// The version of its seriatim, for messages.
    pub(super) version: String,
    /// Its process, for messages.
    pub(super) process: u32,
}

impl DoorHello {
    pub(super) fn ours() -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        DoorHello { protocol: PROTOCOL, version, process: std::process::id() }
    }
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum DoorRequest {
    LatestSequence {
        key: AggregateKey,
    },
    Events {
        key: AggregateKey,
        after: Option<Sequence>,
        backwards: bool,
        limit: usize,
    },
    Keys {
        prefix: String,
        after: Option<AggregateKey>,
    },
    Log {
        from: Option<Position>,
        backwards: bool,
        limit: usize,
    },
    LastPosition {},
    /// Answers when there is an event behind this position, or after [`WAIT`].
    EventsBehind {
        position: Position,
    },
    Checkpoint {
        name: String,
    },
    Stats {},
    Space {},
    Verify {},
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum DoorAnswer {
    Sequence(Sequence),
    Events {
        events: Vec<KeyedEvent>,
        more: bool,
    },
    Keys(Vec<AggregateKey>),
    Position(Position),
    Checkpoint(Option<Vec<u8>>),
    Stats(DoorStats),
    Space(DoorSpace),
    /// How far a verification has come; more follow, then `Verified`.
    Progress {
        done: u64,
        total: u64,
    },
    Verified {
        events: u64,
        aggregates: u64,
    },
    Refused {
        kind: DoorRefusal,
        message: String,
    },
}

/// The figures of the owner's driver that a reader can use.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct DoorStats {
    pub(super) events: Option<u64>,
    pub(super) keys: Option<u64>,
    pub(super) disk_bytes: Option<u64>,
    pub(super) journal_files: u64,
    pub(super) journal_bytes: u64,
    pub(super) tail_bytes: u64,
    pub(super) apply_lag_events: u64,
    pub(super) reserve_bytes: u64,
}

#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct DoorSpace {
    pub(super) file_bytes: u64,
    pub(super) log_bytes: u64,
    pub(super) index_bytes: u64,
    pub(super) other_bytes: u64,
    pub(super) free_bytes: u64,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum DoorRefusal {
    Unsupported,
    Closed,
    Unavailable,
    Damaged,
    Failed,
}

impl DoorAnswer {
    /// The driver's error without its source, which has no form.
    pub(super) fn refused(error: &DriverError) -> Self {
        let kind = match error {
            DriverError::Unsupported { .. } => DoorRefusal::Unsupported,
            DriverError::Closed => DoorRefusal::Closed,
            DriverError::Unavailable { .. } => DoorRefusal::Unavailable,
            DriverError::Damaged { .. } => DoorRefusal::Damaged,
            _ => DoorRefusal::Failed,
        };
        DoorAnswer::Refused { kind, message: error.to_string() }
    }
}

impl DoorRefusal {
    pub(super) fn error(self, message: String) -> DriverError {
        match self {
            DoorRefusal::Unsupported => DriverError::unsupported(message),
            DoorRefusal::Closed => DriverError::Closed,
            DoorRefusal::Unavailable => DriverError::unavailable(message),
            DoorRefusal::Damaged => DriverError::damaged(message),
            DoorRefusal::Failed => DriverError::failed(message),
        }
    }
}
