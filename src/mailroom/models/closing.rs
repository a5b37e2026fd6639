//! Closing beside writers.

use shuttle::future::block_on;
use shuttle::thread;

use super::harness::{config, run, search};
use crate::append::Expected;
use crate::error::AppendError;

#[test]
fn who_is_admitted_is_answered_and_nothing_is_written_after() {
    search(|| {
        let mut narrow = config();
        narrow.permits_per_aggregate = 1;
        narrow.max_resident = 1;
        run(narrow, |store| {
            let writers: Vec<_> = ["a", "a", "b"]
                .into_iter()
                .map(|key| {
                    let store = store.clone();
                    thread::spawn(move || match block_on(store.append(key, Expected::Any, 1)) {
                        Ok(_) => 1,
                        Err(AppendError::Closed) => 0,
                        Err(other) => panic!("{other:?}"),
                    })
                })
                .collect();
            let mailroom = store.mailroom();
            mailroom.stop_admission();
            block_on(mailroom.admission.drained());
            let stored = || store.latest("a").get() + store.latest("b").get();
            let at_the_end = stored();
            let answered: u64 = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
            assert_eq!(stored(), at_the_end, "a put after the last answer");
            assert_eq!(answered, stored());
        });
    });
}
