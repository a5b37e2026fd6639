//! Hands the store's figures to the facade [`metrics`], once a second: the feature `metrics`.
//!
//! ```text
//! EventStore::stats ── what was added since the last time ─▶ counters, histograms ─┐
//!                   └─ what is now ─▶ gauges ──────────────────────────────────────┴▶ recorder
//! ```
//!
//! Appends pay nothing for it: it reads what is counted anyway. The recorder is the application's
//! code, and may panic. One that is installed after the store was opened hears what is counted from
//! then on: nothing tells whether there is one. Metrics are described and registered at each turn,
//! because there may be a new recorder.
//!
//! [`METRICS`] is the one list of names. `docs/metrics.md` shows it.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use ::metrics::{Key, KeyName, Label, Level, Metadata, Recorder, SharedString, Unit};

use super::stats::stats_of;
use crate::mailroom::Mailroom;
use crate::stats::{ConsumerStats, Distribution, JournalStats, Measure, StoreStats};
use crate::user_code;

const EVERY: Duration = Duration::from_secs(1);

/// One metric: its name, its unit, what it says, and where it comes from.
struct Metric {
    name: &'static str,
    unit: Unit,
    /// In one line.
    says: &'static str,
    source: MetricSource,
}

enum MetricSource {
    /// What has happened so far.
    Counter(fn(&StoreStats) -> Option<u64>),
    /// What is now.
    Gauge(fn(&StoreStats) -> Option<f64>),
    Durations(fn(&StoreStats) -> Option<&Distribution<Duration>>),
    Sizes(fn(&StoreStats) -> Option<&Distribution<u64>>),
    ConsumerCounter(fn(&ConsumerStats) -> u64),
    ConsumerGauge(fn(&ConsumerStats) -> f64),
}

const fn metric(
    name: &'static str,
    unit: Unit,
    source: MetricSource,
    says: &'static str,
) -> Metric {
    Metric { name, unit, says, source }
}

fn journal(stats: &StoreStats) -> Option<&JournalStats> {
    stats.driver.journal.as_ref()
}

use MetricSource::{ConsumerCounter, ConsumerGauge, Counter, Durations, Gauge, Sizes};

