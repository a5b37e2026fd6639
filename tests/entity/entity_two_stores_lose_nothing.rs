//! Two stores over the same events, as two processes have them, execute on the same entities:
//! nothing is lost, nothing doubled, no caller sees a conflict, and both know what a replay says.

use std::collections::{HashMap, HashSet};

use crate::support::entities::{
    Account, Command, Overdrawn, replayed, store_over, store_with_snapshots,
};
use crate::support::{chance, history, within};
use seriatim::driver::faults::FaultyDriver;
use seriatim::driver::memory::MemoryDriver;
use seriatim::{ExecuteError, Snapshots};
use uuid::Uuid;

const ENTITIES: u64 = 3;
const CALLERS: usize = 8;
const COMMANDS: usize = 60;

#[tokio::test]
async fn a_command_decided_on_what_another_process_has_changed_is_decided_again() {
    let memory = MemoryDriver::new();
    let driver = FaultyDriver::around(memory.reopen());
    let here = store_over(driver.clone()).await.entities::<Account>();
    let there = store_over(std::sync::Arc::new(memory)).await.entities::<Account>();

    here.execute("1", Command::Deposit(10)).await.unwrap();
    there.execute("1", Command::Withdraw(10)).await.unwrap();
    driver.take_counts();
    // Here the account still holds 10, so this goes as far as the driver.
    let error = here.execute("1", Command::Withdraw(10)).await.unwrap_err();
    assert!(matches!(error, ExecuteError::Rejected(Overdrawn { balance: 0 })), "{error}");
    assert_eq!(driver.take_counts().put_events, 1);

    there.execute("1", Command::Deposit(3)).await.unwrap();
    assert_eq!(here.execute("1", Command::Deposit(4)).await.unwrap().sequence, 4);
    assert_eq!(here.execute("1", Command::Withdraw(7)).await.unwrap().sequence, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stores_on_the_same_entities_lose_nothing_and_double_nothing() {
    let mut chance = chance();
    let memory = MemoryDriver::new();
    let mut stores = Vec::new();
    let mut callers = Vec::new();
    for _ in 0..2 {
        let driver = FaultyDriver::around(memory.reopen());
        let store = store_with_snapshots::<Account>(driver.clone(), Snapshots::every(20)).await;
        for _ in 0..CALLERS {
            let accounts = store.entities::<Account>();
            let mut chance = chance.fork();
            callers.push(tokio::spawn(async move {
                let mut accepted: Vec<(String, Uuid, u64)> = Vec::new();
                for _ in 0..COMMANDS {
                    let id = chance.u64(..ENTITIES).to_string();
                    let amount = chance.u64(1..10);
                    let command = match chance.bool() {
                        true => Command::Deposit(amount),
                        false => Command::Withdraw(amount),
                    };
                    match accounts.execute(&id, command).await {
                        Ok(executed) => {
                            let appended = executed.appended.unwrap();
                            assert!(!appended.repeated);
                            accepted.push((id, appended.commit_id, appended.last.get()));
                        }
                        Err(ExecuteError::Rejected(_)) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
                accepted
            }));
        }
        stores.push((store, driver));
    }
    let mut accepted: HashMap<String, Vec<(Uuid, u64)>> = HashMap::new();
    for caller in callers {
        for (id, commit_id, last) in within("a caller", caller).await.unwrap() {
            accepted.entry(id).or_default().push((commit_id, last));
        }
    }

    for (id, accepted) in &accepted {
        let durable = history(&stores[0].0, &format!("account/{id}")).await;
        let mut told: Vec<(u64, Uuid)> = accepted.iter().map(|(id, last)| (*last, *id)).collect();
        told.sort_unstable();
        let there: Vec<(u64, Uuid)> =
            durable.iter().map(|event| (event.sequence.get(), event.commit_id)).collect();
        assert_eq!(told, there);
        assert_eq!(there.iter().map(|(_, id)| id).collect::<HashSet<_>>().len(), there.len());
        let mut balance = replayed(&durable).balance;
        for (store, _) in &stores {
            let found = store.entities::<Account>().state(id).await.unwrap();
            assert_eq!(found.state, replayed(&durable));
        }
        // What the actors hold, once they have met what the other store wrote last: a rejection
        // says it.
        for (store, _) in &stores {
            let accounts = store.entities::<Account>();
            accounts.execute(id, Command::Deposit(1)).await.unwrap();
            balance += 1;
            let error = accounts.execute(id, Command::Withdraw(1_000_000)).await.unwrap_err();
            let ExecuteError::Rejected(rejected) = error else { panic!("{error}") };
            assert_eq!(rejected, Overdrawn { balance });
        }
    }
    let read_back: u64 = stores.iter().map(|(_, driver)| driver.counts().fetch_events).sum();
    assert!(read_back > 2 * 2 * ENTITIES, "the stores never met: {read_back} fetches");
}
