//! The store's threads for actors.
//!
//! Every actor of the store runs on one of them. They are threads of the store's own, so the store
//! serves callers from any runtime and outlives each. All actors of an aggregate run on the same
//! thread.
//!
//! An idle thread spins for a moment before it sleeps ([`crate::spin_wait`]). It cannot see who
//! wakes its tasks, so whoever wakes one also sets the thread's [`WakeSignal`], afterwards. A
//! signal that is missed or late costs only that moment: the wake-up itself does not depend on it.

use std::hash::{BuildHasher, Hash, RandomState};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use actix_rt::{Arbiter, ArbiterHandle};
use tokio::runtime::Builder;

use crate::spin_wait::SpinWait;

pub(super) struct Arbiters {
    threads: Vec<ArbiterThread>,
    hasher: RandomState,
}

struct ArbiterThread {
    arbiter: ArbiterHandle,
    signal: Arc<WakeSignal>,
}

/// Which thread serves an aggregate.
#[derive(Clone, Copy)]
pub(super) struct ThreadIndex(usize);

/// Whether a task of the thread was woken.
#[derive(Default)]
struct WakeSignal(AtomicBool);

impl WakeSignal {
    // Both sides write only a change, because the other side mostly has the cache line.

    fn set(&self) {
        if !self.0.load(Ordering::Relaxed) {
            self.0.store(true, Ordering::Release);
        }
    }

    fn clear(&self) {
        if self.0.load(Ordering::Relaxed) {
            self.0.store(false, Ordering::Relaxed);
        }
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl ArbiterThread {
    fn start(needs_io: bool) -> io::Result<Self> {
        let signal = Arc::<WakeSignal>::default();
        let seen = signal.clone();
        let arbiter = Arbiter::try_with_tokio_rt(move || {
            let mut runtime = Builder::new_current_thread();
            match needs_io {
                true => runtime.enable_all(),
                false => runtime.enable_time(),
            };
            let spin_wait = SpinWait::default();
            runtime.on_thread_park(move || spin_wait.wait_until(|| seen.is_set()));
            runtime.build()
        })?;
        Ok(ArbiterThread { arbiter: arbiter.handle(), signal })
    }
}

impl Arbiters {
    /// Starts `count` threads of the running actix system, with tokio's I/O driver if it is needed.
    pub(super) fn start(count: usize, needs_io: bool) -> io::Result<Self> {
        let mut arbiters = Arbiters { threads: Vec::new(), hasher: RandomState::new() };
        for _ in 0..count {
            // If one cannot be started, the others must not keep running.
            let started = ArbiterThread::start(needs_io).inspect_err(|_| arbiters.stop());
            arbiters.threads.push(started?);
        }
        Ok(arbiters)
    }

    /// The thread of everything that belongs to `value`.
    pub(super) fn thread_of(&self, value: &impl Hash) -> ThreadIndex {
        let hash = self.hasher.hash_one(value);
        ThreadIndex((hash % self.threads.len().max(1) as u64) as usize)
    }

    /// Lets `start` start an actor on this thread.
    pub(super) fn start_on(&self, thread: ThreadIndex, start: impl FnOnce(&ArbiterHandle)) {
        if let Some(thread) = self.threads.get(thread.0) {
            start(&thread.arbiter);
            thread.signal.set();
        }
    }

    /// Wakes a task of this thread.
    pub(super) fn wake(&self, thread: ThreadIndex, waker: Waker) {
        waker.wake();
        if let Some(thread) = self.threads.get(thread.0) {
            thread.signal.set();
        }
    }

    /// A task of this thread is about to do what it was woken for.
    pub(super) fn wake_is_taken(&self, thread: ThreadIndex) {
        if let Some(thread) = self.threads.get(thread.0) {
            thread.signal.clear();
        }
    }

    /// Runs a future on one of the threads. False when they have ended.
    pub(super) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> bool {
        #[cfg(all(test, seriatim_models))]
        if self.threads.is_empty() {
            drop(shuttle::future::spawn(future));
            return true;
        }
        let any = self.thread_of(&fastrand::usize(..));
        self.threads.get(any.0).is_some_and(|thread| {
            let is_taken = thread.arbiter.spawn(future);
            thread.signal.set();
            is_taken
        })
    }

    /// Ends the threads without waiting: one that a driver blocks for ever must not delay closing.
    pub(super) fn stop(&self) {
        for thread in &self.threads {
            thread.arbiter.stop();
        }
    }
}
