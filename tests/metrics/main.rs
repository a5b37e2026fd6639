//! The feature `metrics`: what a store hands to the recorder of the application. The recorder is
//! global, so this is a process of its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

#[path = "../support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use seriatim::{EventStore, Expected};

use support::{append, until};

/// Sums of counters, last values of gauges, numbers of a histogram's values; by name and labels.
#[derive(Clone, Default)]
struct Recorded(Arc<Mutex<HashMap<String, f64>>>);

impl Recorded {
    fn get(&self, name: &str) -> Option<f64> {
        self.0.lock().unwrap().get(name).copied()
    }
}

struct Handle {
    all: Recorded,
    name: String,
}

impl Handle {
    fn new(all: &Recorded, key: &Key) -> Arc<Self> {
        let labels = key.labels().map(|label| format!(" {}={}", label.key(), label.value()));
        let name = key.name().to_owned() + &labels.collect::<String>();
        Arc::new(Handle { all: all.clone(), name })
    }

    fn add(&self, value: f64) {
        *self.all.0.lock().unwrap().entry(self.name.clone()).or_default() += value;
    }
}

impl CounterFn for Handle {
    fn increment(&self, value: u64) {
        self.add(value as f64);
    }

    fn absolute(&self, _: u64) {
        panic!("counters of two stores would overwrite each other");
    }
}

impl GaugeFn for Handle {
    fn increment(&self, _: f64) {
        panic!("gauges are set");
    }

    fn decrement(&self, _: f64) {
        panic!("gauges are set");
    }

    fn set(&self, value: f64) {
        self.all.0.lock().unwrap().insert(self.name.clone(), value);
    }
}

impl HistogramFn for Handle {
    fn record(&self, _: f64) {
        self.add(1.0);
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Handle::new(self, key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Handle::new(self, key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Handle::new(self, key))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorder_hears_each_figure_once() {
    let recorded = Recorded::default();
    metrics::set_global_recorder(recorded.clone()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let url = format!("redb:{}", directory.path().display());
    let store = EventStore::builder().url(&url).metrics_label("main").open().await.unwrap();
    store.append(append("a")).await.unwrap();
    let get = |name: &str| recorded.get(&format!("seriatim_{name} store=main"));
    until("the first append is told", || get("stored_events") == Some(1.0)).await;
    for _ in 0..2 {
        store.append(append("a")).await.unwrap();
    }
    store.append(append("a").expect(Expected::NoEvents)).await.unwrap_err();
    let run = store.consumer("list").run(|_| async { Ok::<_, String>(()) });
    let (handle, running) = (run.handle(), tokio::spawn(run));
    let lag = "seriatim_consumer_lag_events store=main consumer=list";
    until("the consumer is told of", || recorded.get(lag) == Some(0.0)).await;
    until("the appends are told", || get("stored_events") == Some(3.0)).await;
    handle.stop();
    running.await.unwrap().unwrap();
    store.append(append("b")).await.unwrap();
    store.close().await.unwrap();

    let counted = ["appends_total", "events_total", "puts_total", "early_conflicts_total"];
    assert_eq!(counted.map(get), [Some(4.0), Some(4.0), Some(4.0), Some(1.0)]);
    let histograms = ["put_duration_seconds", "queue_duration_seconds", "appends_per_put"];
    assert_eq!(histograms.map(get), [Some(4.0); 3]);
    let flushes = ["flush_duration_seconds", "puts_per_flush"];
    assert!(flushes.map(get).into_iter().all(|count| count >= Some(4.0)));

    // Without a label of its own, a store has its URL.
    let store = EventStore::open("memory:").await.unwrap();
    store.append(append("a")).await.unwrap();
    store.close().await.unwrap();
    assert_eq!(recorded.get("seriatim_appends_total store=memory:"), Some(1.0));
    assert_eq!(recorded.get("seriatim_journal_files store=memory:"), None, "it has no journal");
}
