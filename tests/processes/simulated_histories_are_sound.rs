//! The example `simulate`, for some histories. `SERIATIM_SIMULATED` sets how many; 10 unless told.

use std::process::Command;

use crate::support::{chance, example};

#[test]
fn a_simulated_store_keeps_what_it_answered() {
    let seeds = std::env::var("SERIATIM_SIMULATED").unwrap_or_else(|_| "10".to_owned());
    let mut command = Command::new(example("simulate"));
    let first = chance().u32(..).to_string();
    command.args(["--seeds", &seeds, "--seed", &first]).env("RUST_BACKTRACE", "0");
    let ended = command.output().unwrap();
    let (said, faults) = (String::from_utf8(ended.stdout), String::from_utf8(ended.stderr));
    let (said, faults) = (said.unwrap(), faults.unwrap());
    println!("{said}{faults}");
    assert!(ended.status.success(), "{faults}");
    assert!(said.contains(&format!("{seeds} histories")), "{said}");
}
