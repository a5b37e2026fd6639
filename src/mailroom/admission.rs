//! What bounds the whole store: bytes in flight, and the door that closes.
//!
//! ```text
//! mail ── permit of the aggregate ─▶ room for its bytes? ── yes: one step ────────────▶ inbox
//!                                        └── no: in line, until whoever leaves lets it in ─▶ inbox
//! ```
//!
//! # What must stay true
//!
//! - One word holds whether the door is open, how many are inside and how many bytes they hold. So
//!   nobody enters after the door was seen closed and empty.
//! - Nobody overtakes the line ([`Line`]).

use tokio::sync::Notify;

use super::line::{Line, Place};
use crate::error::AppendError;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Whether an append waits for room or is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    ForRoom,
    Never,
}

const CLOSED: u64 = 1 << 63;
/// One append inside. The bits below count the bytes that all of them hold.
const ONE: u64 = 1 << 32;

/// What waits for room for its bytes. It has entered, without bytes.
pub(super) trait WaitsForBytes: Send {
    fn bytes(&self) -> u32;

    /// Its bytes are taken: it goes on. Returns what is left to do when the line is not locked.
    fn enter(self: Box<Self>) -> Box<dyn FnOnce()>;

    /// The store is closed.
    fn refuse(self: Box<Self>);
}

/// The door of the store. Cheap to pass while it is open and there is room.
pub(super) struct Admission {
    /// [`CLOSED`], how many are inside, and their bytes.
    door: AtomicU64,
    bytes_total: u32,
    line: Line<Box<dyn WaitsForBytes>>,
    places: AtomicU64,
    drained: Notify,
}

impl Admission {
    pub(super) fn new(bytes_in_flight: usize) -> Self {
        Admission {
            door: AtomicU64::new(0),
            bytes_total: u32::try_from(bytes_in_flight).unwrap_or(u32::MAX),
            line: Line::new(),
            places: AtomicU64::new(0),
            drained: Notify::new(),
        }
    }

    /// The number of one that waits, in whichever line.
    pub(super) fn next_place(&self) -> Place {
        Place(self.places.fetch_add(1, Ordering::Relaxed))
    }

    /// Enters with these bytes, unless there is no room for them or somebody waits for room.
    ///
    /// # Errors
    ///
    /// [`AppendError::Closed`].
    pub(super) fn enter_with(&self, bytes: u32) -> Result<bool, AppendError> {
        if !self.line.is_empty() {
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
    ///
    /// # Errors
    ///
    /// [`AppendError::Closed`].
    pub(super) fn enter(&self) -> Result<(), AppendError> {
        let entered = self.step(|door| is_open(door).then_some(ONE));
        entered.map_err(|_closed| AppendError::Closed)
    }

    /// Takes bytes for one that has entered, unless there is no room or somebody waits for room.
    pub(super) fn take_bytes(&self, bytes: u32) -> bool {
        self.line.is_empty() && self.take_room(bytes)
    }

    /// Waits for bytes.
    pub(super) fn wait_for_bytes(&self, place: Place, waits: Box<dyn WaitsForBytes>) {
        match self.line.join(place, waits) {
            Ok(()) => self.let_in(),
            Err(refused) => refused.refuse(),
        }
    }

    /// Takes one out that no longer waits for its bytes.
    pub(super) fn withdraw(&self, place: Place) -> Option<Box<dyn WaitsForBytes>> {
        self.line.withdraw(place)
    }

    fn let_in(&self) {
        let entered = self.line.let_in(|head| self.take_room(head.bytes()), |head| head.enter());
        entered.into_iter().for_each(|rest| rest());
    }

    fn take_room(&self, bytes: u32) -> bool {
        self.step(|door| self.has_room(door, bytes).then(|| bytes.into())).is_ok()
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
        debug_assert!(inside(before) > 0 && before % ONE >= u64::from(bytes), "left twice");
        if !self.line.is_empty() {
            self.let_in();
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
        self.line.close().into_iter().for_each(|waits| waits.refuse());
    }

    /// How many appends are admitted and not answered.
    pub(super) fn admitted(&self) -> usize {
        inside(self.door.load(Ordering::SeqCst))
    }

    /// The bytes that they hold.
    pub(super) fn bytes_taken(&self) -> u64 {
        self.door.load(Ordering::SeqCst) % ONE
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

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::{Arc, Mutex};

    use futures_util::FutureExt;

    use super::*;

    type Entered = Arc<Mutex<Vec<u32>>>;

    struct Waits(u32, Entered);

    impl WaitsForBytes for Waits {
        fn bytes(&self) -> u32 {
            self.0
        }

        fn enter(self: Box<Self>) -> Box<dyn FnOnce()> {
            Box::new(move || self.1.lock().unwrap().push(self.0))
        }

        fn refuse(self: Box<Self>) {
            self.1.lock().unwrap().push(0);
        }
    }

    /// Enters and waits for bytes.
    fn wait(admission: &Admission, bytes: u32, entered: &Entered) -> Place {
        admission.enter().unwrap();
        let place = admission.next_place();
        admission.wait_for_bytes(place, Box::new(Waits(bytes, entered.clone())));
        place
    }

    #[test]
    fn nobody_passes_the_line() {
        let (admission, entered) = (Admission::new(10), Entered::default());
        assert!(admission.enter_with(4).unwrap());
        assert!(admission.enter_with(4).unwrap());
        wait(&admission, 6, &entered);
        assert!(!admission.enter_with(1).unwrap(), "it would fit, and came later");
        assert!(!admission.take_bytes(1));
        wait(&admission, 1, &entered);
        assert!(entered.lock().unwrap().is_empty());

        admission.leave(4);
        assert_eq!(*entered.lock().unwrap(), [6], "there is no room for the small one");
        admission.leave(4);
        assert_eq!(*entered.lock().unwrap(), [6, 1]);
        assert!(admission.enter_with(3).unwrap());
        assert!(!admission.enter_with(1).unwrap());
    }

    #[test]
    fn one_that_gives_up_blocks_nobody() {
        let (admission, entered) = (Admission::new(10), Entered::default());
        assert!(admission.enter_with(8).unwrap());
        let large = wait(&admission, 10, &entered);
        wait(&admission, 2, &entered);
        assert!(admission.withdraw(large).is_some());
        // It leaves the door as well, and lets in who stands behind it.
        admission.leave(0);
        assert_eq!(*entered.lock().unwrap(), [2]);
        assert!(!admission.enter_with(1).unwrap());
    }

    #[test]
    fn a_closed_door_lets_those_inside_finish() {
        let (admission, entered) = (Admission::new(10), Entered::default());
        assert!(admission.enter_with(10).unwrap());
        wait(&admission, 10, &entered);
        admission.close();
        assert!(matches!(admission.enter(), Err(AppendError::Closed)));
        assert!(matches!(admission.enter_with(0), Ok(false) | Err(AppendError::Closed)));
        let mut drained = pin!(admission.drained());
        assert!(drained.as_mut().now_or_never().is_none());
        admission.leave(10);
        assert_eq!(*entered.lock().unwrap(), [10]);
        assert!(drained.as_mut().now_or_never().is_none());
        admission.leave(10);
        assert!(drained.as_mut().now_or_never().is_some());
        assert_eq!(admission.admitted(), 0);
    }
}
