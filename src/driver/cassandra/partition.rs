//! How large an aggregate's partition has become, and a warning before it outgrows what Cassandra
//! is good at.
//!
//! Nothing is counted: that would need the state of every aggregate. A put says at which sequence
//! it ends, which is the number of rows; how many bytes they are is estimated from the put's own
//! events. So the warning is exact in rows and about right in bytes.

use std::fmt;

use crate::driver::Put;
use crate::event::AggregateKey;

/// Rows in a partition that Cassandra advises not to exceed.
const ROWS: u64 = 100_000;
/// Bytes in a partition that Cassandra advises not to exceed.
const BYTES: u64 = 100 << 20;
/// What a row has beside the event: its columns' times, the put's id, the commit id, the type.
const BYTES_BESIDE: u64 = 100;
/// The first tenth that is worth a warning.
const FIRST_TENTH: u64 = 7;

/// A partition that grew past another tenth of what is advised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outgrowing<'a> {
    pub(super) key: &'a AggregateKey,
    pub(super) rows: u64,
    /// If its events are as large as those of the put.
    pub(super) about_bytes: u64,
}

impl fmt::Display for Outgrowing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: the aggregate's partition has {} rows, about {} MiB; Cassandra advises at most \
             {ROWS} rows and {} MiB in one: close its books and go on under a new key",
            self.key,
            self.rows,
            self.about_bytes >> 20,
            BYTES >> 20
        )
    }
}

/// Whether this put takes its aggregate past another tenth, from the seventh on. One put in some
/// thousands does, so a warning is not repeated for each put of a large aggregate.
pub(super) fn outgrown_by(put: &Put) -> Option<Outgrowing<'_>> {
    let (first, last) = (put.events().first()?, put.events().last()?);
    let count = put.events().len() as u64;
    let bytes: u64 = put.events().iter().map(|event| event.size_bytes() as u64).sum();
    let row = bytes / count + BYTES_BESIDE;
    let tenths = |rows: u64| (rows / (ROWS / 10)).max(rows.saturating_mul(row) / (BYTES / 10));
    let (before, after) = (tenths(first.sequence.get().saturating_sub(1)), last.sequence.get());
    (tenths(after) > before && tenths(after) >= FIRST_TENTH).then(|| Outgrowing {
        key: &first.key,
        rows: after,
        about_bytes: after.saturating_mul(row),
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::event::{NewEvent, Sequence, Timestamp};

    fn put(sequences: std::ops::RangeInclusive<u64>, bytes: usize) -> Put {
        let key = AggregateKey::new("account/1").unwrap();
        let event = |sequence: u64| {
            let event = NewEvent::raw("T", format!("\"{}\"", "x".repeat(bytes)));
            let (id, at) = (Uuid::nil(), Timestamp::from_micros(1));
            event.check().unwrap().place(&key, Sequence::new(sequence), id, at)
        };
        Put::new(sequences.map(event).collect()).unwrap()
    }

    fn rows_of_warnings(bytes: usize, until: u64) -> Vec<u64> {
        let put_at = |last| put(last..=last, bytes);
        (1..=until).filter(|last| outgrown_by(&put_at(*last)).is_some()).collect()
    }

    #[test]
    fn small_events_are_counted_in_rows_from_seven_tenths_on() {
        let warned = rows_of_warnings(10, 130_000);
        assert_eq!(warned, [70_000, 80_000, 90_000, 100_000, 110_000, 120_000, 130_000]);
    }

    #[test]
    fn large_events_are_counted_in_bytes() {
        let warned = rows_of_warnings(1 << 20, 100);
        assert_eq!(warned.first(), Some(&70), "{warned:?}");
        let put = put(70..=70, 1 << 20);
        let text = outgrown_by(&put).unwrap().to_string();
        assert!(
            text.starts_with("account/1: ") && text.contains("70 rows, about 70 MiB"),
            "{text}"
        );
    }

    #[test]
    fn a_put_of_many_events_warns_once_where_it_passes_a_tenth() {
        assert!(outgrown_by(&put(69_990..=70_010, 10)).is_some());
        assert!(outgrown_by(&put(70_001..=70_010, 10)).is_none());
    }
}
