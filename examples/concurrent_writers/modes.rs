//! What the writers do in each mode. A mode is a loop over a [`Writer`], which sends, checks and notes
//! down; a further mode is a further variant here.

use std::fmt;
use std::str::FromStr;
use std::time::Instant;

use crate::writer::{Answer, Writer};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Append,
    Race,
    Conflict,
    Execute,
}

impl Mode {
    pub(crate) const ALL: [Mode; 4] = [Mode::Append, Mode::Race, Mode::Conflict, Mode::Execute];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Mode::Append => "append",
            Mode::Race => "race",
            Mode::Conflict => "conflict",
            Mode::Execute => "execute",
        }
    }

    /// What it does, in one sentence for people.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Mode::Append => {
                "Each writer appends to aggregates of its own, with the exact expectation. Timed is one \
                 append, from the call until it is durable."
            }
            Mode::Race => {
                "All writers want the same few aggregates: read the tail, append behind it, again on a \
                 conflict. Timed is all of it, from the first look at the tail to the commit."
            }
            Mode::Conflict => {
                "Every append comes with a stale expectation and must be refused. Timed is the refusal."
            }
            Mode::Execute => {
                "All writers send commands to the same few entities, which decide in their mailboxes. Timed \
                 is one command, from the call until its event is durable."
            }
        }
    }

    /// What its rate counts.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Mode::Append | Mode::Race => "appends/s",
            Mode::Execute => "commands/s",
            Mode::Conflict => "refusals/s",
        }
    }

    /// Whether the mode is about appends that are refused, and not about those that are committed.
    pub(crate) fn counts_refusals(self) -> bool {
        self == Mode::Conflict
    }

    pub(crate) fn default_aggregates(self, writers: usize) -> usize {
        match self {
            Mode::Append => writers,
            Mode::Race | Mode::Conflict | Mode::Execute => 4,
        }
    }

    pub(crate) fn least_aggregates(self, writers: usize) -> usize {
        match self {
            Mode::Append => writers,
            Mode::Race | Mode::Conflict | Mode::Execute => 1,
        }
    }

    /// Appends that each aggregate has before the writers start.
    pub(crate) fn seeds(self) -> u64 {
        match self {
            Mode::Append | Mode::Race | Mode::Execute => 0,
            Mode::Conflict => 2,
        }
    }

    /// Writes until the run ends.
    pub(crate) async fn write(self, writer: &mut Writer) {
        match self {
            Mode::Append => append(writer).await,
            Mode::Race => race(writer).await,
            Mode::Conflict => conflict(writer).await,
            Mode::Execute => execute(writer).await,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Mode {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.map(Mode::name);
        let found = Self::ALL.into_iter().find(|mode| mode.name() == text);
        found.ok_or_else(|| format!("unknown mode; known are {}", known.join(", ")))
    }
}

async fn append(writer: &mut Writer) {
    let mut latest: Vec<(usize, u64)> =
        writer.own_aggregates().map(|aggregate| (aggregate, 0)).collect();
    while writer.is_running() {
        for (aggregate, latest) in &mut latest {
            let append = writer.begin(*aggregate);
            let began = Instant::now();
            match writer.send(&append, *aggregate, *latest).await {
                Answer::Committed(last) => {
                    writer.meter.committed(began);
                    *latest = last;
                }
                Answer::Failed => writer.pause().await,
                // Only an append whose fate was unknown can have moved the tail of a writer's own
                // aggregate.
                Answer::Indeterminate => {
                    *latest = writer.tail(*aggregate, *latest).await.unwrap_or(*latest);
                }
                Answer::Conflict(actual) => {
                    writer.meter.conflict();
                    *latest = writer.tail(*aggregate, actual).await.unwrap_or(*latest);
                }
            }
            if !writer.is_running() {
                return;
            }
        }
    }
}

async fn race(writer: &mut Writer) {
    for aggregate in writer.aggregates_in_turn() {
        if !writer.is_running() {
            return;
        }
        let append = writer.begin(aggregate);
        let began = Instant::now();
        let mut known = 0;
        while writer.is_running() {
            let Some(tail) = writer.tail(aggregate, known).await else {
                writer.pause().await;
                break;
            };
            match writer.send(&append, aggregate, tail).await {
                Answer::Conflict(actual) => {
                    writer.meter.conflict();
                    known = actual;
                }
                Answer::Committed(_) => {
                    writer.meter.committed(began);
                    break;
                }
                Answer::Indeterminate => break,
                Answer::Failed => {
                    writer.pause().await;
                    break;
                }
            }
        }
    }
}

async fn conflict(writer: &mut Writer) {
    let there = Mode::Conflict.seeds();
    let append = writer.begin(0);
    for (turn, aggregate) in writer.aggregates_in_turn().enumerate() {
        if !writer.is_running() {
            return;
        }
        let stale = turn as u64 % there;
        let began = Instant::now();
        match writer.send(&append, aggregate, stale).await {
            Answer::Conflict(actual) => {
                writer.meter.refused(began);
                if actual != there {
                    writer.complain(format!(
                        "a conflict named {actual} as latest instead of {there}"
                    ));
                }
            }
            Answer::Committed(at) => {
                writer.meter.error();
                writer.complain(format!("an append that expected {stale} was taken, at {at}"));
            }
            Answer::Indeterminate => {}
            Answer::Failed => writer.pause().await,
        }
        writer.let_others_run(turn).await;
    }
}

async fn execute(writer: &mut Writer) {
    for aggregate in writer.aggregates_in_turn() {
        if !writer.is_running() {
            return;
        }
        let append = writer.begin(aggregate);
        let began = Instant::now();
        match writer.execute(&append, aggregate).await {
            Answer::Committed(_) => writer.meter.committed(began),
            Answer::Conflict(_) => writer.meter.conflict(),
            Answer::Indeterminate => {}
            Answer::Failed => writer.pause().await,
        }
    }
}
