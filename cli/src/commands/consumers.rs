//! `consumers`: how far named consumers are, and which aggregates they parked.
//!
//! A consumer keeps its position and what it parked beside the log. They are read here without
//! running the consumer.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use seriatim::Position;
use seriatim::driver::LogStore;
use seriatim::subscription::{ConsumerError, Parked};

use crate::app::App;
use crate::args::Consumers;
use crate::exit::{Error, Exit, Result};
use crate::output::Listing;
use crate::style;
use crate::target::Wanted;

/// The records' version that this program reads.
const VERSION: u32 = 1;

#[derive(Deserialize)]
struct StoredPosition {
    version: u32,
    position: Position,
}

#[derive(Deserialize)]
struct StoredParked {
    version: u32,
    aggregates: Vec<Parked>,
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    position: Position,
    lag: u64,
    parked: Vec<Parked>,
}

pub(crate) async fn run(app: &mut App, mut args: Consumers) -> Result<()> {
    if args.names.is_empty() {
        args.names = app
            .with_store(&args.store, Wanted::Existing, async |_, store| {
                let all = store.consumers().await.map_err(|e| match e {
                    ConsumerError::Read(source) => Error::from(source),
                    other => Error::new(Exit::Failed, other.to_string()),
                })?;
                Ok(all.into_iter().map(|consumer| consumer.name).collect())
            })
            .await?;
        if args.names.is_empty() {
            app.note("no consumer has saved a position");
            return Ok(());
        }
    }
    app.with_driver(&args.store, Wanted::Existing, async |app, driver| {
        let Some(log) = driver.log() else {
            let message = "the store's driver keeps no log, so it has no consumers";
            return Err(Error::new(Exit::Unsupported, message));
        };
        let last = log.last_position()?;
        let mut listing = Listing::new(&["CONSUMER", "POSITION", "LAG", "PARKED"]);
        let mut all_parked = Vec::new();
        let mut missing = Vec::new();
        for name in &args.names {
            let Some(position) = position(log, name).await? else {
                missing.push(format!("{name:?}"));
                continue;
            };
            let lag = last.get().saturating_sub(position.get());
            let row = Row { name, position, lag, parked: parked(log, name).await? };
            listing.row(&mut app.out, &row, || {
                vec![
                    style::key(name),
                    style::number(position),
                    style::number(lag),
                    style::number(row.parked.len()),
                ]
            })?;
            all_parked.extend(row.parked.into_iter().map(|parked| (name, parked)));
        }
        listing.show(&mut app.out)?;
        if !app.out.is_json() && !all_parked.is_empty() {
            app.out.text("")?;
            let mut listing =
                Listing::new(&["CONSUMER", "PARKED", "SEQUENCE", "POSITION", "REASON"]);
            for (name, parked) in &all_parked {
                listing.row(&mut app.out, parked, || {
                    vec![
                        style::key(name),
                        style::key(parked.key.as_str()),
                        style::number(parked.sequence),
                        style::number(parked.position),
                        style::plain(&parked.reason),
                    ]
                })?;
            }
            listing.show(&mut app.out)?;
        }
        match missing.is_empty() {
            true => Ok(()),
            false => {
                let names = missing.join(", ");
                Err(Error::not_found(format!("no consumer has saved a position as {names}")))
            }
        }
    })
    .await
}

async fn position(log: &dyn LogStore, name: &str) -> Result<Option<Position>> {
    let stored: Option<StoredPosition> = load(log, "consumer", name).await?;
    stored.map(|stored| known(stored.version, name).map(|()| stored.position)).transpose()
}

async fn parked(log: &dyn LogStore, name: &str) -> Result<Vec<Parked>> {
    let stored: Option<StoredParked> = load(log, "parked", name).await?;
    let parked = stored.map(|stored| known(stored.version, name).map(|()| stored.aggregates));
    Ok(parked.transpose()?.unwrap_or_default())
}

fn known(version: u32, name: &str) -> Result<()> {
    match version == VERSION {
        true => Ok(()),
        false => Err(Error::new(
            Exit::Damaged,
            format!("consumer {name:?}: its record has version {version}, which is not known here"),
        )),
    }
}

async fn load<T: DeserializeOwned>(
    log: &dyn LogStore,
    what: &str,
    name: &str,
) -> Result<Option<T>> {
    let Some(bytes) = log.load_checkpoint(&format!("{what}/{name}")).await? else {
        return Ok(None);
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        Error::new(Exit::Damaged, format!("consumer {name:?}: its {what} record: {error}"))
    })
}
