//! Writers of one aggregate, and the lines in which they wait.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use futures_util::future::join;
use shuttle::future::block_on;
use shuttle::thread;

use super::harness::{check_dense, config, run, search};
use crate::append::Expected;
use crate::error::AppendError;
use crate::event::Sequence;

#[test]
fn every_append_is_answered_once_and_none_is_lost() {
    search(|| {
        run(config(), |store| {
            let writers = (0..3).map(|_| store.writer("a", 2)).collect();
            assert_eq!(check_dense(writers), 6);
            assert_eq!(store.latest("a"), Sequence::new(6));
        });
    });
}

#[test]
fn one_of_two_that_expect_the_same_sequence_is_refused() {
    search(|| {
        run(config(), |store| {
            let racers: Vec<_> = (0..2)
                .map(|_| {
                    let store = store.clone();
                    thread::spawn(move || block_on(store.append("a", Expected::NoEvents, 1)))
                })
                .collect();
            let answers: Vec<_> = racers.into_iter().map(|racer| racer.join().unwrap()).collect();
            let refused = |answer: &Result<_, _>| match answer {
                Err(AppendError::Conflict { actual, .. }) => *actual == Sequence::new(1),
                _ => false,
            };
            assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
            assert_eq!(answers.iter().filter(|answer| refused(answer)).count(), 1, "{answers:?}");
        });
    });
}

#[test]
fn nobody_is_left_in_the_line_for_permits_or_bytes() {
    search(|| {
        let mut narrow = config();
        narrow.permits_per_aggregate = 1;
        // Room for one at a time; the large one takes all of it.
        narrow.bytes_in_flight = 400;
        run(narrow, |store| {
            let large = {
                let store = store.clone();
                thread::spawn(move || block_on(store.append("b", Expected::Any, 1_000)))
            };
            let writers = (0..3).map(|_| store.writer("a", 1)).collect();
            assert_eq!(check_dense(writers), 3);
            large.join().unwrap().unwrap();
        });
    });
}

#[test]
fn what_one_caller_sends_first_comes_first() {
    search(|| {
        run(config(), |store| {
            let other = store.writer("a", 2);
            let sender = {
                let store = store.clone();
                thread::spawn(move || {
                    let send = || store.append("a", Expected::Any, 1);
                    // Sent one after another, awaited together.
                    let (first, second) = block_on(join(send(), send()));
                    assert!(first.unwrap().first < second.unwrap().first);
                })
            };
            sender.join().unwrap();
            other.join().unwrap();
            assert_eq!(store.latest("a").get(), 4);
        });
    });
}

#[test]
fn one_that_gives_up_holds_up_nobody() {
    search(|| {
        let mut narrow = config();
        narrow.permits_per_aggregate = 1;
        run(narrow, |store| {
            let gives_up = {
                let store = store.clone();
                thread::spawn(move || {
                    let mut append = pin!(store.append("a", Expected::Any, 1));
                    let mut context = Context::from_waker(Waker::noop());
                    let _may_be_written = append.as_mut().poll(&mut context);
                    thread::yield_now();
                })
            };
            let writers: Vec<_> = (0..2).map(|_| store.writer("a", 1)).collect();
            let written: usize =
                writers.into_iter().map(|writer| writer.join().unwrap().len()).sum();
            assert_eq!(written, 2);
            gives_up.join().unwrap();
            while store.mailroom().stats().in_flight > 0 {
                thread::yield_now();
            }
            assert!((2..=3).contains(&store.latest("a").get()));
        });
    });
}
