//! One life of a child: begun, watched through a pipe, and killed.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::witness::{Fault, Line, Witness};

/// A child that says nothing for so long hangs.
const SILENCE: Duration = Duration::from_secs(60);

/// What the child has said, as the killer sees it.
#[derive(Default)]
struct Said {
    answers: AtomicUsize,
    open: AtomicUsize,
    closing: AtomicUsize,
}

/// What the killer waits for before its random moment.
enum Moment {
    Begun,
    Open,
    Answers(usize),
    Closing,
}

impl Moment {
    fn has_come(&self, said: &Said) -> bool {
        match self {
            Moment::Begun => true,
            Moment::Open => said.open.load(Ordering::Relaxed) > 0,
            Moment::Answers(answers) => said.answers.load(Ordering::Relaxed) >= *answers,
            Moment::Closing => said.closing.load(Ordering::Relaxed) > 0,
        }
    }
}

/// Runs a child until it is killed; the witness has every line that it wrote.
pub(crate) fn one_life(
    directory: &Path,
    random: &mut fastrand::Rng,
    witness: &mut Witness,
) -> Result<(), Fault> {
    let (moment, micros) = match random.u8(..8) {
        0 => (Moment::Begun, 30_000),
        1 => (Moment::Open, 3_000),
        2 | 3 => (Moment::Closing, 20_000),
        4 => (Moment::Answers(random.usize(1..6_000)), 5_000),
        _ => (Moment::Answers(random.usize(1..600)), 5_000),
    };
    let micros = random.u64(..micros);
    let mut child = Command::new(std::env::current_exe()?)
        .arg("--child")
        .arg(directory)
        .arg(format!("--seed={}", random.u64(..)))
        .args(matches!(moment, Moment::Closing).then_some("--closes"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdin = child.stdin.take().ok_or("the child has no input")?;
    let stdout = child.stdout.take().ok_or("the child has no output")?;
    witness.begin_life();
    let pending: String = witness
        .pending
        .iter()
        .filter_map(|id| witness.sent.get(id))
        .fold(String::new(), |lines, sent| lines + &Line::Sending(sent.clone()).to_string() + "\n");
    // On a thread of its own: neither side waits for the other to read.
    let telling = thread::spawn(move || {
        let mut stdin = stdin;
        // A child that was killed early reads nothing.
        let _ = stdin.write_all(pending.as_bytes());
    });
    let said = Arc::new(Said::default());
    let killer = thread::spawn({
        let said = said.clone();
        move || -> Result<(), Fault> {
            let began = Instant::now();
            let mut ended = None;
            while !moment.has_come(&said) && ended.is_none() && began.elapsed() < SILENCE {
                thread::sleep(Duration::from_micros(200));
                ended = child.try_wait()?;
            }
            let in_time = began.elapsed() < SILENCE;
            thread::sleep(Duration::from_micros(micros));
            // One that closed in time has ended by itself.
            let _ = child.kill();
            let status = child.wait()?;
            if !in_time {
                return Err("the child hangs".into());
            }
            match status.code() {
                Some(0) | None => Ok(()),
                Some(code) => Err(format!("the child ended with {code}").into()),
            }
        }
    });
    let lines = read_lines(BufReader::new(stdout), &said, witness);
    let killed = killer.join().map_err(|_| "the killer died")?;
    let _ = telling.join();
    witness.end_life();
    killed.and(lines)
}

fn read_lines(mut output: impl BufRead, said: &Said, witness: &mut Witness) -> Result<(), Fault> {
    let mut fault = Ok(());
    let mut text = String::new();
    loop {
        text.clear();
        output.read_line(&mut text)?;
        // What the kill cut short was not said.
        let Some(line) = text.strip_suffix('\n') else { return fault };
        let noted = line.parse().and_then(|line: Line| {
            let counted = match line {
                Line::Done(_) => Some(&said.answers),
                Line::Open => Some(&said.open),
                Line::Closing => Some(&said.closing),
                _ => None,
            };
            if let Some(counted) = counted {
                counted.fetch_add(1, Ordering::Relaxed);
            }
            witness.note(line)
        });
        // The rest is read, so that the child can be killed at its moment.
        fault = fault.and(noted);
    }
}
