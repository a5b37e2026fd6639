//! Aggregates that leave while others come.

use super::harness::{ModelStore, check_dense, config, run, search};
use crate::event::Sequence;

#[test]
fn no_mail_reaches_an_aggregate_that_has_left() {
    search(|| {
        let mut few = config();
        few.max_resident = 1;
        run(few, |store| {
            let supervisor = store.supervisor();
            let writers = vec![store.writer("a", 2), store.writer("a", 1)];
            let other = store.writer("b", 2);
            assert_eq!(check_dense(writers), 3);
            assert_eq!(check_dense(vec![other]), 2);
            assert_eq!(store.latest("a"), Sequence::new(3));
            end(store);
            supervisor.join().unwrap();
        });
    });
}

/// Lets the supervisor see that the store has ended.
fn end(store: &ModelStore) {
    store.mailroom().registry().clear();
    store.mailroom().seats.ask_for_more();
}
