//! How many aggregates may be resident.
//!
//! A slot takes a seat when it enters the registry and gives it back when it is dropped. Mail that
//! finds no seat waits in the registry's [`SeatLine`](super::seat_line::SeatLine). The supervisor
//! passivates, and lets it in.

use tokio::sync::Notify;

use super::line::take_one;
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// The seats of one store: one for each resident aggregate.
pub(super) struct Seats {
    max_resident: usize,
    free: AtomicUsize,
    /// Aggregates that were passivated, and keep their seat until their actors have ended.
    leaving: AtomicUsize,
    /// Aggregates that wait for a seat.
    wanted: AtomicUsize,
    is_asked: AtomicBool,
    /// Notified when seats run short; the supervisor listens.
    short: Notify,
    /// Grows with time and with each passivation; orders slots by last use.
    tick: AtomicU64,
}

impl Seats {
    pub(super) fn new(max_resident: usize) -> Self {
        Seats {
            max_resident,
            free: AtomicUsize::new(max_resident),
            leaving: AtomicUsize::new(0),
            wanted: AtomicUsize::new(0),
            is_asked: AtomicBool::new(false),
            short: Notify::new(),
            tick: AtomicU64::new(0),
        }
    }

    pub(super) fn tick(&self) -> u64 {
        self.tick.load(Ordering::Relaxed)
    }

    /// Begins the next tick and returns its number.
    pub(super) fn advance_tick(&self) -> u64 {
        self.tick.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Seats taken.
    pub(super) fn taken(&self) -> usize {
        self.max_resident.saturating_sub(self.free())
    }

    /// Seats kept free ahead of demand, so that a new aggregate seldom waits.
    pub(super) fn spare(&self) -> usize {
        self.max_resident / 16
    }

    fn free(&self) -> usize {
        self.free.load(Ordering::SeqCst)
    }

    /// Takes a seat, if one is free.
    pub(super) fn try_take(&self) -> bool {
        take_one(&self.free)
    }

    /// Asks for more while few are left: at half of the spare seats, so that the supervisor is
    /// woken seldom, and then frees many.
    pub(super) fn ask_if_few(&self) {
        if self.free() + self.leaving() < self.spare() / 2 {
            self.ask_for_more();
        }
    }

    /// An aggregate has left the registry. Its seat is given back when its actor has ended.
    pub(super) fn one_leaves(&self) {
        self.leaving.fetch_add(1, Ordering::SeqCst);
    }

    fn leaving(&self) -> usize {
        self.leaving.load(Ordering::SeqCst)
    }

    /// Gives back the seat of an aggregate that has left.
    pub(super) fn one_has_left(&self) {
        // In this order it is never counted twice, as free and as leaving: `missing` reads the
        // other way round.
        self.leaving.fetch_sub(1, Ordering::SeqCst);
        self.give_back();
    }

    /// Gives a seat back.
    pub(super) fn give_back(&self) {
        self.free.fetch_add(1, Ordering::SeqCst);
        self.one_may_leave();
    }

    /// So many aggregates wait for a seat.
    pub(super) fn set_wanted(&self, aggregates: usize) {
        self.wanted.store(aggregates, Ordering::SeqCst);
    }

    /// Whether an aggregate waits for a seat.
    pub(super) fn are_wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst) > 0
    }

    /// Asks the supervisor to passivate.
    pub(super) fn ask_for_more(&self) {
        if !self.is_asked.swap(true, Ordering::SeqCst) {
            self.short.notify_one();
        }
    }

    /// Waits until a caller asks for seats.
    pub(super) async fn run_short(&self) {
        self.short.notified().await;
    }

    /// How many aggregates are to be passivated: for one seat for each aggregate that waits, and
    /// for the spare ones, as far as they are not being left already. From here on, callers can
    /// ask again.
    pub(super) fn missing(&self) -> usize {
        self.is_asked.store(false, Ordering::SeqCst);
        let wanted = self.wanted.load(Ordering::SeqCst).max(1);
        let free = self.free();
        let with_spare = (wanted + self.spare()).saturating_sub(free + self.leaving());
        // Who waits does not depend on when those that leave are gone.
        with_spare.max(wanted.saturating_sub(free))
    }

    /// An aggregate became free to be passivated, or has left.
    pub(super) fn one_may_leave(&self) {
        if self.are_wanted() {
            self.ask_for_more();
        }
    }
}
