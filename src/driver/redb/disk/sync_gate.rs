//! What a failed flush leaves behind: no later flush of the same thing succeeds.
//!
//! A system reports a failed flush once, to whoever flushes next, and drops what it could not
//! write. The flush after that succeeds although data is lost. So everything that is flushed (a
//! file, or the names in the store's directory) has a gate: its flushes happen one after the other,
//! and after the first failure each is refused until the store is opened again.

use std::io;
use std::sync::{Mutex, PoisonError};

/// Whether a flush of one file, or of the names, has failed.
#[derive(Debug, Default)]
pub(in crate::driver::redb) struct SyncGate {
    /// Held while a flush is under way.
    has_failed: Mutex<bool>,
}

impl SyncGate {
    /// Flushes, unless an earlier flush has failed. `what` names the thing in the error.
    pub(in crate::driver::redb) fn pass(
        &self,
        what: &str,
        sync: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let mut has_failed = self.has_failed.lock().unwrap_or_else(PoisonError::into_inner);
        if *has_failed {
            return Err(io::Error::other(format!("an earlier flush of {what} failed")));
        }
        sync().inspect_err(|_| *has_failed = true)
    }

    /// Whether a flush has failed.
    pub(in crate::driver::redb) fn has_failed(&self) -> bool {
        *self.has_failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn after_a_failure_nothing_is_flushed() {
        let gate = SyncGate::default();
        gate.pass("it", || Ok(())).unwrap();
        gate.pass("it", || Err(io::Error::other("no"))).unwrap_err();
        assert!(gate.has_failed());
        let refused = gate.pass("it", || panic!("flushed")).unwrap_err();
        assert!(refused.to_string().contains("it"), "{refused}");
    }
}
