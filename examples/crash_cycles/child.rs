//! What the killed process does.

use std::io::{self, BufRead, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use seriatim::{EventStore, Expected};

use crate::options;
use crate::witness::client::{CONSUMER, Say, look, send, something};
use crate::witness::{Fault, Line, Sent};

const WRITERS: u64 = 8;
const SHARED: u64 = 3;

/// A line goes out in one write, whole, before what it announces.
fn say(line: &Line) -> Result<(), Fault> {
    Ok(io::stdout().lock().write_all(format!("{line}\n").as_bytes())?)
}

fn told() -> Say {
    Arc::new(say)
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
        send(&store, &told(), sent, Expected::Any).await?;
    }
    let consumer = store.consumer(CONSUMER).checkpoint_every(32);
    let consumer = consumer.checkpoint_interval(Duration::from_millis(20));
    let known = consumer.position().await?;
    say(&Line::From(known.map_or(0, |position| position.get())))?;
    let consuming = consumer.run(|event| async move {
        let position = event.position.ok_or("no position")?;
        say(&Line::Handled(position.get()))
    });
    let consuming = tokio::spawn(consuming);
    let reading = tokio::spawn(read(store.clone(), random.fork()));
    let rounds = if closes { random.u64(1..60) } else { u64::MAX };
    let writers = (0..WRITERS).map(|writer| {
        let written = tokio::spawn(write(store.clone(), writer, rounds, random.fork()));
        async move { written.await? }
    });
    tokio::select! {
        written = try_join_all(writers) => written.map(drop)?,
        read = reading => read??,
    }
    say(&Line::Closing)?;
    store.close().await?;
    // Closing saved the checkpoint of what was handled.
    let _ = consuming.await?;
    say(&Line::Closed)?;
    Ok(())
}

/// Reads all the while.
async fn read(store: EventStore, mut random: fastrand::Rng) -> Result<(), Fault> {
    loop {
        let key = match random.u8(..3) {
            0 => format!("tally/{}", random.u64(..SHARED)),
            1 => format!("shared/{}", random.u64(..SHARED)),
            _ => format!("own/{}", random.u64(..WRITERS)),
        };
        look(&store, &told(), key).await?;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn write(
    store: EventStore,
    writer: u64,
    rounds: u64,
    mut random: fastrand::Rng,
) -> Result<(), Fault> {
    let say = told();
    let own = format!("own/{writer}");
    let mut latest = store.latest_sequence(own.as_str()).await?.get();
    for _ in 0..rounds {
        let (key, expected) = match random.u8(..3) {
            0 => (format!("shared/{}", random.u64(..SHARED)), Expected::Any),
            1 => (format!("tally/{}", random.u64(..SHARED)), Expected::Any),
            _ => (own.clone(), Expected::from(latest)),
        };
        let appended = send(&store, &say, something(key, &mut random), expected).await?;
        if expected != Expected::Any {
            latest = appended.last.get();
        }
    }
    Ok(())
}
