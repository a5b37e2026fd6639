//! What a command costs at the driver: nothing but its put when the entity is warm, one fetch when
//! it is cold, and no more of that than what stands behind the snapshot.

use std::sync::Arc;

use crate::support::entities::{
    Account, Command, raw_deposits, snapshot_at, store_over, store_with_snapshots,
};
use crate::support::within;
use seriatim::driver::Driver;
use seriatim::driver::faults::FaultyDriver;
use seriatim::driver::memory::MemoryDriver;
use seriatim::{ExecuteOptions, Snapshots};
use uuid::Uuid;

const EVERY: u64 = 1_000;

#[tokio::test]
async fn a_warm_command_costs_no_read_and_a_cold_one_costs_one_fetch() {
    let memory = MemoryDriver::new();
    let seeding = store_over(Arc::new(memory.reopen())).await;
    seeding.append(raw_deposits("account/1", [1; 10])).await.unwrap();
    let driver = FaultyDriver::around(memory.reopen());
    let accounts = store_over(driver.clone()).await.entities::<Account>();

    accounts.execute("1", Command::Deposit(1)).await.unwrap();
    let cold = driver.take_counts();
    assert_eq!((cold.total(), cold.put_events, cold.fetch_events), (2, 1, 1), "{cold:?}");

    for _ in 0..100 {
        accounts.execute("1", Command::Deposit(1)).await.unwrap();
    }
    let warm = driver.take_counts();
    assert_eq!((warm.total(), warm.put_events), (100, 100), "{warm:?}");

    accounts.execute("1", Command::Withdraw(1_000)).await.unwrap_err();
    accounts.execute("1", Command::Look).await.unwrap();
    assert_eq!(driver.take_counts().total(), 0, "what writes nothing costs nothing");
}

#[tokio::test]
async fn a_commit_id_costs_one_look_at_the_latest_events() {
    let driver = FaultyDriver::around(MemoryDriver::new());
    let accounts = store_over(driver.clone()).await.entities::<Account>();
    accounts.execute("1", Command::Deposit(1)).await.unwrap();
    driver.take_counts();
    for nth in 0..20 {
        let id = ExecuteOptions::new().commit_id(Uuid::new_v4());
        accounts.execute_with("1", Command::Deposit(1), id).await.unwrap();
        let counts = driver.take_counts();
        assert_eq!(counts.total() - counts.put_events, u64::from(nth == 0), "{nth}: {counts:?}");
    }
}

#[tokio::test]
async fn with_snapshots_a_cold_entity_reads_what_stands_behind_the_last_one() {
    let memory = MemoryDriver::new();
    let every = Snapshots::every(EVERY);
    let writing = store_with_snapshots::<Account>(Arc::new(memory.reopen()), every).await;
    let accounts = writing.entities::<Account>();
    for _ in 0..2 * EVERY + 500 {
        accounts.execute("1", Command::Deposit(1)).await.unwrap();
    }
    snapshot_at(&memory, "account/1", 2 * EVERY).await;
    within("closing", writing.close()).await.unwrap();

    let driver = FaultyDriver::around(memory.reopen());
    assert!(driver.snapshots().is_some());
    let store = store_with_snapshots::<Account>(driver.clone(), every).await;
    let accounts = store.entities::<Account>();
    let executed = accounts.execute("1", Command::Withdraw(2 * EVERY + 500)).await.unwrap();
    assert_eq!(executed.sequence, 2 * EVERY + 501);
    let cold = driver.take_counts();
    assert_eq!((cold.fetch_events, cold.load_snapshot), (1, 1), "{cold:?}");
    assert!(cold.events_fetched <= EVERY, "{} events were read", cold.events_fetched);

    let found = accounts.state("1").await.unwrap();
    assert_eq!((found.state.balance, found.state.events), (0, 2 * EVERY + 501));
    let read = driver.take_counts();
    assert!(read.events_fetched <= EVERY, "{} events were read", read.events_fetched);
}
