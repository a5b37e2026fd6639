//! What a store does, second by second: differences of what [`EventStore::stats`] tells.
//!
//! Nothing is measured while nobody looks. Whoever looks first in a second takes the sample of that
//! second; the others get the same. The samples of the last minutes are kept, for plots that begin
//! with a past.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use seriatim::stats::{ConsumerStats, Distribution, StoreStats};
use seriatim::{EventStore, Timestamp};

/// Samples are at least so far apart.
const APART: Duration = Duration::from_millis(900);
/// Ten minutes, where somebody looks every second.
const KEPT: usize = 600;

#[derive(Default)]
pub(crate) struct Figures(Mutex<Taken>);

#[derive(Default)]
struct Taken {
    last: Option<(Instant, StoreStats)>,
    samples: VecDeque<Arc<Sample>>,
    number: u64,
}

/// The figures of one moment, and the rates since the sample before.
#[derive(Debug, Serialize)]
pub(crate) struct Sample {
    pub(crate) number: u64,
    /// Milliseconds since the Unix epoch.
    at: i64,
    /// Since the sample before; `None` for the first, which has no rates.
    seconds: Option<f64>,
    rates: Option<Rates>,
    put_ms: Option<Quantiles>,
    queue_ms: Option<Quantiles>,
    flush_ms: Option<Quantiles>,
    appends_per_put: Option<f64>,
    puts_per_flush: Option<f64>,
    totals: Totals,
    residents: u64,
    in_flight: u64,
    bytes_in_flight: u64,
    driver: DriverFigures,
    consumers: Vec<ConsumerFigures>,
}

/// Each per second.
#[derive(Debug, Serialize)]
struct Rates {
    appends: f64,
    events: f64,
    conflicts: f64,
    commands: f64,
    puts: f64,
    failures: f64,
    passivations: f64,
}

#[derive(Debug, Serialize)]
struct Quantiles {
    p50: f64,
    p99: f64,
}

/// Since the store was opened.
#[derive(Debug, Serialize)]
struct Totals {
    appends: u64,
    events: u64,
    repeated_appends: u64,
    early_conflicts: u64,
    conflicts: u64,
    unknown_appends: u64,
    failed_appends: u64,
    commands: u64,
    commands_without_events: u64,
    puts: u64,
    driver_conflicts: u64,
    resent_puts: u64,
    unknown_puts: u64,
    passivations: u64,
}

#[derive(Debug, Serialize)]
struct DriverFigures {
    events: Option<u64>,
    keys: Option<u64>,
    disk_bytes: Option<u64>,
    journal_files: Option<u64>,
    tail_bytes: Option<u64>,
    apply_lag_events: Option<u64>,
    apply_lag_ms: Option<f64>,
    cache_bytes: Option<u64>,
    cache_hit_share: Option<f64>,
}

#[derive(Debug, Serialize)]
struct ConsumerFigures {
    name: String,
    lag: u64,
    parked: u64,
    retries: u64,
}

impl Figures {
    /// The sample of this second.
    pub(crate) fn now(&self, store: &EventStore) -> Arc<Sample> {
        let mut taken = self.taken();
        if let (Some((when, _)), Some(sample)) = (&taken.last, taken.samples.back())
            && when.elapsed() < APART
        {
            return sample.clone();
        }
        let (now, stats) = (Instant::now(), store.stats());
        taken.number += 1;
        let before = taken.last.as_ref();
        let since = before.map(|(when, stats)| (now.duration_since(*when).as_secs_f64(), stats));
        let sample = Arc::new(Sample::new(taken.number, &stats, since));
        taken.last = Some((now, stats));
        if taken.samples.len() == KEPT {
            taken.samples.pop_front();
        }
        taken.samples.push_back(sample.clone());
        sample
    }

