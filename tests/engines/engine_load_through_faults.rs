//! The load test finds nothing wrong when the wire to the engine is faulty.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::engines::{Engine, block_on, seconds};
use crate::support::proxy::{Fault, Faults, Proxy};
use crate::support::{chance, example};
use libtest_mimic::Failed;
use seriatim::EventStore;

const MODES: [&str; 4] = ["append", "race", "conflict", "execute"];

/// The longest that a fault lasts.
const FAULT: Duration = Duration::from_millis(1_500);
/// More than opening a store takes.
const OPENING: Duration = Duration::from_millis(700);

pub fn nothing_is_found_wrong(engine: Engine) -> Result<(), Failed> {
    let writing = seconds(3);
    let program = example("concurrent_writers");
    let direct = engine.fresh_url();
    block_on(async { EventStore::open(&direct).await.unwrap().close().await.unwrap() });
    let proxy = Proxy::start(engine.address(), chance());
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
            .args(["--seconds", &writing.as_secs().to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // While it writes; what it reads afterwards comes over a sound wire.
        // Opening is given time before: it is not tried again.
        std::thread::sleep(OPENING);
        proxy.set(faulty);
        std::thread::sleep(writing - FAULT);
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
