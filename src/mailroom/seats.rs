//! How many aggregates may be resident, and which callers wait for a seat.
//!
//! A slot takes a seat when it enters the registry and gives it back when it is dropped. Callers
//! that find no seat ask the supervisor to passivate, and wait.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::{Notify, Semaphore};

/// The seats of one store: one for each resident aggregate.
pub(super) struct Seats {
    max_resident: usize,
    pub(super) free: Semaphore,
    /// Callers that wait for a seat.
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
            free: Semaphore::new(max_resident),
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
        self.max_resident.saturating_sub(self.free.available_permits())
    }

    /// Seats kept free ahead of demand, so that a new aggregate seldom waits.
    pub(super) fn spare(&self) -> usize {
        self.max_resident / 16
    }

    /// Gives a seat back.
    pub(super) fn give_back(&self) {
        self.free.add_permits(1);
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

    /// How many seats are missing: the spare ones, and one for each caller that waits. From here
    /// on, callers can ask again.
    pub(super) fn missing(&self) -> usize {
        self.is_asked.store(false, Ordering::SeqCst);
        let wanted = self.spare() + self.wanted.load(Ordering::SeqCst);
        wanted.max(1).saturating_sub(self.free.available_permits())
    }

    /// An aggregate became free to be passivated.
    pub(super) fn one_may_leave(&self) {
        if self.wanted.load(Ordering::SeqCst) > 0 {
            self.ask_for_more();
        }
    }
}

/// Counts a caller as waiting for a seat until it is dropped.
pub(super) struct SeatWanted<'a>(&'a Seats);

impl<'a> SeatWanted<'a> {
    pub(super) fn new(seats: &'a Seats) -> Self {
        seats.wanted.fetch_add(1, Ordering::SeqCst);
        SeatWanted(seats)
    }
}

impl Drop for SeatWanted<'_> {
    fn drop(&mut self) {
        self.0.wanted.fetch_sub(1, Ordering::SeqCst);
    }
}