    /// The samples that are kept, the latest last.
    pub(crate) fn history(&self) -> Vec<Arc<Sample>> {
        self.taken().samples.iter().cloned().collect()
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sample {
    fn new(number: u64, stats: &StoreStats, since: Option<(f64, &StoreStats)>) -> Self {
        let journal = stats.driver.journal.as_ref();
        let before = since.map(|(_, before)| before);
        let journal_before = before.and_then(|before| before.driver.journal.as_ref());
        let times = |now: &Distribution<Duration>, before: Option<&Distribution<Duration>>| {
            before.and_then(|before| quantiles(&now.since(before)))
        };
        let means = |now: &Distribution<u64>, before: Option<&Distribution<u64>>| {
            before.and_then(|before| mean(&now.since(before)))
        };
        Sample {
            number,
            at: Timestamp::now().as_micros() / 1_000,
            seconds: since.map(|(seconds, _)| seconds),
            rates: since.map(|(seconds, before)| Rates::between(before, stats, seconds)),
            put_ms: times(&stats.put_time, before.map(|before| &before.put_time)),
            queue_ms: times(&stats.queue_time, before.map(|before| &before.queue_time)),
            flush_ms: journal
                .and_then(|now| times(&now.flush_time, journal_before.map(|j| &j.flush_time))),
            appends_per_put: means(
                &stats.appends_per_put,
                before.map(|before| &before.appends_per_put),
            ),
            puts_per_flush: journal.and_then(|now| {
                means(&now.puts_per_flush, journal_before.map(|j| &j.puts_per_flush))
            }),
            totals: Totals::of(stats),
            residents: stats.residents,
            in_flight: stats.in_flight,
            bytes_in_flight: stats.bytes_in_flight,
            driver: DriverFigures::of(stats),
            consumers: stats.consumers.iter().map(ConsumerFigures::of).collect(),
        }
    }
}

impl Rates {
    fn between(before: &StoreStats, now: &StoreStats, seconds: f64) -> Self {
        let rate = |figure: fn(&StoreStats) -> u64| {
            figure(now).saturating_sub(figure(before)) as f64 / seconds.max(0.001)
        };
        Rates {
            appends: rate(|stats| stats.appends),
            events: rate(|stats| stats.events),
            conflicts: rate(|stats| stats.early_conflicts + stats.conflicts),
            commands: rate(|stats| stats.commands),
            puts: rate(|stats| stats.puts),
            failures: rate(|stats| stats.failed_appends + stats.unknown_appends),
            passivations: rate(|stats| stats.passivations),
        }
    }
}

fn quantiles(times: &Distribution<Duration>) -> Option<Quantiles> {
    let ms = |share| times.quantile(share).map(|time| time.as_secs_f64() * 1_000.0);
    Some(Quantiles { p50: ms(0.5)?, p99: ms(0.99)? })
}

fn mean(numbers: &Distribution<u64>) -> Option<f64> {
    let count = numbers.count();
    (count > 0).then(|| numbers.sum() as f64 / count as f64)
}

impl Totals {
    fn of(stats: &StoreStats) -> Self {
        Totals {
            appends: stats.appends,
            events: stats.events,
            repeated_appends: stats.repeated_appends,
            early_conflicts: stats.early_conflicts,
            conflicts: stats.conflicts,
            unknown_appends: stats.unknown_appends,
            failed_appends: stats.failed_appends,
            commands: stats.commands,
            commands_without_events: stats.commands_without_events,
            puts: stats.puts,
            driver_conflicts: stats.driver_conflicts,
            resent_puts: stats.resent_puts,
            unknown_puts: stats.unknown_puts,
            passivations: stats.passivations,
        }
    }
}

impl DriverFigures {
    fn of(stats: &StoreStats) -> Self {
        let (driver, journal) = (&stats.driver, stats.driver.journal.as_ref());
        let cache = driver.cache.as_ref();
        DriverFigures {
            events: driver.events,
            keys: driver.keys,
            disk_bytes: driver.disk_bytes,
            journal_files: journal.map(|journal| journal.files),
            tail_bytes: journal.map(|journal| journal.tail_bytes),
            apply_lag_events: journal.map(|journal| journal.apply_lag_events),
            apply_lag_ms: journal.map(|journal| journal.apply_lag.as_secs_f64() * 1_000.0),
            cache_bytes: cache.map(|cache| cache.bytes),
            cache_hit_share: cache.and_then(|cache| {
                let asked = cache.hits + cache.misses;
                (asked > 0).then(|| cache.hits as f64 / asked as f64)
            }),
        }
    }
}

impl ConsumerFigures {
    fn of(consumer: &ConsumerStats) -> Self {
        ConsumerFigures {
            name: consumer.name.clone(),
            lag: consumer.lag,
            parked: consumer.parked,
            retries: consumer.retries,
        }
    }
}
