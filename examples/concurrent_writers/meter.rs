//! What is measured. A writer counts into a slice of its own for a quarter of a second and then hands
//! it over, so that measuring takes no lock and shares no cache line; the receiving side adds the slices
//! up, in whole and over time.

use std::time::{Duration, Instant};

use hdrhistogram::{CreationError, Histogram};
use tokio::sync::mpsc::UnboundedSender;

/// How long a writer counts before it hands over.
pub(crate) const SLICE: Duration = Duration::from_millis(250);
/// About so many points in time are told apart, however long a run is.
const MAX_BINS: u32 = 240;

/// Latencies are told apart to 1 %.
const DIGITS: u8 = 2;
const LONGEST_NS: u64 = 600_000_000_000;

/// Latencies in nanoseconds.
pub(crate) type Latencies = Histogram<u32>;

pub(crate) fn no_latencies() -> Result<Latencies, CreationError> {
    Histogram::new_with_bounds(1, LONGEST_NS, DIGITS)
}

/// How often what was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) committed: u64,
    pub(crate) conflicts: u64,
    pub(crate) errors: u64,
}

impl Counts {
    fn add(&mut self, other: Counts) {
        self.committed += other.committed;
        self.conflicts += other.conflicts;
        self.errors += other.errors;
    }
}

/// What one writer measured in a short while.
pub(crate) struct Slice {
    /// When it began, from the start of the run.
    begin: Duration,
    counts: Counts,
    latencies: Latencies,
}

/// One writer's measuring.
pub(crate) struct Meter {
    start: Instant,
    slice_ends: Instant,
    slice: Slice,
    handed_to: UnboundedSender<Slice>,
}

impl Meter {
    pub(crate) fn new(
        start: Instant,
        latencies: Latencies,
        handed_to: UnboundedSender<Slice>,
    ) -> Self {
        let slice = Slice { begin: Duration::ZERO, counts: Counts::default(), latencies };
        Meter { start, slice_ends: start + SLICE, slice, handed_to }
    }

    /// An append that was committed now, and is timed from when it began.
    pub(crate) fn committed(&mut self, began: Instant) {
        self.timed(began).committed += 1;
    }

    /// An append that was refused now, and is timed from when it began.
    pub(crate) fn refused(&mut self, began: Instant) {
        self.timed(began).conflicts += 1;
    }

    /// An append that was refused and will be tried again.
    pub(crate) fn conflict(&mut self) {
        self.slice_at(Instant::now()).counts.conflicts += 1;
    }

    pub(crate) fn error(&mut self) {
        self.slice_at(Instant::now()).counts.errors += 1;
    }

    fn timed(&mut self, began: Instant) -> &mut Counts {
        let now = Instant::now();
        let slice = self.slice_at(now);
        let taken = now.duration_since(began).as_nanos();
        slice.latencies.saturating_record(u64::try_from(taken).unwrap_or(LONGEST_NS));
        &mut slice.counts
    }

    fn slice_at(&mut self, now: Instant) -> &mut Slice {
        if now >= self.slice_ends {
            self.hand_over(now);
        }
        &mut self.slice
    }

    fn hand_over(&mut self, now: Instant) {
        let since_start = now.duration_since(self.start);
        let begin = SLICE * (since_start.as_millis() / SLICE.as_millis()) as u32;
        self.slice_ends = self.start + begin + SLICE;
        let latencies = Histogram::new_from(&self.slice.latencies);
        let next = Slice { begin, counts: Counts::default(), latencies };
        let full = std::mem::replace(&mut self.slice, next);
        // The receiver is gone only when the run was given up.
        let _ = self.handed_to.send(full);
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.hand_over(Instant::now());
    }
}

/// What all writers measured, over time.
pub(crate) struct Measured {
    /// From the start to the last writer's last answer.
    pub(crate) elapsed: Duration,
    pub(crate) bin_width: Duration,
    pub(crate) bins: Vec<Bin>,
    pub(crate) counts: Counts,
    pub(crate) latencies: Histogram<u64>,
}

/// What all writers measured in one stretch of time.
pub(crate) struct Bin {
    pub(crate) counts: Counts,
    pub(crate) latencies: Latencies,
}

impl Measured {
    /// Nothing yet, in a run that is to last so long.
    pub(crate) fn new(planned: Duration) -> Result<Self, CreationError> {
        let slices = (planned.as_millis() / SLICE.as_millis()) as u32 / MAX_BINS + 1;
        Ok(Measured {
            elapsed: Duration::ZERO,
            bin_width: SLICE * slices,
            bins: Vec::new(),
            counts: Counts::default(),
            latencies: Histogram::new_with_bounds(1, LONGEST_NS, DIGITS)?,
        })
    }

    pub(crate) fn add(&mut self, slice: &Slice) {
        let index = (slice.begin.as_millis() / self.bin_width.as_millis()) as usize;
        while self.bins.len() <= index {
            let latencies = Histogram::new_from(&slice.latencies);
            self.bins.push(Bin { counts: Counts::default(), latencies });
        }
        if let Some(bin) = self.bins.get_mut(index) {
            bin.counts.add(slice.counts);
            let added = bin.latencies.add(&slice.latencies);
            debug_assert!(added.is_ok(), "all histograms have the same bounds");
        }
        self.counts.add(slice.counts);
    }

    /// The last slice came in: sums up.
    pub(crate) fn finish(&mut self, elapsed: Duration) {
        self.elapsed = elapsed;
        for bin in &self.bins {
            for step in bin.latencies.iter_recorded() {
                let value = step.value_iterated_to();
                self.latencies.saturating_record_n(value, u64::from(step.count_at_value()));
            }
        }
    }

    /// How much of this bin the run lasted.
    pub(crate) fn bin_seconds(&self, index: usize) -> f64 {
        let begin = self.bin_width * index as u32;
        self.elapsed.saturating_sub(begin).min(self.bin_width).as_secs_f64()
    }

    /// The latency in nanoseconds that this share of the answers kept within.
    pub(crate) fn quantile_ns(&self, share: f64) -> f64 {
        self.latencies.value_at_quantile(share) as f64
    }

    pub(crate) fn max_ns(&self) -> f64 {
        self.latencies.max() as f64
    }
}
