//! A line of those who wait for room, in the order in which they came.
//!
//! The store owns what stands in a line, and whoever gives room back lets the head in. So nobody's
//! turn depends on the caller of another: one that does not poll its future is served all the same.
//!
//! # What must stay true
//!
//! - Who joins counts first and looks for room after; who gives room back looks for a line after.
//!   So one of them sees the other.
//! - The length falls only when those let in are in their new place. Who finds the line empty
//!   therefore overtakes nobody.
//! - Room that is too small for the head is kept for the head.

use std::collections::VecDeque;
use std::sync::PoisonError;

use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// Takes one of so many free ones, if there is one.
pub(super) fn take_one(free: &AtomicUsize) -> bool {
    let one_less = |free: usize| free.checked_sub(1);
    free.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok()
}

/// The number under which one that waits can be withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(pub(super) u64);

pub(super) struct Line<T> {
    len: AtomicUsize,
    state: Mutex<LineState<T>>,
}

struct LineState<T> {
    waiting: VecDeque<(Place, T)>,
    is_closed: bool,
}

impl<T> Line<T> {
    pub(super) fn new() -> Self {
        let state = LineState { waiting: VecDeque::new(), is_closed: false };
        Line { len: AtomicUsize::new(0), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, LineState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len.load(Ordering::SeqCst) == 0
    }

    /// Call [`Line::let_in`] afterwards.
    ///
    /// # Errors
    ///
    /// Gives back what is refused because the line is closed.
    pub(super) fn join(&self, place: Place, waits: T) -> Result<(), T> {
        let mut state = self.state();
        if state.is_closed {
            return Err(waits);
        }
        self.len.fetch_add(1, Ordering::SeqCst);
        state.waiting.push_back((place, waits));
        Ok(())
    }

    /// Lets the head in, again and again, while there is room for it. `take_room` takes it, and
    /// `enter` brings the head to its new place. What `enter` returns is for when the line is not
    /// locked any more.
    pub(super) fn let_in<W>(
        &self,
        take_room: impl Fn(&T) -> bool,
        enter: impl Fn(T) -> W,
    ) -> Vec<W> {
        let mut state = self.state();
        let mut entered = Vec::new();
        while state.waiting.front().is_some_and(|(_, head)| take_room(head)) {
            if let Some((_, head)) = state.waiting.pop_front() {
                entered.push(enter(head));
            }
        }
        self.len.fetch_sub(entered.len(), Ordering::SeqCst);
        debug_assert_eq!(self.len.load(Ordering::SeqCst), state.waiting.len());
        entered
    }

    /// Takes one out that gives up, if it still waits here.
    pub(super) fn withdraw(&self, place: Place) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let mut state = self.state();
        let index = state.waiting.iter().position(|(other, _)| *other == place)?;
        let (_, waits) = state.waiting.remove(index)?;
        self.len.fetch_sub(1, Ordering::SeqCst);
        Some(waits)
    }

    /// Nobody joins from here on. Returns those who wait.
    pub(super) fn close(&self) -> Vec<T> {
        let mut state = self.state();
        state.is_closed = true;
        let left = std::mem::take(&mut state.waiting);
        self.len.store(0, Ordering::SeqCst);
        left.into_iter().map(|(_, waits)| waits).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(waiting: &[u32]) -> Line<u32> {
        let line = Line::new();
        for size in waiting {
            line.join(Place(u64::from(*size)), *size).unwrap();
        }
        line
    }

    #[test]
    fn room_that_is_too_small_for_the_head_is_kept_for_the_head() {
        let line = line(&[1, 6, 2]);
        assert_eq!(line.let_in(|size| *size < 5, |size| size), [1]);
        assert!(!line.is_empty());
        assert_eq!(line.let_in(|_| true, |size| size), [6, 2]);
        assert!(line.is_empty());
    }

    #[test]
    fn one_that_gives_up_stands_in_nobodys_way() {
        let line = line(&[6, 2]);
        assert_eq!(line.withdraw(Place(6)), Some(6));
        assert_eq!(line.withdraw(Place(6)), None);
        assert_eq!(line.let_in(|size| *size < 5, |size| size), [2]);
    }

    #[test]
    fn a_closed_line_takes_nobody() {
        let line = line(&[1, 2]);
        assert_eq!(line.close(), [1, 2]);
        assert_eq!(line.join(Place(3), 3), Err(3));
        assert!(line.is_empty());
    }
}
