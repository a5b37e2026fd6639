//! Cassandra: a warning before an aggregate outgrows its partition, and none before that.

use std::fmt::{self, Write};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::scripted::{Reply, cql, cql_node};
use super::{open, put_from};

/// Keeps the warnings of this crate's.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, "{field}={value:?} ");
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN && metadata.target().starts_with("seriatim")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn it_comes_once_where_a_put_passes_a_tenth() {
    let warnings = Warnings::default();
    // Of this thread alone, which the runtime has no other than.
    let _until_the_end = tracing::subscriber::set_default(warnings.clone());
    let driver = open(&format!("cassandra://{}/bank", cql_node::serve(|_| None))).await.unwrap();
    for last in [1, 10_000, 69_999, 70_000, 70_001, 90_000] {
        driver.put_events(put_from(last, 1)).await.unwrap();
    }
    let said = warnings.0.lock().unwrap().clone();
    assert_eq!(said.len(), 2, "{said:?}");
    for (line, rows) in said.iter().zip(["70000", "90000"]) {
        assert!(line.contains(&format!("rows={rows}")), "{line}");
        assert!(line.contains("account/1") && line.contains("close its books"), "{line}");
    }
}

#[tokio::test]
async fn a_put_that_was_not_written_warns_of_nothing() {
    let warnings = Warnings::default();
    let _until_the_end = tracing::subscriber::set_default(warnings.clone());
    let refuse = || Reply::Answers(cql::error(0x2200, "no"));
    let address = cql_node::serve(move |text| text.starts_with("INSERT").then(refuse));
    let driver = open(&format!("cassandra://{address}/bank")).await.unwrap();
    driver.put_events(put_from(70_000, 1)).await.unwrap_err();
    assert!(warnings.0.lock().unwrap().is_empty());
}