/// Every metric there is.
const METRICS: &[Metric] = &[
    metric(
        "seriatim_appends_total",
        Unit::Count,
        Counter(|s| Some(s.appends)),
        "Appends that were written, those of commands included",
    ),
    metric(
        "seriatim_events_total",
        Unit::Count,
        Counter(|s| Some(s.events)),
        "Events of these appends",
    ),
    metric(
        "seriatim_repeated_appends_total",
        Unit::Count,
        Counter(|s| Some(s.repeated_appends)),
        "Appends that had been written before under the same commit id",
    ),
    metric(
        "seriatim_early_conflicts_total",
        Unit::Count,
        Counter(|s| Some(s.early_conflicts)),
        "Appends refused in the caller's thread as stale",
    ),
    metric(
        "seriatim_conflicts_total",
        Unit::Count,
        Counter(|s| Some(s.conflicts)),
        "Appends refused later, because their expectation was wrong",
    ),
    metric(
        "seriatim_unknown_appends_total",
        Unit::Count,
        Counter(|s| Some(s.unknown_appends)),
        "Appends and commands answered Indeterminate",
    ),
    metric(
        "seriatim_failed_appends_total",
        Unit::Count,
        Counter(|s| Some(s.failed_appends)),
        "Appends and commands answered with another error",
    ),
    metric(
        "seriatim_commands_total",
        Unit::Count,
        Counter(|s| Some(s.commands)),
        "Commands that were answered",
    ),
    metric(
        "seriatim_commands_without_events_total",
        Unit::Count,
        Counter(|s| Some(s.commands_without_events)),
        "Commands that appended nothing: nothing to do, rejected, not loaded, panicked",
    ),
    metric(
        "seriatim_puts_total",
        Unit::Count,
        Counter(|s| Some(s.puts)),
        "Puts that the driver committed",
    ),
    metric(
        "seriatim_driver_conflicts_total",
        Unit::Count,
        Counter(|s| Some(s.driver_conflicts)),
        "Puts that the driver refused, because another process had written",
    ),
    metric(
        "seriatim_resent_puts_total",
        Unit::Count,
        Counter(|s| Some(s.resent_puts)),
        "Puts sent again, because an earlier sending was not answered",
    ),
    metric(
        "seriatim_unknown_puts_total",
        Unit::Count,
        Counter(|s| Some(s.unknown_puts)),
        "Puts whose outcome was unknown at their deadline",
    ),
    metric(
        "seriatim_put_duration_seconds",
        Unit::Seconds,
        Durations(|s| Some(&s.put_time)),
        "From forming a put until the driver committed it",
    ),
    metric(
        "seriatim_queue_duration_seconds",
        Unit::Seconds,
        Durations(|s| Some(&s.queue_time)),
        "From an append's arrival in its mailbox until it goes into a put",
    ),
    metric(
        "seriatim_appends_per_put",
        Unit::Count,
        Sizes(|s| Some(&s.appends_per_put)),
        "Appends that share a put",
    ),
    metric(
        "seriatim_resident_aggregates",
        Unit::Count,
        Gauge(|s| Some(s.residents as f64)),
        "Aggregates whose mailbox is in memory",
    ),
    metric(
        "seriatim_resident_state_bytes",
        Unit::Bytes,
        Gauge(|s| Some(s.resident_bytes as f64)),
        "Bytes of resident entities' states, estimated",
    ),
    metric(
        "seriatim_passivations_total",
        Unit::Count,
        Counter(|s| Some(s.passivations)),
        "Aggregates whose actor was stopped",
    ),
    metric(
        "seriatim_in_flight_appends",
        Unit::Count,
        Gauge(|s| Some(s.in_flight as f64)),
        "Appends and commands that are admitted and not answered",
    ),
    metric(
        "seriatim_in_flight_bytes",
        Unit::Bytes,
        Gauge(|s| Some(s.bytes_in_flight as f64)),
        "Bytes of these",
    ),
    metric(
        "seriatim_stored_events",
        Unit::Count,
        Gauge(|s| s.driver.events.map(|n| n as f64)),
        "Events in the store",
    ),
    metric(
        "seriatim_stored_keys",
        Unit::Count,
        Gauge(|s| s.driver.keys.map(|n| n as f64)),
        "Aggregates with events",
    ),
    metric(
        "seriatim_disk_bytes",
        Unit::Bytes,
        Gauge(|s| s.driver.disk_bytes.map(|n| n as f64)),
        "Bytes on the disk: redb's file, the journal and the reserve",
    ),
    metric(
        "seriatim_flush_duration_seconds",
        Unit::Seconds,
        Durations(|s| journal(s).map(|j| &j.flush_time)),
        "A flush that puts wait for, with the write before it",
    ),
    metric(
        "seriatim_puts_per_flush",
        Unit::Count,
        Sizes(|s| journal(s).map(|j| &j.puts_per_flush)),
        "Puts that share a flush",
    ),
    metric(
        "seriatim_journal_files",
        Unit::Count,
        Gauge(|s| journal(s).map(|j| j.files as f64)),
        "Files of the journal",
    ),
    metric(
        "seriatim_journal_bytes",
        Unit::Bytes,
        Gauge(|s| journal(s).map(|j| j.bytes as f64)),
        "Bytes of these files",
    ),
    metric(
        "seriatim_tail_bytes",
        Unit::Bytes,
        Gauge(|s| journal(s).map(|j| j.tail_bytes as f64)),
        "Bytes in memory of what is journaled and not yet applied",
    ),
    metric(
        "seriatim_apply_lag_events",
        Unit::Count,
        Gauge(|s| journal(s).map(|j| j.apply_lag_events as f64)),
        "Events that are journaled and not yet applied",
    ),
    metric(
        "seriatim_apply_lag_seconds",
        Unit::Seconds,
        Gauge(|s| journal(s).map(|j| j.apply_lag.as_secs_f64())),
        "How long the oldest of them has waited",
    ),
    metric(
        "seriatim_reserve_bytes",
        Unit::Bytes,
        Gauge(|s| journal(s).map(|j| j.reserve_bytes as f64)),
        "Bytes set aside on the disk for the next transaction",
    ),
    metric(
        "seriatim_cache_bytes",
        Unit::Bytes,
        Gauge(|s| s.driver.cache.as_ref().map(|c| c.bytes as f64)),
        "Bytes of the cache of what was read",
    ),
    metric(
        "seriatim_cache_hits_total",
        Unit::Count,
        Counter(|s| s.driver.cache.as_ref().map(|c| c.hits)),
        "Segments found in the cache",
    ),
    metric(
        "seriatim_cache_misses_total",
        Unit::Count,
        Counter(|s| s.driver.cache.as_ref().map(|c| c.misses)),
        "Segments read from the file",
    ),
    metric(
        "seriatim_consumer_lag_events",
        Unit::Count,
        ConsumerGauge(|c| c.lag as f64),
        "Events after the consumer's position",
    ),
    metric(
        "seriatim_consumer_parked_aggregates",
        Unit::Count,
        ConsumerGauge(|c| c.parked as f64),
        "Aggregates that are parked",
    ),
    metric(
        "seriatim_consumer_retries_total",
        Unit::Count,
        ConsumerCounter(|c| c.retries),
        "Deliveries that failed and were repeated",
    ),
];

