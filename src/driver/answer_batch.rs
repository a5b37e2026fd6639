//! Answers that are delivered together.
//!
//! Waking a caller is expensive. A caller that is woken alone finishes its next append before the
//! next caller is woken, so its thread sleeps and wakes once per answer. A driver that has several
//! puts to answer therefore settles all of them first, inside [`answer_together`]. All callers are
//! woken after that, in the same order.

use std::cell::{Cell, RefCell};

use crate::user_code;

/// An answer that is ready, and the caller that waits for it.
pub(crate) trait ReadyAnswer {
    /// Wakes the caller with the answer. The caller's waker can be any code, and panic.
    fn deliver(self: Box<Self>);
}

thread_local! {
    static GATHERING: Cell<bool> = const { Cell::new(false) };
    static GATHERED: RefCell<Vec<Box<dyn ReadyAnswer>>> = const { RefCell::new(Vec::new()) };
}

/// Runs `settle`, in which a driver calls the [`PutDone`](super::PutDone)s of several puts. Their
/// callers are woken when `settle` has returned. An optimization: outside of it each caller is
/// woken at once.
pub fn answer_together<T>(settle: impl FnOnce() -> T) -> T {
    let _all = (!GATHERING.replace(true)).then(|| Gathering);
    settle()
}

/// Delivers the answer: with the others while this thread gathers them, otherwise at once.
pub(crate) fn deliver(answer: Box<dyn ReadyAnswer>) {
    match GATHERING.get() {
        true => GATHERED.with_borrow_mut(|gathered| gathered.push(answer)),
        false => deliver_one(answer),
    }
}

fn deliver_one(answer: Box<dyn ReadyAnswer>) {
    // A caller whose waker panics harms neither this thread nor the others that wait.
    let _reported = user_code::call(|| answer.deliver());
}

/// Delivers what was gathered, also when `settle` panics.
struct Gathering;

impl Drop for Gathering {
    fn drop(&mut self) {
        GATHERING.set(false);
        // Taken out first: a caller's waker can run any code, which may gather again.
        let mut gathered = GATHERED.take();
        gathered.drain(..).for_each(deliver_one);
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

    impl ReadyAnswer for Numbered {
        fn deliver(self: Box<Self>) {
            self.1.borrow_mut().push(self.0);
        }
    }

    #[test]
    fn answers_leave_in_their_order_when_all_are_settled() {
        let heard = Heard::default();
        let give = |number| deliver(Box::new(Numbered(number, heard.clone())));
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
        let settle = || deliver(Box::new(Numbered(1, heard.clone())));
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
