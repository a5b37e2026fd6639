//! The writer: all puts that wait, one frame, one flush, all answers.
//!
//! ```text
//! queue ─▶ room made sure of ─▶ each put checked and given its place ─▶ frame ─▶ write, flush
//!       ─▶ published in the tail ─▶ answered
//! ```
//!
//! Checkpoints that wait are saved in the same frame, behind the events. One that waits alone waits a moment longer,
//! because its flush would hold up the puts that come next, and then gets a frame of its own.
//!
//! Nobody is answered before the flush, not even with a conflict: what it collided with may be in the
//! same frame. Positions are given here, dense and in commit order. A put that nothing waits beside can be
//! committed by its caller, under the same lock and without a change of thread ([`put_now`]).

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::checkpoints::{Checkpoint, Saving};
use super::core::Core;
use super::frame::{self, Next, checkpoint_bytes};
use super::journal::{Cursor, Journal};
use super::known::{Aggregates, Looked, Part};
use super::options::Durability;
use super::tables::{Place, State};
use super::tail::{Group, floor};
use crate::driver::{DriverError, Put, PutDone, PutReceipt, answer_together};
use crate::event::{Position, Timestamp};

/// Puts of one frame; more only make the first of them wait longer.
const PUTS_PER_FRAME: usize = 4_096;
/// How long a checkpoint waits for puts to go with.
const COMPANY: Duration = Duration::from_millis(1);
/// A frame over this takes no further put.
const FRAME_BYTES: usize = 4 << 20;

type Answer = Result<PutReceipt, DriverError>;

/// A put in the queue. One that is dropped unanswered says that its fate is unknown.
pub(super) struct Waiting {
    put: Arc<Put>,
    looked: Looked,
    bytes: usize,
    done: Option<PutDone>,
}

impl Waiting {
    pub(super) fn new(put: Arc<Put>, looked: Looked, done: PutDone) -> Self {
        let bytes = put.events().iter().map(frame::entry_bytes).sum();
        Waiting { put, looked, bytes, done: Some(done) }
    }

    fn answer(mut self, answer: Answer) {
        self.tell(answer);
    }

    fn tell(&mut self, answer: Answer) {
        if let Some(done) = self.done.take() {
            done(answer);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.tell(Err(DriverError::unknown("the writer ended before it answered")));
    }
}

#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<QueueState>,
    more: Condvar,
}

