//! What the store holds, against what the witness knows.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Deserialize;
use seriatim::driver::redb::RedbDriver;
use seriatim::{EventStore, KeyedEvent};
use uuid::Uuid;

use super::client::{CONSUMER, Written};
use super::tally::Tally;
use super::{Done, Fault, Sent, Witness};

/// Holds all of a store against the witness, and closes it.
pub(crate) async fn check(driver: RedbDriver, witness: &mut Witness) -> Result<(), Fault> {
    let verified = driver.verify()?;
    let store = EventStore::builder().driver(Arc::new(driver)).open().await?;
    let log = store.log()?.read().collect().await?;
    if verified.events != log.len() as u64 {
        return Err(format!("verified {verified:?}, read {}", log.len()).into());
    }
    check_log(&log)?;
    let aggregates = check_aggregates(&store, &log).await?;
    check_tallies(&store, &aggregates).await?;
    let appends = check_appends(&log, witness)?;
    check_answers(&aggregates, &appends, witness)?;
    check_consumer(&store, log.len() as u64, witness).await?;
    store.close().await?;
    Ok(())
}

/// After one bit has rotted, all that is read is right, or an error. Only what was answered in the
/// last frame may be missing: nothing behind it says that it was flushed. What `verify` finds sound
/// reads alike by the log and by aggregates. Answers whether the damage was noticed.
pub(crate) async fn check_rotten(
    driver: RedbDriver,
    witness: &Witness,
    settled: u64,
) -> Result<bool, Fault> {
    let sound = driver.verify().is_ok();
    let store = EventStore::builder().driver(Arc::new(driver)).open().await?;
    let read = store.log()?.read().collect().await;
    if let Ok(log) = &read {
        check_log(log)?;
        if (log.len() as u64) < settled {
            return Err(format!("{} of {settled} events are left, and no error", log.len()).into());
        }
        let mut known = Witness { found: Default::default(), ..witness.clone() };
        for (id, events) in check_appends(log, &mut known)? {
            let answered = witness.answered.get(&id).map(|done| done.position);
            let found = events.first().and_then(|event| event.position).map(|found| found.get());
            if answered.is_some() && answered != found {
                return Err(format!("{id} stands at {found:?}, not at {answered:?}").into());
            }
        }
        if sound {
            check_aggregates(&store, log).await?;
        }
    } else if sound {
        return Err("verify finds sound what cannot be read".into());
    }
    // Whether it can be closed is left to it.
    let _ = store.close().await;
    Ok(!sound)
}

/// Positions are dense, and times never decrease.
fn check_log(log: &[KeyedEvent]) -> Result<(), Fault> {
    let mut latest = None;
    for (event, position) in log.iter().zip(1_u64..) {
        if event.position.is_none_or(|found| found != position) {
            return Err(format!("{:?} stands at position {position}", event.position).into());
        }
        if latest > Some(event.recorded_at) {
            return Err(format!("time runs backwards at position {position}").into());
        }
        latest = Some(event.recorded_at);
    }
    Ok(())
}

/// Reads each aggregate by itself: the log and the index tell the same story, without gaps.
async fn check_aggregates(
    store: &EventStore,
    log: &[KeyedEvent],
) -> Result<BTreeMap<String, Vec<KeyedEvent>>, Fault> {
    let mut aggregates: BTreeMap<String, Vec<KeyedEvent>> = BTreeMap::new();
    for event in log {
        let events = aggregates.entry(event.key.as_str().to_owned()).or_default();
        events.push(event.clone());
        if event.sequence != events.len() as u64 {
            return Err(format!("{} has a gap or repeats {}", event.key, event.sequence).into());
        }
    }
    let keys = store.keys("").collect().await?;
    if !keys.iter().map(|key| key.as_str()).eq(aggregates.keys().map(String::as_str)) {
        return Err("the keys are not those of the log".into());
    }
    for (key, events) in &aggregates {
        if store.read(key.as_str()).collect().await? != *events {
            return Err(format!("{key}: the log and the index differ").into());
        }
    }
    Ok(aggregates)
}

#[derive(Deserialize)]
struct Added {
    amount: u64,
    total: u64,
    index: u64,
}

