//! The load test finds nothing wrong when the wire to the engine is faulty.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod engines;
#[path = "support/proxy.rs"]
mod proxy;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use engines::{Engine, block_on};
use libtest_mimic::Failed;
use proxy::{Fault, Faults, Proxy};
use seriatim::EventStore;

const MODES: [&str; 4] = ["append", "race", "conflict", "execute"];

/// The longest that a fault lasts.
const FAULT: Duration = Duration::from_millis(1_500);

/// How long each mode writes: `SERIATIM_SECONDS`, or 3.
fn seconds() -> u64 {
    let seconds = std::env::var("SERIATIM_SECONDS").ok().and_then(|text| text.parse().ok());
    seconds.unwrap_or(3)
}

fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    let build = "cargo build --features all-drivers --examples";
    assert!(path.exists(), "{} is not built: run `{build}`", path.display());
    path
}

fn nothing_is_found_wrong(engine: Engine) -> Result<(), Failed> {
    let program = example("concurrent_writers");
    let direct = engine.fresh_url();
    block_on(async { EventStore::open(&direct).await.unwrap().close().await.unwrap() });
    let proxy = Proxy::start(engine.address(), fastrand::Rng::new());
    let url = engine.through(&direct, proxy.address()) + "&timeout_ms=1000";
    for mode in MODES {
        let faulty = Faults {
            of_requests: vec![
                (Fault::CutAfterRequest, 20),
                (Fault::DelayAnswer(Duration::from_millis(1_300)), 10),
                (Fault::DeliverLate(FAULT), 10),
                (Fault::Pause(Duration::from_millis(1_100)), 2),
            ],
            drop_every: 7,
        };
        let before = proxy.struck();
        let child = Command::new(&program)
            .args(["--mode", mode, "--writers", "16", "--json", "--store", &url])
            .args(["--seconds", &seconds().to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // While it writes; what it reads afterwards comes over a sound wire.
        std::thread::sleep(Duration::from_millis(200));
        proxy.set(faulty);
        std::thread::sleep(Duration::from_secs(seconds()) - FAULT);
        proxy.set(Faults::default());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        println!("{engine}, {} faults: {said}", proxy.struck() - before);
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{mode}: {said}{why}").into());
        }
        assert!(proxy.struck() > before || mode == "conflict", "{mode}: no fault struck");
    }
    Ok(())
}

fn main() {
    engines::run(&[("nothing_is_found_wrong", nothing_is_found_wrong)]);
}
