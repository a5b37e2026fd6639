//! Entities on the durable driver: what was answered is there after the store was opened again,
//! with snapshots and without, and commands go on from it.

use crate::support::entities::{Account, Command, Overdrawn, replayed};
use crate::support::{history, within};
use seriatim::{EntityOptions, EventStore, ExecuteError, ExecuteOptions, Snapshots};
use uuid::Uuid;

const CALLERS: u64 = 64;
const COMMANDS: u64 = 5;

async fn commands_then_reopen(snapshots: Snapshots) {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("redb:{}", directory.path().join("store").display());
    let open = || {
        let options = EntityOptions::new().snapshots(snapshots);
        EventStore::builder().url(&url).entity::<Account>(options).open()
    };
    let store = open().await.unwrap();
    let accounts = store.entities::<Account>();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let accounts = accounts.clone();
            tokio::spawn(async move {
                for _ in 0..COMMANDS {
                    accounts.execute("1", Command::Deposit(3)).await.unwrap();
                }
                accounts.execute("1", Command::Withdraw(1)).await.unwrap();
            })
        })
        .collect();
    for caller in callers {
        within("a caller", caller).await.unwrap();
    }
    let commit_id = Uuid::new_v4();
    let with_id = || ExecuteOptions::new().commit_id(commit_id);
    accounts.execute_with("1", Command::Deposit(7), with_id()).await.unwrap();
    within("closing", store.close()).await.unwrap();

    let store = open().await.unwrap();
    let accounts = store.entities::<Account>();
    let balance = CALLERS * (3 * COMMANDS - 1) + 7;
    let again = accounts.execute_with("1", Command::Deposit(7), with_id()).await.unwrap();
    assert!(again.appended.unwrap().repeated);
    let error = accounts.execute("1", Command::Withdraw(1_000_000)).await.unwrap_err();
    let ExecuteError::Rejected(overdrawn) = error else { panic!("{error}") };
    assert_eq!(overdrawn, Overdrawn { balance });
    let events = CALLERS * (COMMANDS + 1) + 1;
    let found = accounts.state("1").await.unwrap();
    assert_eq!((found.sequence.get(), &found.state), (events, &Account { balance, events }));
    assert_eq!(replayed(&history(&store, "account/1").await), found.state);
    within("closing again", store.close()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_snapshots() {
    commands_then_reopen(Snapshots::Never).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_snapshots() {
    commands_then_reopen(Snapshots::every(50)).await;
}
