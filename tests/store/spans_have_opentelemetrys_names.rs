//! The spans of the middleware `Spans` have the names of OpenTelemetry's conventions, and carry
//! what the metadata says of correlation and causation.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use seriatim::middleware::Spans;
use seriatim::{Append, EventStore, Expected, NewEvent};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

type Fields = BTreeMap<&'static str, String>;

/// Keeps the fields of each span of the store's middleware, in order.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Fields>>>);

struct Into<'a>(&'a mut Fields);

impl Visit for Into<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl Subscriber for Kept {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.target() == "seriatim::middleware::spans"
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut spans = self.0.lock().unwrap();
        let mut fields = Fields::new();
        attributes.record(&mut Into(&mut fields));
        spans.push(fields);
        Id::from_u64(spans.len() as u64)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let mut spans = self.0.lock().unwrap();
        values.record(&mut Into(&mut spans[span.into_u64() as usize - 1]));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

async fn spans_of<F: Future<Output = ()>>(calls: impl FnOnce(EventStore) -> F) -> Vec<Fields> {
    let kept = Kept::default();
    let _until_the_end = tracing::subscriber::set_default(kept.clone());
    let store = EventStore::builder().url("memory:").middleware(Spans).open().await.unwrap();
    calls(store).await;
    kept.0.lock().unwrap().clone()
}

#[tokio::test]
async fn a_call_is_one_of_a_database() {
    let spans = spans_of(|store| async move {
        let event = NewEvent::raw("Placed", "{}")
            .raw_metadata(r#"{"correlation_id":"request 7","causation_id":"e-1","by":"Ada"}"#);
        store.append(Append::to("order/7").event(event)).await.unwrap();
        store.read("order/7").collect().await.unwrap();
    })
    .await;
    let [append, fetch] = &spans[..] else { panic!("{spans:?}") };
    let wanted = [
        ("otel.kind", "client"),
        ("otel.name", "append order"),
        ("db.system.name", "seriatim"),
        ("db.operation.name", "append"),
        ("db.collection.name", "order"),
        ("seriatim.key", "order/7"),
        ("seriatim.events", "1"),
        ("seriatim.last", "1"),
        ("seriatim.correlation_id", "request 7"),
        ("seriatim.causation_id", "e-1"),
    ];
    for (name, value) in wanted {
        assert_eq!(append.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert!(!append.contains_key("error.type") && !append.contains_key("otel.status_code"));
    assert_eq!(fetch["otel.name"], "fetch order");
    assert_eq!(fetch["db.response.returned_rows"], "1");
}

#[tokio::test]
async fn a_failure_says_its_type() {
    let spans = spans_of(|store| async move {
        for _ in 0..2 {
            let event = NewEvent::raw("Placed", "{}").raw_metadata("{\"correlation_id\":7}");
            let append = Append::to("order/7").expect(Expected::NoEvents).event(event);
            let _refused_once = store.append(append).await;
        }
    })
    .await;
    let refused = spans.last().unwrap();
    assert_eq!(refused["error.type"], "Conflict");
    assert_eq!(refused["otel.status_code"], "ERROR");
    assert!(refused["seriatim.error"].contains("order/7"), "{refused:?}");
    assert!(!refused.contains_key("seriatim.correlation_id"), "it is no text");
}
