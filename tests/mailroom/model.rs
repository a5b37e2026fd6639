//! Sequences of operations against a model that is a list of events: every answer and everything
//! read must be what the list says.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use seriatim::driver::DriverError;
use seriatim::driver::faults::{FaultyDriver, PutFault};
use seriatim::driver::memory::MemoryDriver;
use seriatim::{Append, AppendError, EventStore, Expected, NewEvent};
use uuid::Uuid;

#[derive(Clone, Debug)]
enum Operation {
    Append {
        key: u8,
        expected: Expect,
        events: u8,
        id: Option<u8>,
    },
    Read {
        key: u8,
        from: u8,
        backwards: bool,
        limit: u8,
    },
    Fault(Fault),
    /// Goes on with the other of two stores over the same events.
    Switch,
    /// Closes the store, and opens it again.
    Reopen,
}

#[derive(Clone, Copy, Debug)]
enum Expect {
    Any,
    NoEvents,
    Latest,
    Behind(u8),
    Ahead(u8),
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Lost,
    NotWritten,
    LostAndNotWritten,
}

fn operation() -> impl Strategy<Value = Operation> {
    let expect = prop_oneof![
        3 => Just(Expect::Any),
        1 => Just(Expect::NoEvents),
        4 => Just(Expect::Latest),
        2 => (1u8..5).prop_map(Expect::Behind),
        1 => (1u8..3).prop_map(Expect::Ahead),
    ];
    let append = (0u8..3, expect, 1u8..4, proptest::option::of(0u8..6))
        .prop_map(|(key, expected, events, id)| Operation::Append { key, expected, events, id });
    let read = (0u8..3, 0u8..12, any::<bool>(), 0u8..6)
        .prop_map(|(key, from, backwards, limit)| Operation::Read { key, from, backwards, limit });
    let fault =
        prop_oneof![Just(Fault::Lost), Just(Fault::NotWritten), Just(Fault::LostAndNotWritten)];
    prop_oneof![
        12 => append,
        4 => read,
        2 => fault.prop_map(Operation::Fault),
        2 => Just(Operation::Switch),
        1 => Just(Operation::Reopen),
    ]
}

#[derive(Default)]
struct Model {
    /// Key → (payload, commit id) of each event.
    events: HashMap<u8, Vec<(String, Option<u8>)>>,
    /// (key, id) → the payloads and the first sequence of the append that used it.
    used: HashMap<(u8, u8), (Vec<String>, u64)>,
}

struct World {
    memory: MemoryDriver,
    stores: Vec<(EventStore, Arc<FaultyDriver>)>,
    at: usize,
}

impl World {
    async fn open(memory: &MemoryDriver) -> (EventStore, Arc<FaultyDriver>) {
        let faults = FaultyDriver::around(memory.reopen());
        let store = EventStore::builder()
            .driver(faults.clone())
            .put_deadline(Duration::from_secs(5))
            .arbiters(1)
            .open()
            .await
            .unwrap();
        (store, faults)
    }
}

fn id_of(id: u8) -> Uuid {
    Uuid::from_u128(0x5e71_a711_0000 + u128::from(id))
}

