//! What bounds the whole store: bytes in flight, and the door that closes.
//!
//! ```text
//! caller ── permit of the aggregate ─▶ room for its bytes? ── yes: one step ───────────▶ ticket
//!                                          └── no: counted, and in line until there is ─▶ ticket
//! ```
//!
//! # What must stay true
//!
//! - One word holds whether the door is open, how many are inside and how many bytes they hold. So
//!   nobody enters after the door was seen closed and empty.
//! - A caller that waits for room is counted first. So either it sees the room that another caller
//!   gives back, or that caller sees that somebody waits.
//! - Nobody overtakes the line: room that is too small for its head is kept for the head.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::{Notify, Semaphore};

use crate::error::AppendError;

/// Whether an append waits for room or is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    ForRoom,
    Never,
}

const CLOSED: u64 = 1 << 63;
/// One append inside. The bits below count the bytes that all of them hold.
const ONE: u64 = 1 << 32;

/// The door of the store. Cheap to pass while it is open and there is room.
pub(super) struct Admission {
    /// [`CLOSED`], how many are inside, and their bytes.
    door: AtomicU64,
    /// Callers that wait for room.
    waiting: AtomicUsize,
    bytes_total: u32,
    /// Has one permit, which the head of the line holds.
    line: Semaphore,
    /// Notifies the head of the line when room is given back.
    given_back: Notify,
    drained: Notify,
}

impl Admission {
    pub(super) fn new(bytes_in_flight: usize) -> Self {
        Admission {
            door: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            bytes_total: u32::try_from(bytes_in_flight).unwrap_or(u32::MAX),
            line: Semaphore::new(1),
            given_back: Notify::new(),
            drained: Notify::new(),
        }
    }

    /// Takes one of `permits` and room for `bytes`; waits for both, or answers `busy` instead. Both
    /// are given back by [`Admission::leave`] and to the semaphore.
    pub(super) async fn acquire(
        &self,
        permits: &Semaphore,
        bytes: u32,
        wait: Wait,
        busy: impl FnOnce() -> AppendError,
    ) -> Result<(), AppendError> {
        let permit = match permits.try_acquire() {
            Ok(permit) if self.enter_with(bytes)? => {
                permit.forget();
                return Ok(());
            }
            permit => permit.ok(),
        };
        let entered = self.enter()?;
        if wait == Wait::Never {
            return Err(busy());
        }
        let permit = match permit {
            Some(permit) => permit,
            None => permits.acquire().await.map_err(|_| AppendError::Closed)?,
        };
        self.room_for(bytes).await?;
        permit.forget();
        std::mem::forget(entered);
        Ok(())
    }

    /// Enters with these bytes, unless there is no room for them or a caller waits for room.
    fn enter_with(&self, bytes: u32) -> Result<bool, AppendError> {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            return Ok(false);
        }
        let fits = |door| is_open(door) && self.has_room(door, bytes);
        match self.step(|door| fits(door).then(|| ONE + u64::from(bytes))) {
            Ok(()) => Ok(true),
            Err(door) if is_open(door) => Ok(false),
            Err(_closed) => Err(AppendError::Closed),
        }
    }

    /// Enters without bytes. Closing waits for those inside.
    fn enter(&self) -> Result<Entered<'_>, AppendError> {
        let entered = self.step(|door| is_open(door).then_some(ONE));
        entered.map(|()| Entered(self)).map_err(|_closed| AppendError::Closed)
    }

    /// Waits in line for room for these bytes, and takes it. Only for callers that have entered.
    async fn room_for(&self, bytes: u32) -> Result<(), AppendError> {
        let _waiting = Waiting::new(&self.waiting);
        let _head = self.line.acquire().await.map_err(|_| AppendError::Closed)?;
        while self.step(|door| self.has_room(door, bytes).then(|| bytes.into())).is_err() {
            // A notification that comes before this is stored, and not lost.
            self.given_back.notified().await;
            if self.line.is_closed() {
                return Err(AppendError::Closed);
            }
        }
        Ok(())
    }

    /// Adds what `add` computes from the door, or returns the door if that is nothing.
    fn step(&self, add: impl Fn(u64) -> Option<u64>) -> Result<(), u64> {
        let step = |door| add(door).map(|add| door + add);
        self.door.fetch_update(Ordering::SeqCst, Ordering::SeqCst, step).map(drop)
    }

    fn has_room(&self, door: u64, bytes: u32) -> bool {
        door % ONE + u64::from(bytes) <= u64::from(self.bytes_total)
    }

    /// The bytes that an append of this size takes. One that is larger than all room takes all of
    /// it, and so passes alone.
    pub(super) fn bytes_of(&self, size_bytes: usize) -> u32 {
        u32::try_from(size_bytes).unwrap_or(u32::MAX).min(self.bytes_total)
    }

    pub(super) fn leave(&self, bytes: u32) {
        let before = self.door.fetch_sub(ONE + u64::from(bytes), Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.given_back.notify_one();
        }
        if !is_open(before) && inside(before) == 1 {
            self.drained.notify_waiters();
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        !is_open(self.door.load(Ordering::SeqCst))
    }

    pub(super) fn close(&self) {
        self.door.fetch_or(CLOSED, Ordering::SeqCst);
        self.drained.notify_waiters();
    }

    /// The close deadline has passed: answers everybody who waits for bytes that the store is
    /// closed.
    pub(super) fn give_up(&self) {
        self.line.close();
        // Kept for a head of the line that does not wait yet.
        self.given_back.notify_one();
    }

    /// How many appends are admitted and not answered.
    pub(super) fn admitted(&self) -> usize {
        inside(self.door.load(Ordering::SeqCst))
    }

    /// Waits until everything admitted is answered. Call it after closing.
    pub(super) async fn drained(&self) {
        loop {
            let drained = self.drained.notified();
            let mut drained = std::pin::pin!(drained);
            drained.as_mut().enable();
            if self.admitted() == 0 {
                return;
            }
            drained.await;
        }
    }
}

