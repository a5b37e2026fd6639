//! Stored events without a store.

use std::fmt::Display;

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::error::LoadError;
use crate::event::{AggregateKey, KeyedEvent, NewEvent, Position, Sequence, Timestamp};
use crate::store::Builder;

const NOT_STORED: &str = "no such event can be stored";

/// A stored event with this value of an event enum, as handlers, projections and upcasters get it:
/// sequence 1, position 1, recorded at the Unix epoch, and the same commit id for the same key.
/// The fields are public, so a test sets what it needs to be different.
///
/// ```
/// use seriatim::testing;
///
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # enum Event { Deposited { amount: u64 } }
/// let mut event = testing::event("account/1", &Event::Deposited { amount: 50 });
/// event.sequence = 7.into();
/// assert_eq!((event.event_type(), event.data.as_str()), ("Deposited", r#"{"amount":50}"#));
/// ```
///
/// # Panics
///
/// Where the key is no key, or the value cannot be stored and read back.
#[track_caller]
pub fn event<E>(key: impl AsRef<str>, value: &E) -> KeyedEvent
where
    E: Serialize + DeserializeOwned,
{
    match NewEvent::encode(value) {
        Ok(event) => raw_event(key, event),
        Err(error) => fail(NOT_STORED, &error),
    }
}

/// [`event`] with type, version, data and metadata as they were appended: an event of an earlier
/// form, or of another program.
///
/// ```
/// use seriatim::{NewEvent, testing};
///
/// let old = NewEvent::raw("Deposited", r#"{"euros":5}"#).metadata_field("user", "ada");
/// let event = testing::raw_event("account/1", old);
/// assert_eq!((event.version, event.sequence.get()), (1, 1));
/// ```
///
/// # Panics
///
/// Where the key is no key, or an append would refuse the event.
#[track_caller]
pub fn raw_event(key: impl AsRef<str>, event: NewEvent) -> KeyedEvent {
    let key = match AggregateKey::new(key.as_ref()) {
        Ok(key) => key,
        Err(error) => fail(NOT_STORED, &error),
    };
    let checked = match event.check() {
        Ok(checked) => checked,
        Err(error) => fail(NOT_STORED, &error),
    };
    let commit_id = Uuid::new_v5(&Uuid::NAMESPACE_OID, key.as_str().as_bytes());
    let sequence = Sequence::NONE.next();
    let mut event = checked.place(&key, sequence, commit_id, Timestamp::default());
    event.position = Some(Position::from(1));
    event
}

/// The event as a store of this builder would read it: after the builder's upcasters. `None` where
/// one drops it. The builder's driver or URL is not used.
///
/// ```
/// use seriatim::{EventStore, NewEvent, Upcast, testing};
///
/// let builder = EventStore::builder().upcaster("account", "Deposited", 1, |event| {
///     let euros: u64 = event.json().map_err(|error| error.to_string())?;
///     Ok(Upcast::to(2, &(euros * 100)))
/// });
/// let old = testing::raw_event("account/1", NewEvent::raw("Deposited", "5"));
/// let read = testing::upcast(&builder, old)?.expect("it is not dropped");
/// assert_eq!((read.version, read.data.as_str()), (2, "500"));
/// # Ok::<(), seriatim::LoadError>(())
/// ```
///
/// # Errors
///
/// [`LoadError::Upcast`], where an upcaster fails or upcasters form a loop.
///
/// # Panics
///
/// Where the builder has an option that a store does not open with.
#[track_caller]
pub fn upcast(builder: &Builder, event: KeyedEvent) -> Result<Option<KeyedEvent>, LoadError> {
    match builder.checked_upcasters() {
        Ok(upcasters) => upcasters.apply(event),
        Err(problem) => fail("the store does not open", problem),
    }
}

#[allow(clippy::panic, reason = "to panic is how a test fails")]
#[track_caller]
fn fail(what: &str, error: &dyn Display) -> ! {
    panic!("{what}: {error}")
}
