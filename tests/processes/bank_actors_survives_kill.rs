//! The example `bank_actors`, killed at moments of chance and started again: every transfer that
//! was begun is finished, each side is there once, and the balances add up.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{chance, example};
use seriatim::{EventStore, KeyedEvent};

fn bank(data: &Path, transfers: u64, seed: u64) -> Command {
    let mut command = Command::new(example("bank_actors"));
    command.arg("--data").arg(data);
    command.args(["--accounts", "8", "--transfers", &transfers.to_string()]);
    command.args(["--seed", &seed.to_string()]);
    command
}

#[tokio::test]
async fn killed_again_and_again_it_finishes_what_was_begun() {
    let mut chance = chance();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("bank");
    let mut killed = 0;
    for round in 0..10 {
        let mut running =
            bank(&data, 100_000, chance.u64(..)).stdout(Stdio::piped()).spawn().unwrap();
        // Every other time at any moment, opening included; else while transfers are under way,
        // which its first line says.
        if round % 2 == 0 {
            let mut line = String::new();
            BufReader::new(running.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        }
        // The moment of the kill is what is tried.
        tokio::time::sleep(Duration::from_millis(chance.u64(20..400))).await;
        assert!(running.try_wait().unwrap().is_none(), "it ended before it was killed");
        running.kill().unwrap();
        killed += u32::from(!running.wait().unwrap().success());
    }
    assert_eq!(killed, 10);
    let last = bank(&data, 20, 1).output().unwrap();
    println!("{}", String::from_utf8_lossy(&last.stdout));
    assert!(last.status.success(), "{}", String::from_utf8_lossy(&last.stderr));

    let store = EventStore::open(format!("redb:{}", data.display())).await.unwrap();
    let field =
        |event: &KeyedEvent, name: &str| event.json::<serde_json::Value>().unwrap()[name].clone();
    // (transfer, side) → (account, amount), each once.
    let mut sides = HashMap::new();
    let mut total = 0;
    for number in 0..8 {
        let account = format!("account/{number}");
        for event in store.read(&account).collect().await.unwrap() {
            if event.event_type() == "Opened" {
                total += event.json::<i64>().unwrap();
                continue;
            }
            let amount = field(&event, "amount").as_i64().unwrap();
            total += if event.event_type() == "Credited" { amount } else { -amount };
            let transfer = field(&event, "transfer").as_str().unwrap().to_owned();
            let side = (transfer, event.event_type().to_owned());
            let twice = sides.insert(side.clone(), (number, amount));
            assert!(twice.is_none(), "{side:?} is there twice");
        }
    }
    assert_eq!(total, 8_000, "money was made or lost");
    let mut completed = 0;
    for key in store.keys("transfer/").collect().await.unwrap() {
        let events = store.read(&key).collect().await.unwrap();
        let types: Vec<&str> = events.iter().map(KeyedEvent::event_type).collect();
        let id = key.as_str().trim_start_matches("transfer/").to_owned();
        let amount = field(&events[0], "amount").as_i64().unwrap();
        let debit = sides.remove(&(id.clone(), "Debited".to_owned()));
        let credit = sides.remove(&(id, "Credited".to_owned()));
        match types.as_slice() {
            ["Requested", "Completed"] => {
                assert_eq!(debit, Some((field(&events[0], "from").as_i64().unwrap(), amount)));
                assert_eq!(credit, Some((field(&events[0], "to").as_i64().unwrap(), amount)));
                completed += 1;
            }
            ["Requested", "Rejected"] => assert_eq!((debit, credit), (None, None)),
            other => panic!("{key} was left at {other:?}"),
        }
    }
    assert!(sides.is_empty(), "sides of transfers that were never requested: {sides:?}");
    assert!(completed > 20, "only {completed} transfers were completed");
    println!("{completed} transfers completed");
    store.close().await.unwrap();
}
