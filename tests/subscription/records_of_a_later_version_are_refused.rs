//! A consumer's record that a later version wrote is not read as one of this version: what it says
//! may mean something else.

use std::sync::Arc;

use bytes::Bytes;
use seriatim::EventStore;
use seriatim::driver::Driver;
use seriatim::driver::memory::MemoryDriver;

use crate::support::assert_says;

#[tokio::test]
async fn a_checkpoint_of_a_later_version_is_an_error() {
    let memory = MemoryDriver::new();
    let log = memory.reopen();
    let save = async |name: &str, record: &'static str| {
        let record = Bytes::from_static(record.as_bytes());
        log.log().unwrap().save_checkpoint(name, record).await.unwrap();
    };
    let store = EventStore::builder().driver(Arc::new(memory)).open().await.unwrap();
    save("consumer/c", r#"{"version":1,"position":3}"#).await;
    assert_eq!(store.consumer("c").position().await.unwrap().unwrap(), 3);
    save("consumer/c", r#"{"version":2,"position":3}"#).await;
    assert_says(&store.consumer("c").position().await.unwrap_err(), &["c"]);
    save("parked/c", r#"{"version":2,"aggregates":[]}"#).await;
    store.consumer("c").parked().await.unwrap_err();
}