async fn run(operations: Vec<Operation>) {
    let memory = MemoryDriver::new();
    let stores = vec![World::open(&memory).await, World::open(&memory).await];
    let mut world = World { memory, stores, at: 0 };
    let mut model = Model::default();
    let mut fails = [false, false];
    let mut armed_at = [None, None];
    for operation in operations {
        let (store, faults) = &world.stores[world.at];
        match operation {
            Operation::Switch => world.at = 1 - world.at,
            Operation::Reopen => {
                store.close().await.unwrap();
                world.stores[world.at] = World::open(&world.memory).await;
                fails[world.at] = false;
                armed_at[world.at] = None;
            }
            // One at a time: a put that is lost first and refused then may or may not be there.
            Operation::Fault(fault) if armed_at[world.at] != Some(faults.counts().put_events) => {
                armed_at[world.at] = Some(faults.counts().put_events);
                fails[world.at] = matches!(fault, Fault::NotWritten);
                faults.next_put(match fault {
                    Fault::Lost => PutFault::WrittenThenTimeout,
                    Fault::LostAndNotWritten => PutFault::TimeoutOnly,
                    Fault::NotWritten => PutFault::Fails(DriverError::failed("on demand")),
                });
            }
            Operation::Fault(_) => {}
            Operation::Read { key, from, backwards, limit } => {
                let mut read =
                    store.read(format!("k{key}")).from(u64::from(from)).limit(limit.into());
                if backwards {
                    read = read.backwards();
                }
                let found: Vec<(u64, String)> = read
                    .collect()
                    .await
                    .unwrap()
                    .iter()
                    .map(|event| (event.sequence.get(), event.data.to_string()))
                    .collect();
                let all = model.events.entry(key).or_default().iter();
                let all =
                    all.enumerate().map(|(index, (data, _))| (index as u64 + 1, data.clone()));
                let from = u64::from(from);
                let wanted: Vec<(u64, String)> = match backwards {
                    false => all.filter(|(n, _)| *n >= from).take(limit.into()).collect(),
                    true => {
                        let mut all: Vec<_> = all.filter(|(n, _)| *n <= from).collect();
                        all.reverse();
                        all.truncate(limit.into());
                        all
                    }
                };
                assert_eq!(found, wanted, "{operation:?}");
            }
            Operation::Append { key, expected, events, id } => {
                let latest = model.events.entry(key).or_default().len() as u64;
                let expected = match expected {
                    Expect::Any => Expected::Any,
                    Expect::NoEvents => Expected::NoEvents,
                    Expect::Latest => Expected::from(latest),
                    Expect::Behind(by) => Expected::from(latest.saturating_sub(by.into())),
                    Expect::Ahead(by) => Expected::from(latest + u64::from(by)),
                };
                // Used again where it would be accepted as new, an id is misused; what comes of
                // that is nobody's promise.
                let again = id.is_some_and(|id| model.used.contains_key(&(key, id)));
                let accepted = expected.exact().is_some_and(|exact| exact == latest);
                let id = id.filter(|_| !(again && accepted));
                // An id names its content, so that a repetition is one.
                let payloads: Vec<String> = (0..events)
                    .map(|n| match id {
                        Some(id) => format!("\"{id}/{n}/{}\"", events % 2),
                        None => format!("\"{latest}/{n}\""),
                    })
                    .collect();
                let new = payloads.iter().map(|payload| NewEvent::raw("E", payload.clone()));
                let mut append = Append::to(format!("k{key}")).expect(expected).events(new);
                if let Some(id) = id {
                    append = append.commit_id(id_of(id));
                }
                let answer = store.append(append).await;
                check(
                    &mut model,
                    &mut fails[world.at],
                    key,
                    expected,
                    id,
                    payloads,
                    latest,
                    answer,
                );
            }
        }
    }
    for (store, _) in &world.stores {
        store.close().await.unwrap();
    }
}

#[allow(clippy::too_many_arguments, reason = "what an append was, and what it was told")]
fn check(
    model: &mut Model,
    fails: &mut bool,
    key: u8,
    expected: Expected,
    id: Option<u8>,
    payloads: Vec<String>,
    latest: u64,
    answer: Result<seriatim::Appended, AppendError>,
) {
    let used = id.and_then(|id| model.used.get(&(key, id)));
    let exact = expected.exact().map(seriatim::Sequence::get);
    // With an exact expectation only the event behind it says whose it is.
    let found = used.filter(|(content, first)| {
        let own = *first..*first + content.len() as u64;
        exact.is_none_or(|exact| own.contains(&(exact + 1)))
    });
    let wanted = match (found, exact) {
        (Some((content, first)), _)
            if *content == payloads && exact.is_none_or(|exact| exact + 1 == *first) =>
        {
            Ok((*first, true))
        }
        (Some(_), exact) if exact != Some(latest) => Err("reused"),
        (_, Some(exact)) if exact != latest => Err("conflict"),
        _ => Ok((latest + 1, false)),
    };
    let told = match &answer {
        Ok(appended) => Ok((appended.first.get(), appended.repeated)),
        Err(AppendError::Conflict { actual, .. }) => {
            // Never more than is there; another store's events may not have been seen yet.
            assert!(actual.get() <= latest);
            Err("conflict")
        }
        Err(AppendError::CommitIdReused { .. }) => Err("reused"),
        Err(AppendError::Driver { .. }) => {
            assert!(*fails, "a failure that nobody asked for");
            *fails = false;
            return;
        }
        Err(other) => panic!("{other}"),
    };
    assert_eq!(told, wanted, "{expected:?} id {id:?} at {latest}: {answer:?}");
    if let Ok((first, false)) = told {
        let events = model.events.entry(key).or_default();
        events.extend(payloads.iter().map(|payload| (payload.clone(), id)));
        if let Some(id) = id {
            model.used.insert((key, id), (payloads, first));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn every_answer_is_what_the_model_says(
        operations in proptest::collection::vec(operation(), 1..60)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(operations));
    }
}
