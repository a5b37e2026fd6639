//! The queue of what waits for the writer: puts, and checkpoints beside them.
//!
//! The writer takes all that waits at once. It sleeps while nothing waits. [`FlushDelay`] can make
//! it wait a moment longer; it is woken when as many puts wait as it asked for. A checkpoint that
//! waits alone waits for puts to share their flush.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::driver::redb::apply::checkpoints::PendingCheckpoint;
use crate::driver::redb::journal::flush_delay::{FlushDelay, FlushWait};
use crate::driver::redb::journal::frame_entry::{checkpoint_bytes, entry_bytes};
use crate::driver::redb::journal::recent_aggregates::LookedUp;
use crate::driver::{DriverError, Put, PutDone, PutReceipt};
use crate::spin_wait::SpinWait;

/// The most puts of a frame. More of them would only make the first ones wait longer.
const PUTS_PER_FRAME: usize = 4_096;
/// How long a checkpoint waits for puts to share their flush.
const CHECKPOINT_WAITS: Duration = Duration::from_millis(1);

/// A put in the queue. If it is dropped without an answer, its fate is unknown.
pub(in crate::driver::redb) struct PendingPut {
    pub(in crate::driver::redb) put: Arc<Put>,
    pub(in crate::driver::redb) looked: LookedUp,
    pub(in crate::driver::redb) bytes: usize,
    done: Option<PutDone>,
}

impl PendingPut {
    pub(in crate::driver::redb) fn new(put: Arc<Put>, looked: LookedUp, done: PutDone) -> Self {
        let bytes = put.events().iter().map(entry_bytes).sum();
        PendingPut { put, looked, bytes, done: Some(done) }
    }

    pub(in crate::driver::redb) fn answer(mut self, answer: Result<PutReceipt, DriverError>) {
        self.tell(answer);
    }

    fn tell(&mut self, answer: Result<PutReceipt, DriverError>) {
        if let Some(done) = self.done.take() {
            done(answer);
        }
    }
}

impl Drop for PendingPut {
    fn drop(&mut self) {
        self.tell(Err(DriverError::unknown("the writer ended before it answered")));
    }
}

#[derive(Default)]
pub(in crate::driver::redb) struct WriteQueue {
    state: Mutex<QueueState>,
    more: Condvar,
    /// Grows with each put, and is read without the lock.
    came: AtomicUsize,
    spin_wait: SpinWait,
}

#[derive(Default)]
struct QueueState {
    waiting: VecDeque<PendingPut>,
    saving: VecDeque<PendingCheckpoint>,
    closed: bool,
    /// The writer sleeps until this many puts wait.
    asleep_for: Option<usize>,
}

impl QueueState {
    fn is_awaited(&self) -> bool {
        self.asleep_for.is_some_and(|puts| self.waiting.len() >= puts)
    }
}

impl WriteQueue {
    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::driver::redb) fn push(&self, waiting: PendingPut) {
        let mut state = self.state();
        if state.closed {
            drop(state);
            waiting.answer(Err(DriverError::Closed));
            return;
        }
        state.waiting.push_back(waiting);
        self.came.fetch_add(1, Ordering::Relaxed);
        if state.is_awaited() {
            state.asleep_for = None;
            self.more.notify_one();
        }
    }

    pub(in crate::driver::redb) fn push_saving(&self, saving: PendingCheckpoint) {
        let mut state = self.state();
        if state.closed {
            drop(state);
            let _ = saving.done.send(Err(DriverError::Closed));
            return;
        }
        state.saving.push_back(saving);
        // One that joins another finds the writer awake, or waiting for more.
        if state.asleep_for == Some(1) && state.saving.len() == 1 {
            self.more.notify_one();
        }
    }

    pub(in crate::driver::redb) fn close(&self) {
        self.state().closed = true;
        self.more.notify_all();
    }

    pub(in crate::driver::redb) fn take_all(
        &self,
    ) -> (VecDeque<PendingPut>, VecDeque<PendingCheckpoint>) {
        let mut state = self.state();
        (std::mem::take(&mut state.waiting), std::mem::take(&mut state.saving))
    }

    /// The next group, of about `max_bytes`; `None` when the queue is closed and empty.
    pub(in crate::driver::redb) fn next_group(
        &self,
        max_bytes: usize,
        flush_delay: &mut FlushDelay,
    ) -> Option<(Vec<PendingPut>, Vec<PendingCheckpoint>)> {
        let mut state = self.state();
        if let Some(wait) = flush_delay.expected(state.waiting.len()) {
            state = self.wait_for(state, wait);
            flush_delay.came(wait, state.waiting.len(), Instant::now());
        }
        if state.waiting.is_empty() && state.saving.is_empty() && !state.closed {
            let came = self.came.load(Ordering::Relaxed);
            drop(state);
            self.spin_wait.wait_until(|| self.came.load(Ordering::Relaxed) != came);
            state = self.state();
        }
        let mut since = None;
        while state.waiting.is_empty() {
            if state.closed && state.saving.is_empty() {
                return None;
            }
            state.asleep_for = Some(1);
            if state.saving.is_empty() {
                state = self.more.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let waited = since.get_or_insert_with(Instant::now).elapsed();
            let left = CHECKPOINT_WAITS.checked_sub(waited).filter(|_| !state.closed);
            let Some(left) = left else { break };
            let woken = self.more.wait_timeout(state, left);
            (state, _) = woken.unwrap_or_else(PoisonError::into_inner);
        }
        state.asleep_for = None;
        let puts = state.waiting.iter().take(PUTS_PER_FRAME).map(|waiting| waiting.bytes);
        let puts = fitting(puts, max_bytes);
        let saved = state.saving.iter().map(|saving| checkpoint_bytes(&saving.checkpoint));
        let saved = fitting(saved, max_bytes / 2);
        Some((take_first(&mut state.waiting, puts), take_first(&mut state.saving, saved)))
    }

    fn wait_for<'a>(
        &self,
        mut state: MutexGuard<'a, QueueState>,
        wait: FlushWait,
    ) -> MutexGuard<'a, QueueState> {
        while state.waiting.len() < wait.puts && !state.closed {
            let left = wait.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state.asleep_for = Some(wait.puts);
            let woken = self.more.wait_timeout(state, left);
            (state, _) = woken.unwrap_or_else(PoisonError::into_inner);
        }
        state
    }
}

/// How many of these sizes make up to `max_bytes`; one at least, if there is one.
fn fitting(sizes: impl Iterator<Item = usize>, max_bytes: usize) -> usize {
    let mut bytes = 0;
    let fitting = sizes.enumerate().take_while(|(taken, size)| {
        bytes += size;
        *taken == 0 || bytes <= max_bytes
    });
    fitting.count()
}

fn take_first<T>(queue: &mut VecDeque<T>, count: usize) -> Vec<T> {
    if count == queue.len() {
        // As many will come again, and they should not make it grow while it is locked.
        return std::mem::replace(queue, VecDeque::with_capacity(count)).into();
    }
    queue.drain(..count).collect()
}
