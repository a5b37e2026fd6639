//! What the test binaries share, compiled once in each:
//!
//! - here: waiting for a condition with a deadline, seeds that are printed, events to append, and
//!   drivers over memory whose puts wait until the test lets them through;
//! - [`callback_driver`]: a driver whose puts are answered by the test;
//! - [`entities`]: an account, and a replay that does not go through the code under test;
//! - [`held_thread`]: a command that holds the thread of the store's actors;
//! - [`logged`]: stores of each driver that has a log;
//! - [`puts`]: puts by hand, for tests that talk to a driver without a store;
//! - [`sim_disk`]: a disk in memory that can lose power, fail a flush, or be full;
//! - [`proxy`]: a TCP proxy with faults that counts round trips;
//! - [`engines`]: where the remote engines are, and how a test runs on each of them.
//!
//! The binaries, by floor (`cargo test --test NAME`): `redb`, `drivers`, `engines`, `mailroom`,
//! `store`, `entity`, `subscription`, `testing`. `architecture` reads the sources, `histories`
//! searches for answers that no order explains, `processes` runs programs and kills them. Tests
//! that measure the memory of their process are binaries of their own: `bounded_memory`,
//! `entity_replay_holds_memory_flat` and `slow_subscriber_holds_memory_flat`.

#![allow(dead_code, reason = "each binary uses a part")]
#![allow(unreachable_pub, reason = "a module of test binaries")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

pub mod callback_driver;
pub mod engines;
pub mod entities;
pub mod held_thread;
pub mod logged;
pub mod proxy;
pub mod puts;
pub mod sim_disk;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use std::sync::Arc;

use seriatim::driver::Limits;
use seriatim::driver::memory::MemoryDriver;
use seriatim::testing::faulty_driver::FaultyDriver;
use seriatim::{Append, AppendError, EventStore, Expected, KeyedEvent, NewEvent};

/// After so long a test that waits for something has failed.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Waits for the future's end, and fails the test if that does not come.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(output) => output,
        Err(_elapsed) => panic!("not within {DEADLINE:?}: {what}"),
    }
}

/// Waits until the condition holds, and fails the test if it never does.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// [`until`] for threads without a runtime.
pub fn until_blocking(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A future that was polled once, so that what it asks for is under way. An answer that came at
/// once is kept.
pub struct Started<F: Future> {
    future: Pin<Box<F>>,
    at_once: Option<F::Output>,
}

impl<F: Future> Unpin for Started<F> {}

impl<F: Future> Future for Started<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        match self.at_once.take() {
            Some(output) => Poll::Ready(output),
            None => self.future.as_mut().poll(context),
        }
    }
}

/// Polls the future once.
pub fn start<F: Future>(future: F) -> Started<F> {
    let mut future = Box::pin(future);
    let at_once = poll_once(&mut future);
    Started { future, at_once }
}

/// Polls the future once more, and returns its answer if it has one.
pub fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    match Pin::new(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// The test's source of chance. Its seed is printed, and taken from `SERIATIM_SEED` to run a case
/// again.
pub fn chance() -> fastrand::Rng {
    let given = std::env::var("SERIATIM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = given.unwrap_or_else(|| fastrand::u64(..));
    println!("SERIATIM_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// The binary of an example. `cargo test` builds all of them beside the tests; with `--test` cargo
/// builds the test alone, and the binary is what was built last.
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    let build = "cargo build --examples, with the features of the test";
    assert!(path.is_file(), "{} is not built: run `{build}`", path.display());
    path
}

/// One event, an append of one, and one that expects a sequence.
pub fn event(number: u64) -> NewEvent {
    NewEvent::raw("Counted", format!(r#"{{"number":{number}}}"#))
}

pub fn append(key: &str) -> Append {
    Append::to(key).event(event(0))
}

pub fn append_after(key: &str, latest: u64) -> Append {
    append(key).expect(Expected::from(latest))
}

/// The aggregate's events, which must be numbered 1, 2, 3 … without gaps.
pub async fn history(store: &EventStore, key: &str) -> Vec<KeyedEvent> {
    let events = within("reading a history", store.read(key).collect()).await.unwrap();
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event.sequence, index as u64 + 1, "{key}: out of order, or a gap");
    }
    events
}

/// The append was refused at once for want of room.
pub fn assert_busy<T: std::fmt::Debug>(answer: Option<Result<T, AppendError>>, key: &str) {
    match answer {
        Some(Err(AppendError::Busy { key: busy })) => assert_eq!(busy.as_str(), key),
        other => panic!("{key}: not Busy but {other:?}"),
    }
}

/// The error's message has these words.
pub fn assert_says(error: &impl std::error::Error, words: &[&str]) {
    let message = error.to_string();
    for word in words {
        assert!(message.contains(word), "{message:?} does not say {word:?}");
    }
}

/// A driver over memory that holds every put until the test lets it through, and counts its calls.
pub fn held_driver() -> Arc<FaultyDriver> {
    held_driver_over(MemoryDriver::new())
}

/// [`held_driver`] over events that the test keeps.
pub fn held_driver_over(memory: MemoryDriver) -> Arc<FaultyDriver> {
    let driver = FaultyDriver::around(memory);
    driver.hold_puts();
    driver
}

/// [`held_driver`] with these limits.
pub fn held_driver_with(limits: Limits) -> Arc<FaultyDriver> {
    let driver = FaultyDriver::with_limits(Arc::new(MemoryDriver::new()), limits);
    driver.hold_puts();
    driver
}
