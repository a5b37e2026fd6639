//! A store of 100,000 events is exported and imported in memory that does not grow with it.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::process::{Child, Stdio};

use support::{Folder, Said};

const EVENTS: u64 = 100_000;
const DATA_BYTES: usize = 1_500;
/// Less than the events alone: the driver's caches, its tail, and a few batches.
const BOUND: u64 = 140 << 20;

/// The most memory the child had, looked at until it ends.
fn peak_bytes(child: &mut Child) -> u64 {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        peak = peak.max(kib.unwrap_or(0) << 10);
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    peak
}

fn measured(folder: &Folder, arguments: &[&str]) -> (u64, Said) {
    let mut command = folder.command(arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let peak = peak_bytes(&mut child);
    (peak, Said::of(child.wait_with_output().unwrap()).ok())
}

#[test]
fn a_large_store_is_copied_in_bounded_memory() {
    let folder = Folder::new();
    let file = fs::File::create(folder.path("in.ndjson")).unwrap();
    let mut out = std::io::BufWriter::new(file);
    let pad = "x".repeat(DATA_BYTES);
    for n in 0..EVENTS {
        let (key, sequence) = (n % 100, n / 100 + 1);
        use std::io::Write;
        writeln!(
            out,
            "{{\"key\":\"a/{key}\",\"sequence\":{sequence},\"type\":\"T\",\"data\":\"{n} {pad}\",\
             \"version\":1,\"commit_id\":\"0190163d-8694-739b-aea5-{n:012x}\",\
             \"recorded_at\":\"2026-11-27T06:00:00.{n:06}Z\",\"position\":{}}}",
            n + 1
        )
        .unwrap();
    }
    drop(out);
    let (first, said) = measured(&folder, &["import", "redb:data", "in.ndjson", "--create"]);
    assert_eq!(said.out, format!("{{\"imported\":{EVENTS},\"skipped\":0}}\n"));
    let (again, _) = measured(&folder, &["import", "redb:data", "in.ndjson"]);
    let (exporting, _) = measured(&folder, &["export", "redb:data", "-o", "out.ndjson"]);
    let same = std::process::Command::new("cmp")
        .args(["in.ndjson", "out.ndjson"])
        .current_dir(folder.0.path())
        .status()
        .unwrap();
    assert!(same.success());
    let stored = EVENTS * DATA_BYTES as u64;
    let figures = format!("import {first}, again {again}, export {exporting}");
    for peak in [first, again, exporting] {
        assert!(peak > 0 && peak < BOUND.min(stored), "{figures}");
    }
}