/// Publishes the figures of one store.
pub(super) struct MetricsPublisher {
    mailroom: Arc<Mailroom>,
    /// The value of the label `store`.
    label: Option<String>,
    /// What was published last.
    last: Mutex<StoreStats>,
}

impl MetricsPublisher {
    /// Publishes every second, until it is dropped or the store is closed.
    pub(super) fn start(mailroom: &Arc<Mailroom>, label: Option<String>) -> Arc<Self> {
        let last = Mutex::default();
        let publisher = Arc::new(MetricsPublisher { mailroom: mailroom.clone(), label, last });
        let weak = Arc::downgrade(&publisher);
        mailroom.spawn(async move {
            let mut turns = tokio::time::interval(EVERY);
            loop {
                turns.tick().await;
                let Some(publisher) = Weak::upgrade(&weak) else { return };
                publisher.publish();
            }
        });
        publisher
    }

    /// Publishes what was counted since the last time. A recorder that panics misses a turn.
    pub(super) fn publish(&self) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let stats = stats_of(&self.mailroom);
        let published = user_code::call(|| {
            ::metrics::with_recorder(|recorder| {
                let turn = PublishingTurn { recorder, store: self.label.as_deref() };
                METRICS.iter().for_each(|metric| turn.publish(metric, &stats, &last));
            });
        });
        if published.is_err() {
            tracing::warn!("the metrics recorder panicked");
        }
        *last = stats;
    }
}

/// One turn of publishing.
struct PublishingTurn<'a> {
    recorder: &'a dyn Recorder,
    store: Option<&'a str>,
}

static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

