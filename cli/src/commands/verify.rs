//! `verify`: whether everything stored can be read, and whether nothing is missing.
//!
//! redb verifies itself: checksums, positions, times and the index. Any other store is read key by
//! key: sequences without a gap, data and metadata that are JSON.

use std::sync::Arc;

use futures_util::StreamExt;
use serde::Serialize;
use seriatim::driver::{Driver, Fetch};
use seriatim::{AggregateKey, KeyedEvent, RawJson, Sequence};

use crate::app::App;
use crate::args::StoreOnly;
use crate::exit::{Error, Exit, Result};
use crate::progress::{Progress, Unit};
use crate::style;
use crate::target::{Target, Wanted};

#[derive(Default, Serialize)]
struct Sound {
    events: u64,
    keys: u64,
}

pub(crate) async fn run(app: &mut App, args: StoreOnly) -> Result<()> {
    let sound = match Target::parse(&args.store)? {
        target @ Target::Redb { .. } => redb(app, &target).await?,
        Target::Memory | Target::Engine { .. } => {
            app.with_driver(&args.store, Wanted::Existing, async |app, driver| {
                walk(app, driver).await
            })
            .await?
        }
    };
    if app.out.is_json() {
        return app.out.json_line(&sound);
    }
    let (events, keys) = (style::count(sound.events), style::count(sound.keys));
    app.out.text(&format!("sound: {events} events of {keys} aggregates"))
}

async fn redb(app: &mut App, target: &Target) -> Result<Sound> {
    let store = target.open_local(app, Wanted::Existing).await?;
    let driver = store.driver();
    let progress = Progress::new(app.shows_progress(), "verifying", Some(1), Unit::Events);
    let verified = tokio::task::spawn_blocking(move || store.verify(progress));
    let verified = app.interrupt.or(verified).await;
    // Verifying changes nothing, so an interrupted one may be left behind with the process.
    let verified = verified?.map_err(|_| Error::new(Exit::Failed, "redb panicked"))?;
    let closed = driver.close().await;
    let verified = verified.map_err(|error| match error.to_string().contains("run reindex") {
        true => Error::from(error).hint("`seriatim reindex` makes the index again from the log"),
        false => Error::from(error),
    })?;
    closed?;
    Ok(Sound { events: verified.events, keys: verified.aggregates })
}

async fn walk(app: &mut App, driver: &Arc<dyn Driver>) -> Result<Sound> {
    let progress = Progress::new(app.shows_progress(), "verifying", None, Unit::Events);
    let mut sound = Sound::default();
    let mut pages = driver.keys("", None);
    while let Some(page) = app.interrupt.or(pages.next()).await? {
        for key in page? {
            sound.events += walk_aggregate(app, driver, &key, &progress).await?;
            sound.keys += 1;
        }
    }
    Ok(sound)
}

async fn walk_aggregate(
    app: &App,
    driver: &Arc<dyn Driver>,
    key: &AggregateKey,
    progress: &Progress,
) -> Result<u64> {
    let mut latest = Sequence::NONE;
    let mut pages = driver.fetch_events(key, Fetch::ALL);
    while let Some(page) = app.interrupt.or(pages.next()).await? {
        let page = page?;
        progress.add(page.len() as u64);
        for event in page {
            check(&event, key, latest.next())?;
            latest = event.sequence;
        }
    }
    if latest == Sequence::NONE {
        return Err(damaged(key, Sequence::FIRST, "the key is listed, but has no event"));
    }
    Ok(latest.get())
}

fn check(event: &KeyedEvent, key: &AggregateKey, sequence: Sequence) -> Result<()> {
    if event.key != *key || event.sequence != sequence {
        let found = format!("{} at {} stands in its place", event.key, event.sequence);
        return Err(damaged(key, sequence, &found));
    }
    if let Err(error) = RawJson::parse(event.data.to_bytes()) {
        return Err(damaged(key, sequence, &format!("the data is no JSON: {error}")));
    }
    let is_object = |json: &RawJson| {
        json.as_bytes().first() == Some(&b'{') && RawJson::parse(json.to_bytes()).is_ok()
    };
    match event.metadata.as_ref().is_none_or(is_object) {
        true => Ok(()),
        false => Err(damaged(key, sequence, "the metadata is no JSON object")),
    }
}

fn damaged(key: &AggregateKey, sequence: Sequence, what: &str) -> Error {
    Error::new(Exit::Damaged, format!("{key}: sequence {sequence}: {what}"))
}
