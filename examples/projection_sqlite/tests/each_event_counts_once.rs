//! A transaction of the read model that fails half-way, and a read model that is opened again: each event
//! counts once.

use std::path::Path;
use std::time::Duration;

use projection_sqlite::Balances;
use seriatim::subscription::{Projection, Run};
use seriatim::{Append, EventStore, KeyedEvent, NewEvent, Position};

const DEADLINE: Duration = Duration::from_secs(10);

async fn deposit(store: &EventStore, account: &str, amount: i64) -> Position {
    let event = NewEvent::new("Deposited", &serde_json::json!({ "amount": amount }));
    store.append(Append::to(account).event(event)).await.unwrap().position.unwrap()
}

fn counting(store: &EventStore, path: &Path) -> Run {
    store.consumer("balances").category("account").batch(7).project(Balances::open(path).unwrap())
}

async fn run_to(run: Run, position: Position) {
    let handle = run.handle();
    let running = tokio::spawn(run);
    handle.wait_for(position, DEADLINE).await.unwrap();
    handle.stop();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_model_that_is_opened_again_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("balances.sqlite");
    let url = format!("redb:{}", directory.path().join("store").display());
    let store = EventStore::open(url).await.unwrap();
    for round in 1..=5 {
        let mut last = Position::new(0);
        for _ in 0..20 {
            last = deposit(&store, "account/ada", 1).await;
        }
        run_to(counting(&store, &path), last).await;
        assert_eq!(Balances::open(&path).unwrap().of("account/ada").unwrap(), round * 20);
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_transaction_that_fails_half_way_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("balances.sqlite");
    let store = EventStore::open("memory:").await.unwrap();
    deposit(&store, "account/ada", 5).await;
    // More than the table takes.
    deposit(&store, "account/bob", 2_000_000).await;
    let events: Vec<KeyedEvent> = store.log().unwrap().read().collect().await.unwrap();
    let mut balances = Balances::open(&path).unwrap();
    balances.apply(&events, Position::new(2)).await.unwrap_err();
    assert_eq!(balances.position().await.unwrap(), 0);
    assert_eq!(balances.of("account/ada").unwrap(), 0);
    balances.apply(&events[..1], Position::new(1)).await.unwrap();
    let mut again = Balances::open(&path).unwrap();
    assert_eq!(
        (again.position().await.unwrap(), again.of("account/ada").unwrap()),
        (Position::new(1), 5)
    );
    again.reset().await.unwrap();
    assert_eq!(again.position().await.unwrap(), 0);
    store.close().await.unwrap();
}