impl PublishingTurn<'_> {
    fn publish(&self, metric: &Metric, stats: &StoreStats, last: &StoreStats) {
        let (name, unit) = (KeyName::from_const_str(metric.name), Some(metric.unit));
        let says = SharedString::const_str(metric.says);
        match metric.source {
            Counter(_) | ConsumerCounter(_) => self.recorder.describe_counter(name, unit, says),
            Gauge(_) | ConsumerGauge(_) => self.recorder.describe_gauge(name, unit, says),
            Durations(_) | Sizes(_) => self.recorder.describe_histogram(name, unit, says),
        }
        let key = self.key(metric.name, None);
        match metric.source {
            Counter(of) => {
                let (Some(now), before) = (of(stats), of(last)) else { return };
                self.count(&key, now, before);
            }
            Gauge(of) => {
                let Some(now) = of(stats) else { return };
                self.recorder.register_gauge(&key, &METADATA).set(now);
            }
            Durations(of) => {
                let seconds = |duration: Duration| duration.as_secs_f64();
                self.record(&key, of(stats), of(last), seconds);
            }
            Sizes(of) => self.record(&key, of(stats), of(last), |size| size as f64),
            ConsumerCounter(of) => {
                for consumer in &stats.consumers {
                    let is_same = |other: &&ConsumerStats| other.name == consumer.name;
                    // One that was started again begins at 0.
                    let before = last.consumers.iter().find(is_same).map(of);
                    let key = self.key(metric.name, Some(&consumer.name));
                    self.count(&key, of(consumer), before.filter(|it| *it <= of(consumer)));
                }
            }
            ConsumerGauge(of) => {
                for consumer in &stats.consumers {
                    let key = self.key(metric.name, Some(&consumer.name));
                    self.recorder.register_gauge(&key, &METADATA).set(of(consumer));
                }
            }
        }
    }

    fn key(&self, name: &'static str, consumer: Option<&str>) -> Key {
        let store = self.store.map(|store| Label::new("store", store.to_owned()));
        let consumer = consumer.map(|consumer| Label::new("consumer", consumer.to_owned()));
        Key::from_parts(name, store.into_iter().chain(consumer).collect::<Vec<_>>())
    }

    fn count(&self, key: &Key, now: u64, before: Option<u64>) {
        let more = now.saturating_sub(before.unwrap_or(0));
        self.recorder.register_counter(key, &METADATA).increment(more);
    }

    fn record<T: Measure>(
        &self,
        key: &Key,
        now: Option<&Distribution<T>>,
        before: Option<&Distribution<T>>,
        value: impl Fn(T) -> f64,
    ) {
        let Some(now) = now else { return };
        let nothing = Distribution::default();
        let histogram = self.recorder.register_histogram(key, &METADATA);
        for (at_most, count) in now.since(before.unwrap_or(&nothing)).buckets() {
            histogram.record_many(value(at_most), usize::try_from(count).unwrap_or(usize::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(metric: &Metric) -> String {
        let Metric { name, says, unit, source } = metric;
        let (kind, labels) = match source {
            Counter(_) => ("counter", "`store`"),
            Gauge(_) => ("gauge", "`store`"),
            Durations(_) | Sizes(_) => ("histogram", "`store`"),
            ConsumerCounter(_) => ("counter", "`store`, `consumer`"),
            ConsumerGauge(_) => ("gauge", "`store`, `consumer`"),
        };
        let unit = match unit {
            Unit::Seconds => "seconds",
            Unit::Bytes => "bytes",
            _ => "",
        };
        format!("| `{name}` | {kind} | {unit} | {labels} | {says} |")
    }

    #[test]
    fn the_table_in_the_docs_is_the_list_in_the_code() {
        let page = include_str!("../../docs/metrics.md");
        let table: Vec<_> = page.lines().filter(|line| line.starts_with("| `seriatim_")).collect();
        let list: Vec<_> = METRICS.iter().map(row).collect();
        assert_eq!(table, list, "\nthe table is to be:\n{}", list.join("\n"));
    }

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        for Metric { name, unit, source, .. } in METRICS {
            let is_counter = matches!(source, Counter(_) | ConsumerCounter(_));
            assert_eq!(name.ends_with("_total"), is_counter, "{name}");
            assert_eq!(name.ends_with("_seconds"), *unit == Unit::Seconds, "{name}");
            assert_eq!(name.ends_with("_bytes"), *unit == Unit::Bytes, "{name}");
            let valid = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(name.starts_with("seriatim_") && name.chars().all(valid), "{name}");
            assert_eq!(METRICS.iter().filter(|other| other.name == *name).count(), 1, "{name}");
        }
    }
}
