//! For unit tests: searches for bytes that a decoder does not survive.
//!
//! [`fuzz`] gives a target the inputs of its corpus, then mutations of them, for as long as
//! `SERIATIM_FUZZ_SECONDS` says (half a second unless told), from the seed that it prints
//! (`SERIATIM_SEED`). A target panics on a fault, and answers what became of the input. An input
//! with an answer that was not seen before joins the inputs that are mutated: so the search gets
//! behind one check after another without being told of them. `SERIATIM_FUZZ_SAVE=1` writes the
//! short ones of them to the corpus, `tests/corpora/TARGET/`.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::collections::HashSet;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Inputs that are mutated; and how long they, and those of them that are saved, may get.
const MAX_POOL: usize = 4_000;
const MAX_INPUT: usize = 16 << 10;
const MAX_SAVED: usize = 300;
/// What a decoder that believes a length in its input would reserve at once is more than this.
const MAX_RESERVED_KB: u64 = 1 << 20;

/// Numbers that are on a limit of something.
const LIMITS: [u64; 12] =
    [0, 1, 2, 127, 128, 255, 256, 65_535, 65_536, 1 << 31, (1 << 32) - 1, u64::MAX];

/// Tries inputs until the time is up. `seeds` are sound inputs, beside those of the corpus.
pub(crate) fn fuzz<T: Debug>(
    name: &str,
    seeds: impl IntoIterator<Item = Vec<u8>>,
    target: impl Fn(&[u8]) -> T,
) {
    let number = |name| std::env::var(name).ok().and_then(|text: String| text.parse::<f64>().ok());
    let time = Duration::from_secs_f64(number("SERIATIM_FUZZ_SECONDS").unwrap_or(0.5));
    let seed = std::env::var("SERIATIM_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("SERIATIM_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpora").join(name);
    let reserved = reserved_kb();

    let mut search = Search { outcomes: HashSet::new(), pool: Vec::new() };
    let committed = corpus(&folder);
    for input in committed.iter().cloned().chain(seeds).chain([Vec::new()]) {
        search.run(name, input, &target);
    }
    let (known, began, mut runs) = (search.pool.len(), Instant::now(), 0_u64);
    while began.elapsed() < time {
        for _ in 0..100 {
            let input = mutated(&search.pool, &mut random);
            search.run(name, input, &target);
        }
        runs += 100;
    }
    if let (Some(before), Some(after)) = (reserved, reserved_kb()) {
        let more = after.saturating_sub(before);
        assert!(more < MAX_RESERVED_KB, "{name}: {more} KiB of memory were reserved");
    }
    println!("{name}: {runs} inputs, {} outcomes", search.outcomes.len());
    if std::env::var_os("SERIATIM_FUZZ_SAVE").is_some() {
        let short = search.pool.iter().skip(known).filter(|input| input.len() <= MAX_SAVED);
        std::fs::create_dir_all(&folder).unwrap();
        for (input, number) in short.take(20).zip(committed.len()..) {
            std::fs::write(folder.join(format!("{number:03}")), input).unwrap();
        }
    }
}

struct Search {
    outcomes: HashSet<String>,
    pool: Vec<Vec<u8>>,
}

impl Search {
    fn run<T: Debug>(&mut self, name: &str, input: Vec<u8>, target: &impl Fn(&[u8]) -> T) {
        let outcome = catch_unwind(AssertUnwindSafe(|| target(&input)));
        let outcome = outcome.unwrap_or_else(|panic| {
            eprintln!("{name} does not survive b\"{}\"", input.escape_ascii());
            resume_unwind(panic)
        });
        let is_new = self.outcomes.len() < MAX_POOL
            && input.len() <= MAX_INPUT
            && self.outcomes.insert(format!("{outcome:?}"));
        if is_new || self.pool.is_empty() {
            self.pool.push(input);
        }
    }
}

fn corpus(folder: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// One input of the pool, changed in some places.
fn mutated(pool: &[Vec<u8>], random: &mut fastrand::Rng) -> Vec<u8> {
    let any = |random: &mut fastrand::Rng| pool[random.usize(..pool.len())].clone();
    let mut input = any(random);
    for _ in 0..1 + random.usize(..4) {
        let at = random.usize(..=input.len());
        match random.u8(..9) {
            0 if at < input.len() => input[at] ^= 1 << random.u8(..8),
            1 if at < input.len() => input[at] = random.u8(..),
            2 => input.truncate(at),
            3 => input.insert(at, random.u8(..)),
            4 => {
                let end = (at + random.usize(..20)).min(input.len());
                input.drain(at..end);
            }
            // A limit in the place of a number, in each width.
            5 => {
                let limit = LIMITS[random.usize(..LIMITS.len())];
                let limit = limit.wrapping_sub(random.u64(..3)).to_le_bytes();
                let width = [1, 2, 4, 8][random.usize(..4)].min(input.len() - at);
                input[at..at + width].copy_from_slice(&limit[..width]);
            }
            6 if at < input.len() => {
                input[at] = input[at].wrapping_add(random.u8(..5)).wrapping_sub(2)
            }
            // The end of another, or a part of the same once more.
            7 => {
                let other = any(random);
                let from = random.usize(..=other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => {
                let end = (at + random.usize(..64)).min(input.len());
                let part = input[at..end].to_vec();
                let to = random.usize(..=input.len());
                input.splice(to..to, part);
            }
        }
    }
    input
}

/// The most address space that the process ever had, where the system tells.
fn reserved_kb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[test]
fn what_stands_behind_three_checks_is_reached() {
    let decoder = |input: &[u8]| match input {
        [b'a', b'b', b'c', b'd', ..] => 4,
        [b'a', b'b', b'c', ..] => 3,
        [b'a', b'b', ..] => 2,
        [b'a', ..] => 1,
        _ => 0,
    };
    let mut search = Search { outcomes: HashSet::new(), pool: vec![Vec::new()] };
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..500_000 {
        let input = mutated(&search.pool, &mut random);
        search.run("planted", input, &decoder);
    }
    assert!(search.outcomes.contains("4"));
}
