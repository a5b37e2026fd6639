//! What the answers of one aggregate may be: its state is the list of events written so far, and an
//! operation is right in a state or not.

#![allow(unreachable_pub, reason = "a module of a test")]

use std::sync::Arc;

use todc_utils::Specification;

/// Where an append was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub first: u64,
    pub repeated: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Written(Written),
    Conflict {
        actual: u64,
    },
    /// The command was rejected on a state of so many events.
    Rejected {
        count: u64,
    },
    /// No answer, and its events are in the log at last.
    Landed,
}

/// An operation with its answer. A token stands for the content of an append: a repetition has the
/// token of what it repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    Append {
        token: u64,
        has_id: bool,
        expected: Option<u64>,
        events: u64,
        answer: Answer,
    },
    /// Adds one event, unless there are `limit` already.
    Execute {
        token: u64,
        limit: u64,
        answer: Answer,
    },
    /// The token of each event.
    Read(Vec<u64>),
    Latest(u64),
}

/// One aggregate.
pub struct Aggregate;

impl Specification for Aggregate {
    /// The token of each event.
    type State = Arc<Vec<u64>>;
    type Operation = Operation;

    fn init() -> Self::State {
        Arc::default()
    }

    fn apply(operation: &Operation, state: &Self::State) -> (bool, Self::State) {
        let latest = state.len() as u64;
        match operation {
            Operation::Read(tokens) => (tokens == &**state, state.clone()),
            Operation::Latest(sequence) => (*sequence == latest, state.clone()),
            Operation::Append { token, has_id, expected, events, answer } => {
                let found = found(state, *token).filter(|_| *has_id);
                match answer {
                    Answer::Written(written) if written.repeated => {
                        (found == Some(written.first), state.clone())
                    }
                    Answer::Written(written) => {
                        let fits = expected.is_none_or(|expected| expected == latest);
                        let is_right = found.is_none() && fits && written.first == latest + 1;
                        (is_right, with(state, *token, *events))
                    }
                    Answer::Conflict { actual } => {
                        // A stale expectation may be answered from a lower bound of the latest
                        // sequence.
                        let is_right = match *expected {
                            Some(expected) if expected < *actual => *actual <= latest,
                            Some(expected) => expected > *actual && *actual == latest,
                            None => false,
                        };
                        (found.is_none() && is_right, state.clone())
                    }
                    Answer::Landed => {
                        let fits = expected.is_none_or(|expected| expected == latest);
                        (found.is_none() && fits, with(state, *token, *events))
                    }
                    Answer::Rejected { .. } => (false, state.clone()),
                }
            }
            Operation::Execute { token, limit, answer } => {
                let found = found(state, *token);
                match answer {
                    Answer::Written(written) if written.repeated => {
                        (found == Some(written.first), state.clone())
                    }
                    Answer::Written(written) => {
                        let is_right =
                            found.is_none() && latest < *limit && written.first == latest + 1;
                        (is_right, with(state, *token, 1))
                    }
                    Answer::Rejected { count } => {
                        (*count == latest && count >= limit, state.clone())
                    }
                    Answer::Landed => (found.is_none() && latest < *limit, with(state, *token, 1)),
                    Answer::Conflict { .. } => (false, state.clone()),
                }
            }
        }
    }
}

/// The sequence of the first event with this token.
fn found(state: &[u64], token: u64) -> Option<u64> {
    state.iter().position(|written| *written == token).map(|index| index as u64 + 1)
}

fn with(state: &Arc<Vec<u64>>, token: u64, events: u64) -> Arc<Vec<u64>> {
    let mut state = Vec::clone(state);
    state.extend((0..events).map(|_| token));
    Arc::new(state)
}