fn is_open(door: u64) -> bool {
    door & CLOSED == 0
}

fn inside(door: u64) -> usize {
    usize::try_from((door & !CLOSED) / ONE).unwrap_or(usize::MAX)
}

/// A caller that has entered and has no ticket yet.
struct Entered<'a>(&'a Admission);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.leave(0);
    }
}

/// A caller that waits for room, until it has room or gives up.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::SeqCst);
        Waiting(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn nobody_passes_the_line() {
        let admission = Admission::new(10);
        assert!(admission.enter_with(4).unwrap());
        assert!(admission.enter_with(4).unwrap());
        let mut large = pin!(admission.room_for(6));
        assert!(large.as_mut().now_or_never().is_none());
        assert!(!admission.enter_with(1).unwrap(), "it would fit, and came later");
        let mut small = pin!(admission.room_for(1));
        assert!(small.as_mut().now_or_never().is_none());

        admission.leave(4);
        assert!(small.as_mut().now_or_never().is_none());
        assert!(large.as_mut().now_or_never().is_some());
        assert!(small.as_mut().now_or_never().is_none(), "there is no room for it");
        admission.leave(4);
        assert!(small.as_mut().now_or_never().is_some());
        assert!(admission.enter_with(3).unwrap());
    }

    #[test]
    fn a_caller_that_gives_up_blocks_nobody() {
        let admission = Admission::new(10);
        assert!(admission.enter_with(8).unwrap());
        let mut large = Box::pin(admission.room_for(10));
        let mut small = pin!(admission.room_for(2));
        assert!(large.as_mut().now_or_never().is_none());
        assert!(small.as_mut().now_or_never().is_none());
        // Notified, and dropped before it looked.
        admission.leave(8);
        admission.enter().unwrap();
        drop(large);
        assert!(small.as_mut().now_or_never().is_some());
        assert!(admission.enter_with(8).unwrap());
        assert!(!admission.enter_with(1).unwrap());
    }

    #[test]
    fn a_closed_door_lets_those_inside_finish() {
        let admission = Admission::new(10);
        assert!(admission.enter_with(10).unwrap());
        let inside = admission.enter().unwrap();
        let mut waits = pin!(admission.room_for(10));
        assert!(waits.as_mut().now_or_never().is_none());

        admission.close();
        assert!(matches!(admission.enter(), Err(AppendError::Closed)));
        assert!(matches!(admission.enter_with(0), Ok(false) | Err(AppendError::Closed)));
        let mut drained = pin!(admission.drained());
        assert!(drained.as_mut().now_or_never().is_none());
        admission.leave(10);
        assert!(waits.as_mut().now_or_never().is_some());
        assert!(drained.as_mut().now_or_never().is_none());
        std::mem::forget(inside);
        admission.leave(10);
        assert!(drained.as_mut().now_or_never().is_some());
        assert_eq!(admission.admitted(), 0);
    }
}