#[derive(Default)]
struct QueueState {
    waiting: VecDeque<Waiting>,
    saving: VecDeque<Saving>,
    closed: bool,
    asleep: bool,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, waiting: Waiting) {
        let mut state = self.state();
        if state.closed {
            drop(state);
            waiting.answer(Err(DriverError::Closed));
            return;
        }
        state.waiting.push_back(waiting);
        if state.asleep {
            state.asleep = false;
            self.more.notify_one();
        }
    }

    pub(super) fn push_saving(&self, saving: Saving) {
        let mut state = self.state();
        if state.closed {
            drop(state);
            let _ = saving.done.send(Err(DriverError::Closed));
            return;
        }
        state.saving.push_back(saving);
        // One that joins another finds the writer awake, or waiting for company.
        if state.asleep && state.saving.len() == 1 {
            self.more.notify_one();
        }
    }

    pub(super) fn close(&self) {
        self.state().closed = true;
        self.more.notify_all();
    }

    fn take_all(&self) -> (VecDeque<Waiting>, VecDeque<Saving>) {
        let mut state = self.state();
        (std::mem::take(&mut state.waiting), std::mem::take(&mut state.saving))
    }

    fn is_waited_in(&self) -> bool {
        !self.state().waiting.is_empty()
    }

    /// The next group, of about `max_bytes`; `None` when the queue is closed and empty.
    fn next_group(&self, max_bytes: usize) -> Option<(Vec<Waiting>, Vec<Saving>)> {
        let mut state = self.state();
        let mut since = None;
        while state.waiting.is_empty() {
            if state.closed && state.saving.is_empty() {
                return None;
            }
            state.asleep = true;
            if state.saving.is_empty() {
                state = self.more.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let waited = since.get_or_insert_with(Instant::now).elapsed();
            let Some(left) = COMPANY.checked_sub(waited).filter(|_| !state.closed) else { break };
            let woken = self.more.wait_timeout(state, left);
            (state, _) = woken.unwrap_or_else(PoisonError::into_inner);
        }
        state.asleep = false;
        let puts = state.waiting.iter().take(PUTS_PER_FRAME).map(|waiting| waiting.bytes);
        let puts = fitting(puts, max_bytes);
        let saved = state.saving.iter().map(|saving| checkpoint_bytes(&saving.checkpoint));
        let saved = fitting(saved, max_bytes / 2);
        Some((take_first(&mut state.waiting, puts), take_first(&mut state.saving, saved)))
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

/// What only whoever writes a frame touches.
pub(super) struct Committer {
    cursor: Cursor,
    frame: frame::Builder,
    /// The next frame's.
    next: Next,
    latest_time: Timestamp,
    store: Uuid,
    epoch: u64,
    /// The driver closes: no frame is written any more.
    ended: bool,
}

impl Committer {
    pub(super) fn new(journal: &Journal, state: &State) -> Self {
        Committer {
            cursor: journal.cursor(),
            frame: frame::Builder::default(),
            next: Next { position: state.applied + 1, number: state.frame + 1 },
            latest_time: state.latest_time,
            store: state.store,
            epoch: state.epoch,
            ended: false,
        }
    }
}

/// The writer thread. When it ends the apply thread is told to apply the rest and end, too.
pub(super) fn run(core: &Core) {
    let _end = End(core);
    // A put takes half a journal file at most, and so do those that go with it; checkpoints a quarter.
    let half_a_file = usize::try_from(core.options.journal_file_bytes / 2).unwrap_or(usize::MAX);
    let max_bytes = FRAME_BYTES.min(half_a_file);
    while let Some((mut group, saving)) = core.queue.next_group(max_bytes) {
        let checkpoints = saving.iter().map(|saving| saving.checkpoint.clone()).collect();
        let mut committer = core.committer.lock().unwrap_or_else(PoisonError::into_inner);
        let (answers, saved) = commit(core, &mut committer, &mut group, checkpoints, true);
        drop(committer);
        let has_new_events = answers.iter().any(Result::is_ok);
        answer_together(|| {
            for (waiting, answer) in group.into_iter().zip(answers) {
                waiting.answer(answer);
            }
        });
        for saving in saving {
            let _ = saving.done.send(saved.clone());
        }
        if has_new_events {
            core.bell.ring();
        }
    }
    // A caller may be committing its own put just now; after it nobody does.
    core.committer.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
}

/// What holds when the thread ends, by a panic too: nobody queues, nobody waits.
struct End<'a>(&'a Core);

impl Drop for End<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(DriverError::failed("the writer thread died"));
        }
        self.0.queue.close();
        drop(self.0.queue.take_all());
        self.0.bell.ring();
        self.0.signals().stop = true;
        self.0.apply_wakes.notify_all();
    }
}

/// Commits the put on the calling thread if nothing else is being written and nothing has to be waited
/// for but the flush; queues it otherwise.
pub(super) fn put_now(core: &Core, mut waiting: Waiting) {
    let answer = try_now(core, &mut waiting);
    match answer {
        Some(answer) => {
            waiting.answer(answer);
            core.bell.ring();
        }
        None => core.queue.push(waiting),
    }
}

fn try_now(core: &Core, waiting: &mut Waiting) -> Option<Answer> {
    let mut committer = core.committer.try_lock().ok()?;
    let frame_bytes = frame::frame_bytes(waiting.bytes);
    if committer.ended
        || core.queue.is_waited_in()
        || core.tail.bytes() >= core.options.tail_bytes
        || !core.journal.has_room(&committer.cursor, frame_bytes)
    {
        return None;
    }
    let group = std::slice::from_mut(waiting);
    commit(core, &mut committer, group, Vec::new(), false).0.pop()
}

