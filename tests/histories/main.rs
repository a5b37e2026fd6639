//! Histories of concurrent callers are linearizable: for each aggregate there is one order of all
//! operations, which respects real time, and in which every answer is the right one.
//!
//! Two stores share one driver that loses answers, delays, fails, panics and lets puts land late.
//! Tasks on several threads append (every expectation, with and without commit ids, and
//! repetitions), execute commands, read, ask for the latest sequence and drop futures; stores are
//! closed and opened again meanwhile. `record` runs that and writes down calls and answers, `model`
//! says which answers are right in which state, and the checker (Wing, Gong and Lowe's algorithm)
//! searches for the order.
//!
//! `SERIATIM_HISTORIES_SECONDS=600 cargo test --release --test histories` searches for ten minutes.
//! `SERIATIM_SEED` repeats a round's choices; the threads' timing is not repeated.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test")]

#[path = "../support/mod.rs"]
mod support;

mod model;
mod record;

use std::time::{Duration, Instant};

use model::{Aggregate, Answer, Operation, Written};
use todc_utils::linearizability::WGLChecker;
use todc_utils::linearizability::history::{Action, History};

/// Whether one order explains all answers.
fn is_linearizable(operations: &[record::Timed]) -> bool {
    let mut actions = Vec::with_capacity(operations.len() * 2);
    for (process, timed) in operations.iter().enumerate() {
        actions.push((timed.began, process, Action::Call(timed.operation.clone())));
        actions.push((timed.ended, process, Action::Response(timed.operation.clone())));
    }
    actions.sort_by_key(|(time, _, _)| *time);
    let actions: Vec<_> =
        actions.into_iter().map(|(_, process, action)| (process, action)).collect();
    actions.is_empty() || WGLChecker::<Aggregate>::is_linearizable(History::from_actions(actions))
}

#[test]
fn every_history_is_linearizable() {
    let seconds = std::env::var("SERIATIM_HISTORIES_SECONDS").ok();
    let seconds = seconds.and_then(|seconds| seconds.parse().ok()).unwrap_or(5);
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut rounds, mut operations) = (0, 0);
    while rounds == 0 || Instant::now() < end {
        let chance = support::chance();
        let histories = record::round(chance);
        for (key, history) in &histories {
            operations += history.len();
            if !is_linearizable(history) {
                for (index, timed) in history.iter().enumerate() {
                    let mut others = history.clone();
                    others.remove(index);
                    let mark = if is_linearizable(&others) { "!!" } else { "  " };
                    println!("{mark} {:>6} {:>6}  {:?}", timed.began, timed.ended, timed.operation);
                }
                println!("without one of those marked !! the others would be right");
                panic!("{key}: no order explains these answers");
            }
        }
        rounds += 1;
    }
    println!("{rounds} rounds, {operations} operations");
}

fn timed(began: u64, ended: u64, operation: Operation) -> record::Timed {
    record::Timed { began, ended, operation }
}

fn append(token: u64, answer: Answer) -> Operation {
    Operation::Append { token, has_id: true, expected: None, events: 1, answer }
}

fn written(first: u64, repeated: bool) -> Answer {
    Answer::Written(Written { first, repeated })
}

#[test]
fn right_answers_pass() {
    let history = [
        timed(0, 5, append(1, written(1, false))),
        timed(1, 4, append(2, written(2, false))),
        timed(2, 3, Operation::Latest(1)),
        timed(6, 7, append(1, written(1, true))),
        timed(8, 9, Operation::Read(vec![1, 2])),
    ];
    assert!(is_linearizable(&history));
}

#[test]
fn wrong_answers_are_found() {
    let first = || timed(0, 1, append(1, written(1, false)));
    let stale = |expected, actual| Operation::Append {
        token: 2,
        has_id: false,
        expected: Some(expected),
        events: 1,
        answer: Answer::Conflict { actual },
    };
    let with_id = Operation::Append {
        token: 1,
        has_id: true,
        expected: Some(0),
        events: 1,
        answer: Answer::Conflict { actual: 1 },
    };
    for (what, wrong) in [
        ("an answered append is lost", Operation::Read(vec![])),
        ("an append is written twice", append(1, written(2, false))),
        ("a sequence is given twice", append(2, written(1, false))),
        ("a repetition of nothing", append(2, written(1, true))),
        ("a conflict where there is none", stale(1, 2)),
        ("a conflict with a sequence that never was", stale(0, 7)),
        ("a conflict for an append that is written", with_id),
        (
            "a rejection on a state that never was",
            Operation::Execute { token: 3, limit: 1, answer: Answer::Rejected { count: 5 } },
        ),
    ] {
        assert!(!is_linearizable(&[first(), timed(2, 3, wrong)]), "{what}");
    }
}
