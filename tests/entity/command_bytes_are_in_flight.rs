//! A command counts the bytes that its type says against the bytes in flight, until it is answered.

use crate::support::{start, within};
use serde::{Deserialize, Serialize};
use seriatim::driver::faults::FaultyDriver;
use seriatim::driver::memory::MemoryDriver;
use seriatim::{Aggregate, Append, AppendError, Context, EventStore, NewEvent};

#[derive(Default, Serialize, Deserialize)]
struct Blob;

#[derive(Debug, Serialize, Deserialize)]
enum Stored {
    Stored(usize),
}

impl Aggregate for Blob {
    const KIND: &'static str = "blob";
    type Command = Vec<u8>;
    type Event = Stored;
    type Error = String;
    type Services = ();

    fn handle(&self, bytes: &Vec<u8>, _: &Context<'_>) -> Result<Vec<Stored>, String> {
        Ok(vec![Stored::Stored(bytes.len())])
    }

    fn apply(&mut self, _: &Stored) {}

    fn command_bytes(bytes: &Vec<u8>) -> usize {
        bytes.len()
    }
}

#[tokio::test]
async fn large_commands_leave_no_room_until_they_are_answered() {
    const ROOM: usize = 1 << 20;
    let driver = FaultyDriver::around(MemoryDriver::new());
    let builder = EventStore::builder().driver(driver.clone()).bytes_in_flight(ROOM);
    let store = builder.open().await.unwrap();
    let blobs = store.entities::<Blob>();
    let held = driver.next_put_is_held();
    let first = start(async move { blobs.execute("1", vec![0; ROOM - 10]).await });
    within("the first command", held.sent()).await;

    let small = || Append::to("other").event(NewEvent::raw("E", r#""more than ten bytes""#));
    let error = store.try_append(small()).await.unwrap_err();
    assert!(matches!(error, AppendError::Busy { .. }), "{error}");
    held.release();
    within("the first answer", first).await.unwrap();
    store.try_append(small()).await.unwrap();
}
