//! The example `crash_cycles`, for some cycles. `SERIATIM_CRASH_CYCLES` sets how many; 8 unless told.

use std::process::Command;

use crate::support::{chance, example};

#[test]
fn a_killed_store_keeps_what_it_answered() {
    let cycles = std::env::var("SERIATIM_CRASH_CYCLES").unwrap_or_else(|_| "8".to_owned());
    let mut command = Command::new(example("crash_cycles"));
    command.args(["--cycles", &cycles, "--seed", &chance().u64(..).to_string()]);
    let ended = command.output().unwrap();
    let (said, faults) = (String::from_utf8(ended.stdout), String::from_utf8(ended.stderr));
    let (said, faults) = (said.unwrap(), faults.unwrap());
    println!("{said}{faults}");
    assert!(ended.status.success(), "{faults}");
    assert!(said.contains(&format!("{cycles} kills")), "{said}");
}