/// Each decision rested on the state that its predecessors left.
async fn check_tallies(
    store: &EventStore,
    aggregates: &BTreeMap<String, Vec<KeyedEvent>>,
) -> Result<(), Fault> {
    for (key, events) in aggregates {
        let Some(id) = key.strip_prefix("tally/") else { continue };
        let mut total = 0;
        for event in events {
            let added: Added = event.json()?;
            total += added.amount;
            if added.total != total {
                return Err(format!("{key} at {} is {total}", event.sequence).into());
            }
        }
        let loaded = store.entities::<Tally>().state(id).await?;
        if loaded.state.total != total {
            return Err(format!("{key} loads as {}, not {total}", loaded.state.total).into());
        }
    }
    Ok(())
}

type Appends<'a> = HashMap<Uuid, &'a [KeyedEvent]>;

/// Each append that is there was sent, and is there whole, once, and in one piece.
fn check_appends<'a>(log: &'a [KeyedEvent], witness: &mut Witness) -> Result<Appends<'a>, Fault> {
    let mut appends = HashMap::new();
    for events in log.chunk_by(|a, b| a.commit_id == b.commit_id) {
        let Some(first) = events.first() else { continue };
        let id = first.commit_id;
        if appends.insert(id, events).is_some() {
            return Err(format!("{id} is there twice").into());
        }
        let sent = witness.sent.get(&id).ok_or_else(|| format!("nobody sent {id}"))?;
        check_whole(sent, events)?;
        if witness.pending.contains(&id) && witness.found.insert(id) {
            witness.found_unanswered += 1;
        }
    }
    if let Some(id) = witness.found.iter().find(|id| !appends.contains_key(*id)) {
        return Err(format!("{id} was there and is gone").into());
    }
    Ok(appends)
}

fn check_whole(sent: &Sent, events: &[KeyedEvent]) -> Result<(), Fault> {
    let id = sent.commit_id;
    if events.len() as u64 != sent.events {
        return Err(format!("{id}: {} of {} events", events.len(), sent.events).into());
    }
    for (event, wanted) in events.iter().zip(0..) {
        let index = if sent.amount > 0 {
            let Added { amount, index, .. } = event.json()?;
            if amount != sent.amount {
                return Err(format!("{id} adds {amount}, not {}", sent.amount).into());
            }
            index
        } else {
            let written: Written = event.json()?;
            if written.commit_id != id {
                return Err(format!("{id} has the data of {}", written.commit_id).into());
            }
            written.index
        };
        if event.key.as_str() != sent.key || index != wanted {
            return Err(format!("{id} is out of order or elsewhere").into());
        }
    }
    Ok(())
}

/// What was answered stands where the answer said; what was read is still there.
fn check_answers(
    aggregates: &BTreeMap<String, Vec<KeyedEvent>>,
    appends: &Appends<'_>,
    witness: &Witness,
) -> Result<(), Fault> {
    for Done { commit_id, first, last, position, .. } in witness.answered.values() {
        let events = appends.get(commit_id).ok_or_else(|| format!("{commit_id} is lost"))?;
        let (Some(a), Some(b)) = (events.first(), events.last()) else { continue };
        let stands = a.sequence == *first && b.sequence == *last;
        if !stands || a.position.is_none_or(|found| found != *position) {
            return Err(format!("{commit_id} was answered elsewhere than it is").into());
        }
    }
    for (key, (sequence, commit_id)) in &witness.seen {
        let events = aggregates.get(key).map_or(&[][..], Vec::as_slice);
        let event = events.get(usize::try_from(*sequence)? - 1);
        if event.is_none_or(|event| event.commit_id != *commit_id) {
            return Err(format!("{key} at {sequence} was read and is gone").into());
        }
    }
    Ok(())
}

async fn check_consumer(store: &EventStore, last: u64, witness: &mut Witness) -> Result<(), Fault> {
    if witness.handled > last {
        return Err(format!("position {} was handled and is gone", witness.handled).into());
    }
    let found = store.consumer(CONSUMER).position().await?;
    let found = found.map_or(0, |position| position.get());
    witness.note_checkpoint(found)?;
    if let Some(handled) = witness.handled_in_life()
        && witness.closed
        && found != handled
    {
        return Err(format!("closed, but the checkpoint is {found}, not {handled}").into());
    }
    Ok(())
}
