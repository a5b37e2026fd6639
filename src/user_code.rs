//! Code of the application that runs on the store's threads: it is called, and its values are
//! dropped.
//!
//! A panic of such code must not reach what it was called from: another caller's answer, an actor,
//! the thread of a driver. So the store calls it through [`call`], drops its values through
//! [`discard`], and waits under [`with_guarded_waker`] where a driver's thread wakes it. Commands,
//! rejections, events and states, upcasters, clocks and wakers are such code.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

/// The application's code panicked. The panic hook has reported it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panicked;

/// Calls code of the application.
///
/// # Errors
///
/// [`Panicked`]. What the code was working on may be half done, and must not be used any more.
pub(crate) fn call<T>(code: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|payload| {
        discard_payload(payload);
        Panicked
    })
}

/// Drops a value of the application.
pub(crate) fn discard<T>(value: T) {
    let _reported = call(|| drop(value));
}

/// What a panic carries is a value of the application too, and may panic in turn. What that panic
/// carries is leaked, so that this ends.
fn discard_payload(payload: Box<dyn Any + Send>) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(payload);
    }
}

/// A value that is discarded wherever it is dropped.
pub(crate) struct Discarded<T>(Option<T>);

impl<T> Discarded<T> {
    pub(crate) fn new(value: T) -> Self {
        Discarded(Some(value))
    }

    fn get(&self) -> Option<&T> {
        self.0.as_ref()
    }
}

impl<T> Drop for Discarded<T> {
    fn drop(&mut self) {
        discard(self.0.take());
    }
}

/// Awaits a future that several callers' wakers, or a thread of a driver, are behind. What wakes it
/// goes on when this caller's waker panics.
pub(crate) async fn with_guarded_waker<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| {
        let guarded = GuardedWaker(Discarded::new(context.waker().clone()));
        let waker = Waker::from(Arc::new(guarded));
        future.as_mut().poll(&mut Context::from_waker(&waker))
    })
    .await
}

struct GuardedWaker(Discarded<Waker>);

impl Wake for GuardedWaker {
    fn wake(self: Arc<Self>) {
        if let Some(waker) = self.0.get() {
            let _reported = call(|| waker.wake_by_ref());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::panic_any;

    use super::*;

    /// Its drop panics with another of its kind, so many times.
    struct Panics(u32);

    impl Drop for Panics {
        fn drop(&mut self) {
            if let Some(left) = self.0.checked_sub(1) {
                panic_any(Panics(left));
            }
        }
    }

    #[test]
    fn a_panic_ends_here_whatever_it_carries() {
        assert_eq!(call(|| 1), Ok(1));
        for depth in 0..4 {
            assert_eq!(call(|| panic_any(Panics(depth))), Err::<(), _>(Panicked));
            discard(Panics(depth));
            drop(Discarded::new(Panics(depth)));
        }
    }
}
