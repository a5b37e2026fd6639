//! What the world outside of a store knows, for the programs that let stores die.
//!
//! A [`client`] says what it is about to send, what it was answered and what it saw, a [`Line`] each.
//! The [`Witness`] keeps that, and [`check`] holds a store against it.

#![allow(dead_code, reason = "each program uses a part")]

pub(crate) mod check;
pub(crate) mod client;
pub(crate) mod tally;

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::str::{FromStr, SplitWhitespace};

use uuid::Uuid;

/// Of a program that was called wrongly.
const WRONG_CALL: u8 = 2;

/// The options that a program read, or how it ends without them: `None` asks for help.
pub(crate) fn options_or_end<T>(
    program: &str,
    help: &str,
    read: Result<Option<T>, Fault>,
) -> Result<T, ExitCode> {
    match read {
        Ok(Some(options)) => Ok(options),
        Ok(None) => {
            let _ = writeln!(io::stdout(), "{help}");
            Err(ExitCode::SUCCESS)
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "{program}: {error}\nTry --help.");
            Err(ExitCode::from(WRONG_CALL))
        }
    }
}

pub(crate) type Fault = Box<dyn Error + Send + Sync>;

/// What a client says.
pub(crate) enum Line {
    /// It is about to send this.
    Sending(Sent),
    /// It was answered.
    Done(Done),
    /// A read showed this as the aggregate's last event.
    Saw {
        key: String,
        sequence: u64,
        commit_id: Uuid,
    },
    /// Its consumer begins behind this position.
    From(u64),
    /// Its consumer handles the event at this position.
    Handled(u64),
    /// The store is open.
    Open,
    /// Closing begins; it has ended.
    Closing,
    Closed,
}

#[derive(Clone)]
pub(crate) struct Sent {
    pub(crate) key: String,
    pub(crate) commit_id: Uuid,
    pub(crate) events: u64,
    /// The amount of a command; 0 for an append.
    pub(crate) amount: u64,
    /// How long an append makes its events.
    pub(crate) filler: usize,
}

#[derive(Clone)]
pub(crate) struct Done {
    pub(crate) commit_id: Uuid,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) position: u64,
    pub(crate) repeated: bool,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Line::Sending(Sent { key, commit_id, events, amount, filler }) => {
                write!(f, "sending {key} {commit_id} {events} {amount} {filler}")
            }
            Line::Done(Done { commit_id, first, last, position, repeated }) => {
                write!(f, "done {commit_id} {first} {last} {position} {repeated}")
            }
            Line::Saw { key, sequence, commit_id } => {
                write!(f, "saw {key} {sequence} {commit_id}")
            }
            Line::From(position) => write!(f, "from {position}"),
            Line::Handled(position) => write!(f, "handled {position}"),
            Line::Open => f.write_str("open"),
            Line::Closing => f.write_str("closing"),
            Line::Closed => f.write_str("closed"),
        }
    }
}

impl FromStr for Line {
    type Err = Fault;

    fn from_str(line: &str) -> Result<Self, Fault> {
        fn next<T: FromStr<Err: Into<Fault>>>(words: &mut SplitWhitespace<'_>) -> Result<T, Fault> {
            words.next().ok_or("a word is missing")?.parse().map_err(Into::into)
        }
        let words = &mut line.split_whitespace();
        Ok(match words.next() {
            Some("sending") => Line::Sending(Sent {
                key: next(words)?,
                commit_id: next(words)?,
                events: next(words)?,
                amount: next(words)?,
                filler: next(words)?,
            }),
            Some("done") => Line::Done(Done {
                commit_id: next(words)?,
                first: next(words)?,
                last: next(words)?,
                position: next(words)?,
                repeated: next(words)?,
            }),
            Some("saw") => {
                Line::Saw { key: next(words)?, sequence: next(words)?, commit_id: next(words)? }
            }
            Some("from") => Line::From(next(words)?),
            Some("handled") => Line::Handled(next(words)?),
            Some("open") => Line::Open,
            Some("closing") => Line::Closing,
            Some("closed") => Line::Closed,
            _ => return Err(format!("a client said {line:?}").into()),
        })
    }
}

