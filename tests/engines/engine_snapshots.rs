//! Snapshots on the remote engines: they stand beside the events and are never taken for them, and
//! an entity with a long history loads from its snapshot and what follows it.

use std::time::Duration;

use crate::support::engines::{Engine, block_on};
use crate::support::proxy::Proxy;
use bytes::Bytes;
use futures::StreamExt;
use libtest_mimic::Failed;
use serde::{Deserialize, Serialize};
use seriatim::driver::{DriverError, Fetch};
use seriatim::{
    Aggregate, AggregateKey, Append, Context, EntityOptions, EventStore, NewEvent, Snapshots,
};

const EVENTS: u64 = 20_000;
const PER_APPEND: u64 = 90;

#[derive(Default, Serialize, Deserialize)]
struct Counter {
    counted: u64,
}

#[derive(Serialize, Deserialize)]
enum Counted {
    One,
}

#[derive(Debug, thiserror::Error)]
#[error("never")]
struct Never;

impl Aggregate for Counter {
    const KIND: &'static str = "counter";
    type Command = ();
    type Event = Counted;
    type Error = Never;
    type Services = ();

    fn handle(&self, (): &(), _: &Context<'_>) -> Result<Vec<Counted>, Never> {
        Ok(vec![Counted::One])
    }

    fn apply(&mut self, _: &Counted) {
        self.counted += 1;
    }
}

pub fn they_stand_beside_the_events(engine: Engine) -> Result<(), Failed> {
    block_on(async {
        let url = engine.fresh_url();
        let store = EventStore::open(&url).await.unwrap();
        for name in ["a/1", "a/☂ #?%/2"] {
            let events = (0..3).map(|_| NewEvent::raw("Tested", "{}"));
            store.append(Append::to(name).events(events)).await.unwrap();
        }
        store.close().await.unwrap();

        let driver = seriatim::driver::open(&url).await.unwrap();
        let snapshots = driver.snapshots().unwrap();
        for name in ["a/1", "a/☂ #?%/2"] {
            let key = AggregateKey::new(name).unwrap();
            assert_eq!(snapshots.load_snapshot(&key).await.unwrap(), None);
            let bytes: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
            for snapshot in [Bytes::from_static(b"first"), bytes.into(), Bytes::from_static(b"x")] {
                snapshots.save_snapshot(&key, snapshot.clone()).await.unwrap();
                assert_eq!(snapshots.load_snapshot(&key).await.unwrap(), Some(snapshot));
            }
            assert_eq!(driver.latest_sequence(&key).await.unwrap().get(), 3);
            assert!(!driver.check_sequence(&key, seriatim::Sequence::NONE).await.unwrap());
            for fetch in [Fetch::ALL, Fetch::ALL.backwards()] {
                let pages: Vec<_> = driver.fetch_events(&key, fetch).collect().await;
                let events: usize = pages.into_iter().map(|page| page.unwrap().len()).sum();
                assert_eq!(events, 3);
            }
            let huge = Bytes::from(vec![7; 17 << 20]);
            let refused = snapshots.save_snapshot(&key, huge).await;
            assert!(matches!(refused, Err(DriverError::Failed { .. })), "{refused:?}");
        }
        let pages: Vec<_> = driver.keys("", None).collect().await;
        let keys: usize = pages.into_iter().map(|page| page.unwrap().len()).sum();
        assert_eq!(keys, 2);
        driver.close().await.unwrap();

        let driver = seriatim::driver::open(&url).await.unwrap();
        let key = AggregateKey::new("a/1").unwrap();
        let found = driver.snapshots().unwrap().load_snapshot(&key).await.unwrap();
        assert_eq!(found, Some(Bytes::from_static(b"x")));
        driver.close().await.unwrap();
    });
    Ok(())
}

/// A store that waits for engines that take long over a long history.
async fn patient(url: &str, snapshots: Snapshots) -> EventStore {
    let long = Duration::from_secs(120);
    let builder = EventStore::builder().url(format!("{url}&timeout_ms=60000"));
    let builder = builder.entity::<Counter>(EntityOptions::new().snapshots(snapshots));
    builder.put_deadline(long).read_deadline(long).open().await.unwrap()
}

pub fn a_long_history_loads_from_its_snapshot(engine: Engine) -> Result<(), Failed> {
    block_on(async {
        let direct = engine.fresh_url();
        let store = patient(&direct, Snapshots::every(1_000)).await;
        for _ in 0..EVENTS.div_ceil(PER_APPEND) {
            let event = || NewEvent::new("One", &Counted::One);
            let events = (0..PER_APPEND).map(|_| event());
            store.append(Append::to("counter/1").events(events)).await.unwrap();
        }
        let written = EVENTS.div_ceil(PER_APPEND) * PER_APPEND;
        let counters = store.entities::<Counter>();
        counters.execute("1", ()).await.unwrap();
        // The snapshot is taken before the next decision, and saved in the background.
        counters.execute("1", ()).await.unwrap();
        store.close().await.unwrap();

        let proxy = Proxy::start(engine.address(), fastrand::Rng::new());
        let url = engine.through(&direct, proxy.address());
        let mut trips = Vec::new();
        for snapshots in [Snapshots::every(1_000), Snapshots::Never] {
            let store = patient(&url, snapshots).await;
            let counters = store.entities::<Counter>();
            let before = proxy.round_trips();
            let (counted, state) = (written + 2, counters.state("1").await.unwrap());
            assert_eq!(state.state.counted, counted);
            trips.push(proxy.round_trips() - before);
            store.close().await.unwrap();
        }
        println!(
            "{engine}: {written} events loaded with {} round trips from a snapshot, {} without",
            trips[0], trips[1]
        );
        assert!(trips[0] <= 6 && trips[0] < trips[1], "{trips:?}");
    });
    Ok(())
}
