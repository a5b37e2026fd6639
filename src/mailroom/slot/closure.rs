//! An append that is decided in its turn, by a closure of the application's.

use std::sync::Arc;

use crate::error::AppendError;
use crate::event::{CheckedEvents, Sequence};
use crate::mailroom::shared::Shared;
use crate::user_code::{self, Panicked};

/// Makes an append's events of the aggregate's latest sequence, or refuses. May be called again
/// with another sequence.
pub(crate) type DecideEvents = dyn FnMut(Sequence) -> Result<CheckedEvents, AppendError> + Send;

/// The closure of an append, on its way with the mail. It returns to the caller, who drops it.
/// Anywhere else it is dropped on the store's own runtime, because the thread may be a driver's.
pub(in crate::mailroom) struct AppendClosure {
    decide: Option<Box<DecideEvents>>,
    shared: Arc<Shared>,
}

impl AppendClosure {
    pub(in crate::mailroom) fn new(decide: Box<DecideEvents>, shared: Arc<Shared>) -> Self {
        AppendClosure { decide: Some(decide), shared }
    }

    /// What it decides on this sequence.
    pub(super) fn decide(
        &mut self,
        latest: Sequence,
    ) -> Result<Result<CheckedEvents, AppendError>, Panicked> {
        let decided = match &mut self.decide {
            Some(decide) => user_code::call(|| decide(latest)),
            None => Err(Panicked),
        };
        if decided.is_err() {
            // What panicked is not called again.
            self.discard();
        }
        decided
    }

    fn discard(&mut self) {
        if let Some(decide) = self.decide.take() {
            self.shared.discard(decide);
        }
    }

    /// Drops it here, in the caller's task.
    pub(in crate::mailroom) fn drop_here(mut self) {
        drop(self.decide.take());
    }
}

impl Drop for AppendClosure {
    fn drop(&mut self) {
        self.discard();
    }
}
