//! Deposits, and their sums in SQLite: `cargo run -- [DIRECTORY]`. Run it again, or kill it: each deposit counts
//! once.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use projection_sqlite::Balances;
use seriatim::{Append, EventStore, NewEvent};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "./data".to_owned()));
    std::fs::create_dir_all(&directory)?;
    let store = EventStore::open(format!("redb:{}", directory.join("store").display())).await?;
    let read_model = directory.join("balances.sqlite");
    let counting =
        store.consumer("balances").category("account").project(Balances::open(&read_model)?);
    let handle = counting.handle();
    let counting = tokio::spawn(counting);

    let deposited = NewEvent::new("Deposited", &serde_json::json!({ "amount": 50 }));
    let appended = store.append(Append::to("account/ada").event(deposited)).await?;
    let position = appended.position.ok_or("a store with a log gives positions")?;
    // A request that wants to read what it wrote waits for the read model to have come so far.
    handle.wait_for(position, Duration::from_secs(5)).await?;
    println!(
        "Ada has {} after {} deposits",
        Balances::open(&read_model)?.of("account/ada")?,
        appended.last
    );

    handle.stop();
    counting.await??;
    store.close().await?;
    Ok(())
}
