//! The writer: all waiting puts, one frame, one flush, all answers.
//!
//! ```text
//! queue ─▶ make room ─▶ check each put, assign positions ─▶ frame ─▶ write, flush
//!       ─▶ publish in the tail ─▶ answer
//! ```
//!
//! Waiting checkpoints go into the same frame, after the events. A checkpoint that waits alone
//! waits a moment longer, because its flush would delay the next puts; then it gets a frame of its
//! own.
//!
//! No answer is given before the flush, not even a conflict: the event that it collides with may be
//! in the same frame. Positions are assigned here, dense and in commit order. A caller never
//! commits its own put: its thread serves other aggregates, and would wait for the disk.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use crate::driver::redb::apply::checkpoints::Checkpoint;
use crate::driver::redb::apply::tail::{Group, floor};
use crate::driver::redb::core::Core;
use crate::driver::redb::format::tables::JournalPlace;
use crate::driver::redb::journal::committer::Committer;
use crate::driver::redb::journal::flush_delay::FlushDelay;
use crate::driver::redb::journal::frame;
use crate::driver::redb::journal::frame_entry::checkpoint_bytes;
use crate::driver::redb::journal::recent_aggregates::{LookedUp, PutPart, RecentAggregates};
use crate::driver::redb::journal::write_queue::PendingPut;
use crate::driver::redb::options::Durability;
use crate::driver::{DriverError, Put, PutReceipt, answer_together};
use crate::event::Position;

/// A frame over this size takes no further put. Half of what is used of a file, so that little of
/// it is left unused.
const FRAME_BYTES: usize = 2 << 20;

type PutAnswer = Result<PutReceipt, DriverError>;

/// The writer thread. When it ends, the apply thread applies the rest and ends too.
pub(in crate::driver::redb) fn run(core: &Core) {
    let _end = WriterEnd(core);
    // A put takes half a journal file at most, and so do those that go with it; checkpoints a
    // quarter.
    let half_a_file = usize::try_from(core.options.journal_file_bytes / 2).unwrap_or(usize::MAX);
    let max_bytes = FRAME_BYTES.min(half_a_file);
    let mut flush_delay = FlushDelay::default();
    while let Some((mut group, saving)) = core.queue.next_group(max_bytes, &mut flush_delay) {
        let (puts, began) = (group.len(), Instant::now());
        let checkpoints = saving.iter().map(|saving| saving.checkpoint.clone()).collect();
        let mut committer = core.committer.lock().unwrap_or_else(PoisonError::into_inner);
        let (answers, saved) = commit(core, &mut committer, &mut group, checkpoints);
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
        flush_delay.answered(puts, began, Instant::now());
    }
}

/// Runs when the thread ends, also by a panic: the queue is closed, and nobody waits.
struct WriterEnd<'a>(&'a Core);

impl Drop for WriterEnd<'_> {
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

/// Writes one frame with every put of the group that may go in, and all the checkpoints; one answer
/// for each put, and one for the checkpoints.
fn commit(
    core: &Core,
    c: &mut Committer,
    group: &mut [PendingPut],
    checkpoints: Vec<Checkpoint>,
) -> (Vec<PutAnswer>, Result<(), DriverError>) {
    let saved: usize = checkpoints.iter().map(checkpoint_bytes).sum();
    let bytes = group.iter().map(|waiting| waiting.bytes).sum::<usize>() + saved;
    if let Err(error) = ready(core, c, frame::frame_bytes(bytes)) {
        return (vec![Err(error.clone()); group.len()], Err(error));
    }
    let mut answers = Vec::with_capacity(group.len());
    let mut parts = Vec::with_capacity(group.len());
    let mut latest_time = c.latest_time;
    c.frame.begin(bytes);
    for waiting in group {
        let put = &waiting.put;
        let assigned = core.index_is_known();
        let assigned = assigned.and_then(|()| RecentAggregates::assign(put, &waiting.looked));
        if let Err(refusal) = assigned {
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
    let began = Instant::now();
    if let Err(error) = write(core, c) {
        let failure = DriverError::unknown(format!("the journal could not be written: {error}"));
        core.fail(failure.clone().caused_by(error));
        let refused = |_| DriverError::failed("the journal failed while the put was refused");
        let told = |answer: PutAnswer| answer.map_err(refused).and(Err(failure.clone()));
        return (answers.into_iter().map(told).collect(), Err(failure.clone()));
    }
    let committed = answers.iter().filter(|answer| answer.is_ok()).count() as u64;
    if committed > 0 {
        core.flushes.count(c, began.elapsed(), committed);
    }
    let written = c.next;
    let position = written.position + u64::from(c.frame.events());
    c.next = frame::ExpectedFrame { position, number: written.number + 1 };
    c.latest_time = latest_time;
    core.checkpoints.publish(&checkpoints);
    let group = Group {
        journaled: Arc::new(c.frame.take(written.position)),
        parts,
        checkpoints,
        frame: written.number,
        next_place: JournalPlace { file: c.cursor.file.id, offset: c.cursor.offset },
        latest_time,
    };
    core.journaled.store(position - 1, Ordering::Release);
    core.journal.advance(&c.cursor, written.number);
    publish(core, group);
    core.readable.store(position - 1, Ordering::Release);
    (answers, Ok(()))
}

/// What the put adds to each of its aggregates, when its first event has this number in the frame.
fn parts_of(put: &Put, looked: LookedUp, mut number: u32, parts: &mut Vec<PutPart>) {
    for (aggregate, known) in put.aggregates().zip(looked) {
        let events = aggregate.len() as u32;
        let first_sequence = aggregate.first().map_or(0, |first| first.sequence.get());
        parts.push(PutPart { known, number, events, first_sequence });
        number += events;
    }
}

/// Waits until the tail and the journal have room for a frame of `bytes`.
fn ready(core: &Core, c: &mut Committer, bytes: u64) -> Result<(), DriverError> {
    if let Some(refusal) = core.refusal() {
        return Err(refusal);
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
    core.journal.make_room(&mut c.cursor, bytes, c.next.number - 1).map_err(|error| {
        // A flush that failed at the switch of files may have lost frames that were answered.
        if error.may_have_been_written() {
            core.fail(error.clone());
        }
        // Nothing of what waits for this room was written, also when the keeper failed meanwhile.
        core.refusal().unwrap_or(error)
    })
}

fn write(core: &Core, c: &mut Committer) -> io::Result<()> {
    let frame = c.frame.finish(c.store, c.epoch, c.next, core.journal.flushed());
    let file = &c.cursor.file;
    file.file.write_at(c.cursor.offset, frame)?;
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
    if was_empty || core.pace.is_passed(before, core.tail.bytes()) {
        let _signals = core.signals();
        core.apply_wakes.notify_all();
    }
}