#[derive(Clone, Default)]
pub(crate) struct Witness {
    /// All that was ever sent, by commit id; and of that, what has no answer yet.
    pub(crate) sent: HashMap<Uuid, Sent>,
    pub(crate) pending: HashSet<Uuid>,
    pub(crate) answered: HashMap<Uuid, Done>,
    /// Found in the store by a check, before any answer.
    pub(crate) found: HashSet<Uuid>,
    /// By key: the furthest event that a read showed.
    pub(crate) seen: HashMap<String, (u64, Uuid)>,
    /// Everything up to here was handled; and the furthest checkpoint that was loaded.
    pub(crate) handled: u64,
    pub(crate) checkpoint: u64,
    /// What the consumer of the life at hand handles next.
    next: Option<u64>,
    pub(crate) closed: bool,

    pub(crate) appends: u64,
    pub(crate) commands: u64,
    pub(crate) reads: u64,
    pub(crate) handled_in_all: u64,
    pub(crate) repeated: u64,
    pub(crate) unanswered: u64,
    pub(crate) found_unanswered: u64,
}

impl Witness {
    pub(crate) fn begin_life(&mut self) {
        self.next = None;
        self.closed = false;
    }

    pub(crate) fn end_life(&mut self) {
        self.unanswered += self.pending.len() as u64;
    }

    /// Notes what a client said; an error if it cannot be.
    pub(crate) fn note(&mut self, line: Line) -> Result<(), Fault> {
        match line {
            Line::Sending(sent) => {
                self.pending.insert(sent.commit_id);
                self.sent.insert(sent.commit_id, sent);
            }
            Line::Done(done) => self.note_done(done)?,
            Line::Saw { key, sequence, commit_id } => {
                self.reads += 1;
                let seen = self.seen.entry(key).or_insert((sequence, commit_id));
                if seen.0 <= sequence {
                    *seen = (sequence, commit_id);
                }
            }
            Line::From(position) => {
                self.note_checkpoint(position)?;
                self.next = Some(position + 1);
            }
            Line::Handled(position) => {
                if self.next != Some(position) {
                    let next = self.next;
                    return Err(format!("position {position} was handled, not {next:?}").into());
                }
                self.next = Some(position + 1);
                self.handled = self.handled.max(position);
                self.handled_in_all += 1;
            }
            Line::Closed => self.closed = true,
            Line::Open | Line::Closing => {}
        }
        Ok(())
    }

    /// What the last life's consumer handled last.
    pub(crate) fn handled_in_life(&self) -> Option<u64> {
        self.next.map(|next| next - 1)
    }

    pub(crate) fn note_checkpoint(&mut self, position: u64) -> Result<(), Fault> {
        let Witness { handled, checkpoint, .. } = *self;
        if position > handled {
            return Err(format!("the checkpoint is {position}, handled is {handled}").into());
        }
        if position < checkpoint {
            return Err(format!("the checkpoint went from {checkpoint} to {position}").into());
        }
        self.checkpoint = position;
        Ok(())
    }

    fn note_done(&mut self, done: Done) -> Result<(), Fault> {
        let id = done.commit_id;
        if !self.pending.remove(&id) {
            return Err(format!("{id} was answered, but not sent").into());
        }
        if done.repeated {
            self.repeated += 1;
        } else if self.found.contains(&id) {
            return Err(format!("{id} was there, but its repetition says that it wrote").into());
        }
        match self.sent.get(&id) {
            Some(sent) if sent.amount > 0 => self.commands += 1,
            _ => self.appends += 1,
        }
        self.answered.insert(id, done);
        Ok(())
    }
}
