//! The conformance suite fails drivers that break the contract, each by the name of what it breaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt;
use seriatim::driver::conformance::{Harness, async_trait, run_one};
use seriatim::driver::memory::MemoryDriver;
use seriatim::driver::{Driver, DriverError, EventPages, Fetch, KeyPages, Limits, Put, PutReceipt};
use seriatim::{AggregateKey, KeyedEvent, RawJson, Sequence};

#[derive(Clone, Copy, Debug)]
enum Mutation {
    /// Answers a put that collides as if it were written.
    SwallowsConflicts,
    /// Writes the events of a put one by one, and stops at the first that collides.
    WritesHalfAPut,
    /// Leaves out the last event of a long page.
    CutsPages,
    /// Forgets the latest event when it is opened again.
    LosesOnReopen,
    /// Takes JSON through a tree of values.
    ChangesNumbers,
    /// Goes on after it was closed.
    IgnoresClose,
    /// Lists keys that do not begin with the prefix.
    IgnoresPrefix,
    /// Does not look at its limits.
    IgnoresLimits,
    /// Reads backwards as forwards.
    IgnoresDirection,
    /// Takes key "a%2Fb" for "a/b".
    ConfusesKeys,
    /// Loses metadata.
    LosesMetadata,
}

struct Mutant {
    inner: Arc<MemoryDriver>,
    mutation: Mutation,
    hidden: AtomicU64,
}

impl Mutant {
    fn key(&self, key: &AggregateKey) -> AggregateKey {
        match self.mutation {
            Mutation::ConfusesKeys => AggregateKey::new(&key.as_str().replace("%2F", "/")).unwrap(),
            _ => key.clone(),
        }
    }
}

#[async_trait]
impl Driver for Mutant {
    async fn check_sequence(&self, key: &AggregateKey, n: Sequence) -> Result<bool, DriverError> {
        self.inner.check_sequence(&self.key(key), n).await
    }

    fn fetch_events(&self, key: &AggregateKey, mut fetch: Fetch) -> EventPages {
        if matches!(self.mutation, Mutation::IgnoresDirection) {
            fetch.backwards = false;
        }
        let mutation = self.mutation;
        let hidden = self.hidden.load(Ordering::SeqCst);
        let pages = self.inner.fetch_events(&self.key(key), fetch);
        let mutate = move |mut events: Vec<KeyedEvent>| {
            if matches!(mutation, Mutation::CutsPages) && events.len() > 900 {
                events.pop();
            }
            for event in &mut events {
                if matches!(mutation, Mutation::ChangesNumbers)
                    && let Ok(value) = event.json::<serde_json::Value>()
                {
                    event.data = RawJson::serialize(&value).unwrap();
                }
                if matches!(mutation, Mutation::LosesMetadata) {
                    event.metadata = None;
                }
            }
            events.retain(|event| hidden == 0 || event.sequence.get() < hidden);
            events
        };
        pages.map(move |page| page.map(mutate)).boxed()
    }

    async fn put_events(&self, put: Arc<Put>) -> Result<PutReceipt, DriverError> {
        let events = put.events().iter().cloned().map(|mut event| {
            event.key = self.key(&event.key);
            event
        });
        let put = Arc::new(Put::new(events.collect()).unwrap());
        match self.mutation {
            Mutation::SwallowsConflicts => match self.inner.put_events(put).await {
                Err(DriverError::Conflict { .. }) => Ok(PutReceipt::default()),
                other => other,
            },
            Mutation::WritesHalfAPut => {
                let mut first = None;
                for event in put.events() {
                    let one = Arc::new(Put::new(vec![event.clone()]).unwrap());
                    let receipt = self.inner.put_events(one).await?;
                    first.get_or_insert(receipt);
                }
                Ok(first.unwrap_or_default())
            }
            Mutation::IgnoresLimits => {
                let half = put.events().len() / 2;
                for events in [&put.events()[..half], &put.events()[half..]] {
                    if let Ok(put) = Put::new(events.to_vec()) {
                        self.inner.put_events(Arc::new(put)).await?;
                    }
                }
                Ok(PutReceipt::default())
            }
            _ => self.inner.put_events(put).await,
        }
    }

    async fn close(&self) -> Result<(), DriverError> {
        match self.mutation {
            Mutation::IgnoresClose => Ok(()),
            _ => self.inner.close().await,
        }
    }

    fn keys(&self, prefix: &str, after: Option<&AggregateKey>) -> KeyPages {
        match self.mutation {
            Mutation::IgnoresPrefix => self.inner.keys("", after),
            _ => self.inner.keys(prefix, after),
        }
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }
}

struct Mutants {
    data: MemoryDriver,
    mutation: Mutation,
    opened: AtomicU64,
}

#[async_trait]
impl Harness for Mutants {
    async fn open(&self) -> Result<Arc<dyn Driver>, DriverError> {
        let again = self.opened.fetch_add(1, Ordering::SeqCst) > 0;
        let forgets = again && matches!(self.mutation, Mutation::LosesOnReopen);
        Ok(Arc::new(Mutant {
            inner: Arc::new(self.data.reopen()),
            mutation: self.mutation,
            hidden: AtomicU64::new(if forgets { 5 } else { 0 }),
        }))
    }
}

async fn is_caught(mutation: Mutation, check: &'static str) {
    let mutants = Mutants { data: MemoryDriver::new(), mutation, opened: AtomicU64::new(0) };
    let report = run_one(&mutants, check).await;
    assert_eq!(report.checks.len(), 1, "there is no check {check}");
    println!("{mutation:?}: {report}");
    assert!(!report.is_conformant(), "{mutation:?} passed {check}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mutant_is_caught_by_name() {
    for (mutation, check) in [
        (Mutation::SwallowsConflicts, "stale_put_conflicts"),
        (Mutation::SwallowsConflicts, "one_of_two_racing_puts_wins"),
        (Mutation::WritesHalfAPut, "put_is_all_or_nothing"),
        (Mutation::CutsPages, "ten_thousand_events_in_order"),
        (Mutation::LosesOnReopen, "reopens_and_reads"),
        (Mutation::ChangesNumbers, "json_comes_back_byte_for_byte"),
        (Mutation::IgnoresClose, "is_closed_after_close"),
        (Mutation::IgnoresPrefix, "keys_are_listed_by_prefix"),
        (Mutation::IgnoresLimits, "limits_hold_to_the_byte"),
        (Mutation::IgnoresDirection, "pages_follow_one_another"),
        (Mutation::ConfusesKeys, "odd_keys_are_kept_apart"),
        (Mutation::LosesMetadata, "everything_about_an_event_comes_back"),
    ] {
        is_caught(mutation, check).await;
    }
}
