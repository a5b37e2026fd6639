//! Rule 3: a put whose fate is unknown stays so, whatever its later sendings are refused with. They
//! wrote nothing; the first may have.

use std::time::Duration;

use seriatim::driver::DriverError;
use seriatim::driver::faults::{FaultyDriver, PutFault};
use seriatim::driver::memory::MemoryDriver;
use seriatim::{AppendError, EventStore};

use crate::support::{append, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_second_sending_says_nothing_of_the_first() {
    let refusals = [DriverError::failed("for good"), DriverError::unavailable("for now")];
    for (refusal, first) in refusals.iter().flat_map(|refusal| {
        [PutFault::WrittenThenTimeout, PutFault::TimeoutOnly].map(|first| (refusal, first))
    }) {
        let faults = FaultyDriver::around(MemoryDriver::new());
        let store = EventStore::builder()
            .driver(faults.clone())
            .put_deadline(Duration::from_millis(300))
            .open()
            .await
            .unwrap();
        let refused = std::iter::repeat_n(PutFault::Fails(refusal.clone()), 100);
        faults.next_put_sendings(std::iter::once(first).chain(refused));
        let answer = within("the append", store.append(append("a"))).await;
        assert!(matches!(answer, Err(AppendError::Indeterminate { .. })), "{answer:?}");
    }
}
