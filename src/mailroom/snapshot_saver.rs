//! Saves the snapshots of one aggregate's entity in the background, in order.
//!
//! ```text
//! a turn ─▶ the latest snapshot waits ─▶ one task saves it, and then the one that waits
//! ```
//!
//! # What must stay true
//!
//! - At most one snapshot of an aggregate is being saved and at most one waits: the latest. So a
//!   store of snapshots that hangs holds no more, and no snapshot replaces a later one.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;

use super::shared::Shared;
use crate::driver::DriverError;
use crate::driver::bounded::bounded;
use crate::event::AggregateKey;
use crate::sync::{Mutex, MutexGuard};

/// Saves snapshots of one aggregate.
#[derive(Default)]
pub(super) struct SnapshotSaver(Mutex<Saving>);

#[derive(Default)]
struct Saving {
    is_running: bool,
    waiting: Option<Bytes>,
}

impl SnapshotSaver {
    fn saving(&self) -> MutexGuard<'_, Saving> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Saves this snapshot, unless a later one comes before its turn. Nobody waits for it; if it
    /// fails, the next load reads more.
    pub(super) fn save(self: &Arc<Self>, shared: &Arc<Shared>, key: &AggregateKey, latest: Bytes) {
        {
            let mut saving = self.saving();
            saving.waiting = Some(latest);
            if std::mem::replace(&mut saving.is_running, true) {
                return;
            }
        }
        let (saver, saved, key) = (self.clone(), shared.clone(), key.clone());
        shared.spawn(async move {
            while let Some(snapshot) = saver.next() {
                if let Err(error) = save(&saved, &key, snapshot).await {
                    tracing::warn!(%key, %error, "a snapshot could not be saved");
                }
            }
        });
    }

    /// The one that waits. Without one, the task has ended.
    fn next(&self) -> Option<Bytes> {
        let mut saving = self.saving();
        let next = saving.waiting.take();
        saving.is_running = next.is_some();
        next
    }
}

/// A save that panics or hangs must not keep later ones from being saved.
async fn save(shared: &Shared, key: &AggregateKey, snapshot: Bytes) -> Result<(), DriverError> {
    let Some(snapshots) = shared.driver.snapshots() else { return Ok(()) };
    let saving = bounded(shared.config.put_deadline, || snapshots.save_snapshot(key, snapshot));
    saving.await.unwrap_or_else(|no_answer| Err(no_answer.to_put()))
}
