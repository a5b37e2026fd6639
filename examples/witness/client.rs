//! What a client does: it announces, calls the store, and says what came of it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use seriatim::{Append, Appended, EventStore, ExecuteOptions, Expected, NewEvent};
use uuid::Uuid;

use super::tally::{Add, Tally};
use super::{Done, Fault, Line, Sent};

pub(crate) const CONSUMER: &str = "witness";

/// The data of an event: which append it belongs to, and where in it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Written {
    pub(crate) commit_id: Uuid,
    pub(crate) index: u64,
    pub(crate) filler: String,
}

/// Takes a line to the witness before it returns.
pub(crate) type Say = Arc<dyn Fn(&Line) -> Result<(), Fault> + Send + Sync>;

/// Sends an append or a command.
pub(crate) async fn send(
    store: &EventStore,
    say: &Say,
    sent: Sent,
    expected: Expected,
) -> Result<Appended, Fault> {
    say(&Line::Sending(sent.clone()))?;
    let Sent { key, commit_id, events, amount, filler } = sent;
    let appended = if amount > 0 {
        let (_, id) = key.split_once('/').ok_or("no entity's key")?;
        let add = Add { amount, times: events };
        let options = ExecuteOptions::new().commit_id(commit_id);
        let executed = store.entities::<Tally>().execute_with(id, add, options).await?;
        executed.appended.ok_or("the command wrote nothing")?
    } else {
        let data = |index| Written { commit_id, index, filler: "x".repeat(filler) };
        let events = (0..events).map(|index| NewEvent::new("Written", &data(index)));
        let append = Append::to(key).events(events).expect(expected).commit_id(commit_id);
        store.append(append).await?
    };
    let position = appended.position.ok_or("the store has no log")?.get();
    let (first, last) = (appended.first.get(), appended.last.get());
    say(&Line::Done(Done { commit_id, first, last, position, repeated: appended.repeated }))?;
    Ok(appended)
}

/// Reads an aggregate's last event.
pub(crate) async fn look(store: &EventStore, say: &Say, key: String) -> Result<(), Fault> {
    let backwards = store.read(key.as_str()).backwards().limit(1).collect().await?;
    let Some(event) = backwards.first() else { return Ok(()) };
    say(&Line::Saw { key, sequence: event.sequence.get(), commit_id: event.commit_id })
}

/// Something new to send to this key: an append, or a command if it is a tally's.
pub(crate) fn something(key: String, random: &mut fastrand::Rng) -> Sent {
    Sent {
        commit_id: Uuid::from_u128(random.u128(..)),
        events: if random.u8(..5) == 0 { random.u64(2..9) } else { 1 },
        amount: if key.starts_with("tally/") { random.u64(1..100) } else { 0 },
        filler: if random.u8(..8) == 0 { random.usize(..1_500) } else { 20 },
        key,
    }
}
