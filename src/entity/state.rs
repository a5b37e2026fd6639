//! An entity's state in the mailroom: folded from stored events, saved as snapshots.
//!
//! The format of a snapshot, little-endian: `kind u8 (1 = state) · version u8 (2) · the aggregate's
//! snapshot version u32 · sequence u64 · skipped u8 (1: events of unknown types were skipped) ·
//! fingerprint 16 bytes · the state as JSON`.
//!
//! What must stay true: a snapshot is equal to the fold of what is stored up to its sequence. So it
//! is not used when upcasters, or the known types behind a skipped event, are others than when it
//! was taken; and a state that its own JSON cannot hold is never taken.

use std::sync::Arc;

use bytes::{BufMut, Bytes};

use super::Aggregate;
use super::options::Snapshots;
use super::setup::{EntitySetup, EventRead};
use crate::error::LoadError;
use crate::event::{KeyedEvent, Sequence, is_same_json, to_strict_json};
use crate::mailroom::BoxedState;

const KIND_STATE: u8 = 1;
const VERSION: u8 = 2;

/// A state, and how events are read into it.
pub(super) struct Folded<A: Aggregate> {
    pub(super) state: A,
    /// The sequence of the last event in it.
    pub(super) sequence: Sequence,
    /// Whether an event was skipped because the enum does not know its type.
    skipped: bool,
    pub(super) setup: Arc<EntitySetup<A>>,
}

impl<A: Aggregate> Folded<A> {
    pub(super) fn blank(setup: Arc<EntitySetup<A>>) -> Self {
        Self::of(A::default(), Sequence::NONE, setup)
    }

    pub(super) fn of(state: A, sequence: Sequence, setup: Arc<EntitySetup<A>>) -> Self {
        Folded { state, sequence, skipped: false, setup }
    }

    /// The state as JSON that reads back as an equal state.
    fn write_state(&self, out: &mut Vec<u8>) -> Result<(), String> {
        let begin = out.len();
        to_strict_json(&self.state, out).map_err(|error| error.to_string())?;
        let json = out.get(begin..).unwrap_or_default();
        let survives = || -> Result<bool, String> {
            let read_back: A = serde_json::from_slice(json).map_err(|error| error.to_string())?;
            let mut again = Vec::with_capacity(json.len());
            to_strict_json(&read_back, &mut again).map_err(|error| error.to_string())?;
            Ok(again == json || is_same_json(&again, json))
        };
        // The values that JSON cannot hold are refused each time. The rest is a matter of the type.
        let survives = match self.setup.state_survives.get() {
            Some(survives) => *survives,
            None => *self.setup.state_survives.get_or_init(|| survives().unwrap_or(false)),
        };
        match survives {
            true => Ok(()),
            false => Err("it would read back as another state".to_owned()),
        }
    }
}

impl<A: Aggregate> BoxedState for Folded<A> {
    fn apply(&mut self, event: KeyedEvent) -> Result<(), LoadError> {
        let sequence = event.sequence;
        match self.setup.event(event)? {
            EventRead::Event(event) => self.state.apply(&event),
            EventRead::Skipped => self.skipped = true,
            EventRead::Dropped => {}
        }
        self.sequence = sequence;
        Ok(())
    }

    fn snapshot_every(&self) -> Option<u64> {
        match self.setup.snapshots {
            Snapshots::Never => None,
            Snapshots::Every(events) => Some(events.max(1)),
        }
    }

    fn to_snapshot(&self, last: Sequence) -> Option<Bytes> {
        let mut snapshot = vec![KIND_STATE, VERSION];
        snapshot.put_u32_le(A::SNAPSHOT_VERSION);
        snapshot.put_u64_le(last.get());
        snapshot.put_u8(self.skipped.into());
        snapshot.extend_from_slice(self.setup.fingerprint(self.skipped).as_bytes());
        match self.write_state(&mut snapshot) {
            Ok(()) => Some(snapshot.into()),
            Err(error) => {
                tracing::warn!(kind = A::KIND, error, "no snapshot can be taken of this state");
                None
            }
        }
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<Sequence, String> {
        let too_short = || "it is too short".to_owned();
        let (head, rest) = snapshot.split_first_chunk::<2>().ok_or_else(too_short)?;
        if *head != [KIND_STATE, VERSION] {
            return Err(format!("its kind and version {head:?} are not known"));
        }
        let (version, rest) = rest.split_first_chunk::<4>().ok_or_else(too_short)?;
        let version = u32::from_le_bytes(*version);
        if version != A::SNAPSHOT_VERSION {
            let now = A::SNAPSHOT_VERSION;
            return Err(format!("it was taken by version {version} of the state, now {now}"));
        }
        let (sequence, rest) = rest.split_first_chunk::<8>().ok_or_else(too_short)?;
        let (skipped, rest) = rest.split_first_chunk::<1>().ok_or_else(too_short)?;
        let skipped = *skipped != [0];
        let (fingerprint, state) = rest.split_first_chunk::<16>().ok_or_else(too_short)?;
        if fingerprint != self.setup.fingerprint(skipped).as_bytes() {
            return Err("upcasters or known event types have changed since it was taken".to_owned());
        }
        self.state = serde_json::from_slice(state).map_err(|error| error.to_string())?;
        self.sequence = Sequence::new(u64::from_le_bytes(*sequence));
        self.skipped = skipped;
        Ok(self.sequence)
    }

    fn reset(&mut self) {
        *self = Self::blank(self.setup.clone());
    }

    fn resident_bytes(&self) -> usize {
        self.state.resident_bytes()
    }
}
