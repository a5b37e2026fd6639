//! The options of a consumer.

use std::time::Duration;

use crate::event::Position;

/// What happens to an event that failed as often as it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnFailure {
    /// The consumer ends with [`ConsumerError::Failed`](super::ConsumerError::Failed). Its
    /// checkpoint stays before the event. The default.
    #[default]
    Stop,
    /// The event is parked, and so is every later event of its aggregate, so that they stay in
    /// order. The consumer continues with the other aggregates. See
    /// [`ConsumerHandle::retry_parked`](super::ConsumerHandle::retry_parked).
    Park,
}

/// Where a consumer without a checkpoint begins.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    At(Position),
    End,
}

/// How a consumer handles events, fails and saves its checkpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConsumerOptions {
    pub(super) batch: usize,
    pub(super) checkpoint_every: usize,
    pub(super) checkpoint_interval: Duration,
    pub(super) attempts: u32,
    pub(super) pause: Duration,
    pub(super) longest_pause: Duration,
    pub(super) on_failure: OnFailure,
    pub(super) max_parked: usize,
    pub(super) rebuild: bool,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        ConsumerOptions {
            batch: 256,
            checkpoint_every: 1_000,
            checkpoint_interval: Duration::from_secs(1),
            attempts: 5,
            pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(5),
            on_failure: OnFailure::Stop,
            max_parked: 1_000,
            rebuild: false,
        }
    }
}
