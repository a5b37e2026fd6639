//! Answers that leave together.
//!
//! Waking a caller is dear, and a caller that was woken by itself is done with its next append before the next caller
//! is told anything: its thread goes to sleep and is woken again, for each answer. So a driver that has several puts
//! to answer settles them all first, and lets all callers hear of it then, in the same order.

use std::cell::{Cell, RefCell};

/// An answer that is ready, and who waits for it.
pub(crate) trait Answer {
    /// Tells who waits.
    fn leave(self: Box<Self>);
}

thread_local! {
    static GATHERING: Cell<bool> = const { Cell::new(false) };
    static GATHERED: RefCell<Vec<Box<dyn Answer>>> = const { RefCell::new(Vec::new()) };
}

/// Runs `settle`, in which a driver calls the [`PutDone`](super::PutDone)s of several puts; their callers are told
/// when it has returned. An optimization: without it each is told at once.
pub fn answer_together<T>(settle: impl FnOnce() -> T) -> T {
    let _all = (!GATHERING.replace(true)).then(|| Gathering);
    settle()
}

/// The answer leaves: with the others, if they are being gathered on this thread, or at once.
pub(crate) fn leave(answer: Box<dyn Answer>) {
    match GATHERING.get() {
        true => GATHERED.with_borrow_mut(|gathered| gathered.push(answer)),
        false => answer.leave(),
    }
}

/// Lets everything leave that was gathered, also when whoever gathered it panics.
struct Gathering;

impl Drop for Gathering {
    fn drop(&mut self) {
        GATHERING.set(false);
        // Not borrowed while a caller is told, whose waker may do anything.
        let mut gathered = GATHERED.take();
        for answer in gathered.drain(..) {
            answer.leave();
        }
        GATHERED.set(gathered);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::rc::Rc;

    use super::*;

    type Heard = Rc<RefCell<Vec<u32>>>;

    struct Numbered(u32, Heard);

    impl Answer for Numbered {
        fn leave(self: Box<Self>) {
            self.1.borrow_mut().push(self.0);
        }
    }

    #[test]
    fn answers_leave_in_their_order_when_all_are_settled() {
        let heard = Heard::default();
        let give = |number| leave(Box::new(Numbered(number, heard.clone())));
        give(1);
        assert_eq!(*heard.borrow(), [1]);
        answer_together(|| {
            give(2);
            answer_together(|| give(3));
            assert_eq!(*heard.borrow(), [1]);
        });
        give(4);
        assert_eq!(*heard.borrow(), [1, 2, 3, 4]);
    }

    #[test]
    fn a_panic_keeps_no_answer_back() {
        let heard = Heard::default();
        let settle = || leave(Box::new(Numbered(1, heard.clone())));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            answer_together(|| {
                settle();
                panic!("while settling");
            })
        }));
        assert!(panicked.is_err());
        assert_eq!(*heard.borrow(), [1]);
    }
}
