//! This crate's store as a contender, used as its documentation says.

use seriatim::{Append, EventStore, Expected, NewEvent, Sequence};

use super::{Contender, Key, Outcome, Payload, Replayed, Seen};

/// The store; what a writer has seen is a sequence.
#[derive(Clone)]
pub(crate) struct Seriatim(EventStore);

impl Seriatim {
    /// Opens the store of this URL.
    pub(crate) async fn open(url: &str) -> Self {
        Seriatim(EventStore::open(url).await.unwrap())
    }
}

impl Contender for Seriatim {
    async fn append(&self, key: &Key, seen: Seen, payloads: &'static [Payload]) -> Outcome {
        let expected = Expected::Sequence(Sequence::new(seen));
        let events = payloads.iter().map(|payload| NewEvent::raw("Deposited", *payload));
        match self.0.append(Append::to(&**key).expect(expected).events(events)).await {
            Ok(appended) => Outcome::Appended(appended.last.get()),
            Err(error) if error.is_conflict() => Outcome::Conflict,
            Err(error) => panic!("{error}"),
        }
    }

    async fn replay(&self, key: &Key) -> Replayed {
        let events = self.0.read(&**key).collect().await.unwrap();
        Replayed::count(events.iter().map(|event| event.data.len()))
    }

    async fn close(self) {
        self.0.close().await.unwrap();
    }
}
