//! What the killed process does.

use std::io::{self, BufRead, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use serde::{Deserialize, Serialize};
use seriatim::{Append, Appended, EventStore, ExecuteOptions, Expected, NewEvent};
use uuid::Uuid;

use crate::tally::{Add, Tally};
use crate::witness::{Done, Line, Sent};
use crate::{Fault, options};

pub(crate) const CONSUMER: &str = "witness";
const WRITERS: u64 = 8;
const SHARED: u64 = 3;

/// The data of an event: which append it belongs to, and where in it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Written {
    pub(crate) commit_id: Uuid,
    pub(crate) index: u64,
    pub(crate) filler: String,
}

/// A line goes out in one write, whole, before what it announces.
fn say(line: &Line) -> io::Result<()> {
    io::stdout().lock().write_all(format!("{line}\n").as_bytes())
}

pub(crate) fn run(directory: &Path, seed: u64, closes: bool) -> Result<(), Fault> {
    let mut random = fastrand::Rng::with_seed(seed);
    let pending: Vec<Sent> = io::stdin().lock().lines().map(pending).collect::<Result<_, _>>()?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build()?;
    runtime.block_on(live(directory, &mut random, pending, closes))
}

fn pending(line: io::Result<String>) -> Result<Sent, Fault> {
    match line?.parse()? {
        Line::Sending(sent) => Ok(sent),
        other => Err(format!("{other} cannot be sent again").into()),
    }
}

async fn live(
    directory: &Path,
    random: &mut fastrand::Rng,
    pending: Vec<Sent>,
    closes: bool,
) -> Result<(), Fault> {
    let driver = options(random).open(directory)?;
    // Seats for some of the aggregates only, so that the others come and go meanwhile.
    let store = EventStore::builder().driver(Arc::new(driver)).max_resident(16).open().await?;
    say(&Line::Open)?;
    for sent in pending {
        send(&store, sent, Expected::Any).await?;
    }
    let consumer = store.consumer(CONSUMER).checkpoint_every(32);
    let consumer = consumer.checkpoint_interval(Duration::from_millis(20));
    let known = consumer.position().await?;
    say(&Line::From(known.map_or(0, |position| position.get())))?;
    let consuming = consumer.run(|event| async move {
        let position = event.position.ok_or(io::ErrorKind::InvalidData)?;
        say(&Line::Handled(position.get()))
    });
    let consuming = tokio::spawn(consuming);
    let reading = tokio::spawn(read(store.clone(), random.fork()));
    let rounds = if closes { random.u64(1..60) } else { u64::MAX };
    let writers = (0..WRITERS).map(|writer| {
        let written = tokio::spawn(write(store.clone(), writer, rounds, random.fork()));
        async move { written.await? }
    });
    try_join_all(writers).await?;
    say(&Line::Closing)?;
    reading.abort();
    store.close().await?;
    // Closing saved the checkpoint of what was handled.
    let _ = consuming.await?;
    say(&Line::Closed)?;
    Ok(())
}

/// Reads all the while: an aggregate has no gap, and none of its events goes away.
async fn read(store: EventStore, mut random: fastrand::Rng) -> Result<(), Fault> {
    loop {
        let key = match random.u8(..3) {
            0 => format!("tally/{}", random.u64(..SHARED)),
            1 => format!("shared/{}", random.u64(..SHARED)),
            _ => format!("own/{}", random.u64(..WRITERS)),
        };
        let backwards = store.read(key.as_str()).backwards().limit(1).collect().await?;
        if let Some(event) = backwards.first() {
            let sequence = event.sequence.get();
            say(&Line::Saw { key, sequence, commit_id: event.commit_id })?;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn write(
    store: EventStore,
    writer: u64,
    rounds: u64,
    mut random: fastrand::Rng,
) -> Result<(), Fault> {
    let own = format!("own/{writer}");
    let mut latest = store.latest_sequence(own.as_str()).await?.get();
    for _ in 0..rounds {
        let commit_id = Uuid::from_u128(random.u128(..));
        let events = if random.u8(..5) == 0 { random.u64(2..9) } else { 1 };
        let filler = if random.u8(..8) == 0 { random.usize(..1_500) } else { 20 };
        let sent = |key: String, amount| Sent { key, commit_id, events, amount, filler };
        match random.u8(..3) {
            0 => {
                let key = format!("shared/{}", random.u64(..SHARED));
                send(&store, sent(key, 0), Expected::Any).await?;
            }
            1 => {
                let key = format!("tally/{}", random.u64(..SHARED));
                send(&store, sent(key, random.u64(1..100)), Expected::Any).await?;
            }
            _ => {
                let expected = Expected::from(latest);
                let appended = send(&store, sent(own.clone(), 0), expected).await?;
                latest = appended.last.get();
            }
        }
    }
    Ok(())
}

/// Announces, sends, and says what was answered.
async fn send(store: &EventStore, sent: Sent, expected: Expected) -> Result<Appended, Fault> {
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