/// Writes one frame with every put of the group that may go in, and all the checkpoints; one answer for
/// each put, and one for the checkpoints.
fn commit(
    core: &Core,
    c: &mut Committer,
    group: &mut [Waiting],
    checkpoints: Vec<Checkpoint>,
    may_wait: bool,
) -> (Vec<Answer>, Result<(), DriverError>) {
    let saved: usize = checkpoints.iter().map(checkpoint_bytes).sum();
    let bytes = group.iter().map(|waiting| waiting.bytes).sum::<usize>() + saved;
    if let Err(error) = ready(core, c, frame::frame_bytes(bytes), may_wait) {
        return (vec![Err(error.clone()); group.len()], Err(error));
    }
    let mut answers = Vec::with_capacity(group.len());
    let mut parts = Vec::with_capacity(group.len());
    let mut latest_time = c.latest_time;
    c.frame.begin(bytes);
    for waiting in group {
        let put = &waiting.put;
        if let Err(refusal) = Aggregates::assign(put, &waiting.looked) {
            answers.push(Err(refusal));
            continue;
        }
        let number = c.frame.events();
        answers.push(Ok(PutReceipt::at(Position::new(c.next.position + u64::from(number)))));
        let (floor, latest) = floor(put, latest_time);
        latest_time = latest;
        parts_of(put, std::mem::take(&mut waiting.looked), number, &mut parts);
        for event in put.events() {
            c.frame.push(event, event.recorded_at.max(floor));
        }
    }
    for checkpoint in &checkpoints {
        c.frame.push_checkpoint(checkpoint);
    }
    if parts.is_empty() && checkpoints.is_empty() {
        return (answers, Ok(()));
    }
    if let Err(error) = write(core, c) {
        let failure = DriverError::unknown(format!("the journal could not be written: {error}"));
        core.fail(failure.clone().caused_by(error));
        let refused = |_| DriverError::failed("the journal failed while the put was refused");
        let told = |answer: Answer| answer.map_err(refused).and(Err(failure.clone()));
        return (answers.into_iter().map(told).collect(), Err(failure.clone()));
    }
    let written = c.next;
    let position = written.position + u64::from(c.frame.events());
    c.next = Next { position, number: written.number + 1 };
    c.latest_time = latest_time;
    core.checkpoints.publish(&checkpoints);
    let group = Group {
        journaled: Arc::new(c.frame.take(written.position)),
        parts,
        checkpoints,
        frame: written.number,
        next_place: Place { file: c.cursor.file.id, offset: c.cursor.offset },
        latest_time,
    };
    core.journaled.store(position - 1, Ordering::Release);
    core.journal.advance(&c.cursor, written.number);
    publish(core, group);
    core.readable.store(position - 1, Ordering::Release);
    (answers, Ok(()))
}

/// What the put adds to each of its aggregates, when its first event has this number in the frame.
fn parts_of(put: &Put, looked: Looked, mut number: u32, parts: &mut Vec<Part>) {
    for (aggregate, known) in put.aggregates().zip(looked) {
        let events = aggregate.len() as u32;
        let first_sequence = aggregate.first().map_or(0, |first| first.sequence.get());
        parts.push(Part { known, number, events, first_sequence });
        number += events;
    }
}

/// Waits until the tail and the journal have room for a frame of `bytes`.
fn ready(core: &Core, c: &mut Committer, bytes: u64, may_wait: bool) -> Result<(), DriverError> {
    if let Some(refusal) = core.refusal() {
        return Err(refusal);
    }
    if !may_wait {
        return Ok(());
    }
    if core.tail.bytes() >= core.options.tail_bytes {
        let mut signals = core.signals();
        while core.tail.bytes() >= core.options.tail_bytes {
            if let Some(refusal) = core.refusal() {
                return Err(refusal);
            }
            if let Some(blocked) = &signals.blocked {
                return Err(blocked.clone());
            }
            core.apply_wakes.notify_all();
            signals = core.applied_more.wait(signals).unwrap_or_else(PoisonError::into_inner);
        }
    }
    core.journal.make_room(&mut c.cursor, bytes, c.next.number - 1)
}

fn write(core: &Core, c: &mut Committer) -> io::Result<()> {
    let frame = c.frame.finish(c.store, c.epoch, c.next, core.journal.flushed());
    let file = &c.cursor.file.file;
    file.write_at(c.cursor.offset, frame)?;
    if core.options.durability == Durability::Flushed {
        file.sync()?;
        core.journal.note_flushed(c.next.number);
    }
    c.cursor.offset += frame.len() as u64;
    Ok(())
}

fn publish(core: &Core, group: Group) {
    let before = core.tail.bytes();
    let was_empty = core.tail.publish(Arc::new(group));
    let mark = core.options.tail_bytes / 4;
    if was_empty || (before < mark && core.tail.bytes() >= mark) {
        let _signals = core.signals();
        core.apply_wakes.notify_all();
    }
}
