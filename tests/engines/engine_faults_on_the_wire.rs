//! Writers behind a wire that cuts, delays, delivers late, drops and pauses: whatever is answered
//! stands in the store once, and what is not answered is settled by repeating it with its commit
//! id.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::engines::{Engine, block_on, seconds};
use crate::support::proxy::{Fault, Faults, Proxy};
use crate::support::{chance, until};
use futures::future::join_all;
use libtest_mimic::Failed;
use seriatim::driver::conformance::{Harness, async_trait, run};
use seriatim::driver::{Driver, DriverError};
use seriatim::{Append, AppendError, EventStore, NewEvent};
use uuid::Uuid;

const WRITERS: usize = 8;
const KEYS: [&str; 3] = ["wire/a", "wire/b", "wire/c"];

/// What became of the writers' appends.
#[derive(Default)]
struct Told {
    /// By commit id: the key, and the first sequence.
    written: HashMap<Uuid, (&'static str, u64)>,
    repeated: u64,
    unsettled: u64,
}

/// Appends until `end`, each until it is told that it is written.
async fn write(store: EventStore, writer: usize, end: Instant) -> Told {
    let mut told = Told::default();
    for turn in 0.. {
        if Instant::now() >= end {
            break;
        }
        let key = KEYS[(writer + turn) % KEYS.len()];
        let commit_id = Uuid::new_v4();
        let count = 1 + turn % 3;
        loop {
            let events = (0..count).map(|n| NewEvent::new("Written", &(writer, turn, n)));
            let append = Append::to(key).events(events).commit_id(commit_id);
            match store.append(append).await {
                Ok(appended) => {
                    told.repeated += u64::from(appended.repeated);
                    told.written.insert(commit_id, (key, appended.first.get()));
                    break;
                }
                // Nothing was written, or nobody knows: either way it is safe to repeat.
                Err(error) => {
                    assert!(!matches!(error, AppendError::CommitIdReused { .. }), "{error}");
                    assert!(!error.is_conflict(), "an append that expects nothing: {error}");
                    told.unsettled += 1;
                }
            }
        }
    }
    told
}

pub fn nothing_is_lost_or_doubled(engine: Engine) -> Result<(), Failed> {
    block_on(async {
        let proxy = Proxy::start(engine.address(), chance());
        let direct = engine.fresh_url();
        // Made without a proxy in between, so that nothing has to be made behind a faulty wire.
        EventStore::open(&direct).await.unwrap().close().await.unwrap();
        let url = engine.through(&direct, proxy.address()) + "&timeout_ms=1000";
        let store = EventStore::builder()
            .url(&url)
            .put_attempt_timeout(Duration::from_millis(1_500))
            .put_deadline(Duration::from_secs(4))
            .open()
            .await
            .unwrap();
        proxy.set(Faults {
            of_requests: vec![
                (Fault::CutAfterRequest, 30),
                (Fault::DelayAnswer(Duration::from_millis(1_800)), 15),
                (Fault::DeliverLate(Duration::from_millis(2_500)), 15),
                (Fault::Pause(Duration::from_millis(1_200)), 3),
            ],
            drop_every: 5,
        });
        let end = Instant::now() + seconds(6);
        let writers = (0..WRITERS).map(|writer| tokio::spawn(write(store.clone(), writer, end)));
        let repair = tokio::time::sleep_until((end + Duration::from_secs(1)).into());
        let (told, ()) = tokio::join!(join_all(writers), async {
            repair.await;
            proxy.set(Faults::default());
        });
        let struck = proxy.struck();
        drop(store.close().await);

        let mut told_of = HashMap::new();
        let (mut repeated, mut unsettled) = (0, 0);
        for one in told {
            let one = one.unwrap();
            repeated += one.repeated;
            unsettled += one.unsettled;
            told_of.extend(one.written);
        }
        println!(
            "{engine}: {} appends, {struck} faults, {unsettled} unsettled, {repeated} found written",
            told_of.len()
        );
        assert!(struck > 0, "no fault struck");
        until("what is late is delivered", || proxy.is_quiet()).await;
        let store = EventStore::open(&direct).await.unwrap();
        let mut found = HashMap::new();
        for key in KEYS {
            let events = store.read(key).collect().await.unwrap();
            for (index, event) in events.iter().enumerate() {
                assert_eq!(event.sequence.get(), index as u64 + 1, "{key} has a gap");
            }
            for append in events.chunk_by(|a, b| a.commit_id == b.commit_id) {
                let before = found.insert(append[0].commit_id, (key, append[0].sequence.get()));
                assert_eq!(before, None, "{key}: an append stands twice");
            }
        }
        assert_eq!(found, told_of, "what is there, and what was answered");
        store.close().await.unwrap();
    });
    Ok(())
}

struct Behind(String);

#[async_trait]
impl Harness for Behind {
    async fn open(&self) -> Result<Arc<dyn Driver>, DriverError> {
        seriatim::driver::open(&self.0).await
    }

    fn keys_in_byte_order(&self) -> bool {
        self.0.starts_with("mongodb")
    }

    fn refuses_gaps(&self) -> bool {
        false
    }

    /// Delays and pauses of the wire add up within one put.
    fn put_attempt(&self) -> Duration {
        Duration::from_secs(2)
    }
}

/// Answers that come late and pauses are not failures, as long as they end before the driver's
/// timeout.
pub fn a_slow_wire_changes_no_answer(engine: Engine) -> Result<(), Failed> {
    let direct = engine.fresh_url();
    let make = async { EventStore::open(&direct).await.unwrap().close().await.unwrap() };
    block_on(make);
    let proxy = Proxy::start(engine.address(), chance());
    proxy.set(Faults {
        of_requests: vec![
            (Fault::DelayAnswer(Duration::from_millis(100)), 10),
            (Fault::Pause(Duration::from_millis(200)), 1),
        ],
        drop_every: 0,
    });
    let url = engine.through(&direct, proxy.address()) + "&timeout_ms=20000";
    let report = block_on(run(&Behind(url)));
    println!("{engine}: {} faults", proxy.struck());
    assert!(proxy.struck() > 0, "no fault struck");
    if report.is_conformant() { Ok(()) } else { Err(report.to_string().into()) }
}
