//! Input without positions, sorted by time in temporary files.
//!
//! A store without a log is exported key by key. A store with a log keeps times in order along its
//! positions, so there the events of all keys must come in the order of their times. Runs that fit
//! into memory are sorted and written to temporary files, then merged. Within a key the sequences
//! stay in order: an event whose time is before that of the one in front is sorted as if it had the
//! later time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};

use seriatim::{AggregateKey, KeyedEvent, Timestamp};

use super::lines::{Line, Lines};
use crate::exit::{Error, Result};

/// Bytes of events in a run, about; they are held in memory while it is sorted.
const RUN_BYTES: usize = 48 << 20;

/// What an event is sorted by.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    time: Timestamp,
    key: AggregateKey,
    sequence: u64,
    number: u64,
}

/// Hands out all events in the order of their times, until `take` answers false.
pub(super) fn by_time(
    first: Line,
    lines: &mut Lines,
    mut take: impl FnMut(Line) -> bool,
) -> Result<()> {
    let mut runs: Vec<BufReader<File>> = Vec::new();
    let mut run: Vec<(Rank, KeyedEvent)> = Vec::new();
    let mut bytes = 0;
    let mut next = Some(first);
    let mut in_front: Option<(AggregateKey, Timestamp)> = None;
    while let Some(line) = next {
        let own = line.event.recorded_at;
        let time = match &in_front {
            Some((key, time)) if *key == line.event.key => own.max(*time),
            _ => own,
        };
        in_front = Some((line.event.key.clone(), time));
        bytes += line.event.size_bytes() + 200;
        run.push((rank(time, &line), line.event));
        if bytes >= RUN_BYTES {
            runs.push(write_run(&mut run).map_err(|e| temporary(&e))?);
            bytes = 0;
        }
        next = lines.next()?;
    }
    run.sort_by(|(a, _), (b, _)| a.cmp(b));
    merge(runs, run, &mut take)
}

fn rank(time: Timestamp, line: &Line) -> Rank {
    let (key, sequence) = (line.event.key.clone(), line.event.sequence.get());
    Rank { time, key, sequence, number: line.number }
}

/// Writes the sorted run into a file that is gone when it is closed.
fn write_run(run: &mut Vec<(Rank, KeyedEvent)>) -> std::io::Result<BufReader<File>> {
    run.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut file = BufWriter::new(tempfile::tempfile()?);
    for (rank, event) in run.drain(..) {
        let event = serde_json::to_vec(&event)?;
        file.write_all(&rank.time.as_micros().to_le_bytes())?;
        file.write_all(&rank.number.to_le_bytes())?;
        file.write_all(&(event.len() as u64).to_le_bytes())?;
        file.write_all(&event)?;
    }
    let mut file = file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    file.rewind()?;
    Ok(BufReader::new(file))
}

/// The next event of a run; `None` at its end.
fn read_run(run: &mut BufReader<File>) -> std::io::Result<Option<(Rank, KeyedEvent)>> {
    let mut head = [0; 24];
    if let Err(error) = run.read_exact(&mut head) {
        let is_end = error.kind() == std::io::ErrorKind::UnexpectedEof;
        return if is_end { Ok(None) } else { Err(error) };
    }
    let [time, number, length] = [0, 8, 16].map(|at| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(head.get(at..at + 8).unwrap_or(&[0; 8]));
        bytes
    });
    let mut event = vec![0; u64::from_le_bytes(length) as usize];
    run.read_exact(&mut event)?;
    let event: KeyedEvent = serde_json::from_slice(&event)?;
    let rank = Rank {
        time: Timestamp::from_micros(i64::from_le_bytes(time)),
        key: event.key.clone(),
        sequence: event.sequence.get(),
        number: u64::from_le_bytes(number),
    };
    Ok(Some((rank, event)))
}

/// Merges the runs and the last one, which is in memory.
fn merge(
    mut runs: Vec<BufReader<File>>,
    last: Vec<(Rank, KeyedEvent)>,
    take: &mut impl FnMut(Line) -> bool,
) -> Result<()> {
    let mut last = last.into_iter();
    let in_memory = runs.len();
    let mut heads: Vec<Option<KeyedEvent>> = Vec::new();
    let mut heap = BinaryHeap::new();
    let mut read = |source: usize| match runs.get_mut(source) {
        Some(run) => read_run(run).map_err(|e| temporary(&e)),
        None => Ok(last.next()),
    };
    for source in 0..=in_memory {
        let next = read(source)?;
        let (rank, event) = next.unzip();
        heads.push(event);
        heap.extend(rank.map(|rank| Reverse((rank, source))));
    }
    while let Some(Reverse((rank, source))) = heap.pop() {
        let (next, event) = read(source)?.unzip();
        heap.extend(next.map(|rank| Reverse((rank, source))));
        let head = heads.get_mut(source).and_then(|head| std::mem::replace(head, event));
        if let Some(event) = head
            && !take(Line { number: rank.number, event })
        {
            return Ok(());
        }
    }
    Ok(())
}

fn temporary(error: &std::io::Error) -> Error {
    let directory = std::env::temp_dir();
    Error::io(format!("sorting in {}", directory.display()), error)
        .hint("TMPDIR names another directory for temporary files")
}
