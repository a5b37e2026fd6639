//! The example `publish_ndjson`, killed at moments of chance and started again: its file has each
//! event once, in order.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{self, chance, example};
use seriatim::KeyedEvent;

#[test]
fn each_event_is_one_line() {
    let mut chance = chance();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events.ndjson");
    let publish = |events: u64| {
        let mut command = Command::new(example("publish_ndjson"));
        command.arg(directory.path().join("data")).arg(&file).arg(events.to_string());
        command.stdout(Stdio::null());
        command
    };
    let length = || std::fs::metadata(&file).map_or(0, |metadata| metadata.len());
    for _ in 0..8 {
        let mut child = publish(1_000_000).spawn().unwrap();
        // Some more lines, then a random moment.
        let wanted = length() + 1 + chance.u64(..100_000);
        support::until_blocking("lines are published", || {
            assert!(child.try_wait().unwrap().is_none(), "the example ended by itself");
            length() >= wanted
        });
        std::thread::sleep(Duration::from_micros(chance.u64(..5_000)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(publish(10).status().unwrap().success());
    let content = std::fs::read_to_string(&file).unwrap();
    let mut count = 0;
    for (line, position) in content.lines().zip(1..) {
        let event: KeyedEvent = serde_json::from_str(line).unwrap();
        assert_eq!(event.position.unwrap(), position, "missed, repeated or out of order");
        count = position;
    }
    assert!(count > 10 && content.ends_with('\n'));
    println!("{count} lines");
}
