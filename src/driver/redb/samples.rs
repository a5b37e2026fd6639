//! Events for the unit tests of the encodings.

use proptest::prelude::*;
use uuid::Uuid;

use crate::event::{AggregateKey, KeyedEvent, NewEvent, Position, Sequence, Timestamp};

fn any_event() -> impl Strategy<Value = KeyedEvent> {
    let json = "[a-z ☂]{0,40}".prop_map(|text| format!("{{\"t\":\"{text}\"}}"));
    let key = "[a-z/#☂ ]{1,30}";
    (
        key,
        1..u64::MAX,
        json.clone(),
        prop::option::of(json),
        any::<(u16, i64, u128, Option<u128>)>(),
    )
        .prop_map(|(key, sequence, data, metadata, (version, time, commit_id, event_id))| {
            let mut event = NewEvent::raw("Happened", data).version(version);
            if let Some(metadata) = metadata {
                event = event.raw_metadata(metadata);
            }
            if let Some(id) = event_id {
                event = event.id(Uuid::from_u128(id));
            }
            event.check().unwrap().place(
                &AggregateKey::new(&key).unwrap(),
                Sequence::new(sequence),
                Uuid::from_u128(commit_id),
                Timestamp::from_micros(time),
            )
        })
}

pub(super) fn any_events() -> impl Strategy<Value = Vec<KeyedEvent>> {
    prop::collection::vec(any_event(), 1..40)
}

/// The events as they are read back when the first stands at `first_position`.
pub(super) fn placed(events: &[KeyedEvent], first_position: u64) -> Vec<KeyedEvent> {
    let positions = first_position..;
    let mut placed = events.to_vec();
    for (event, position) in placed.iter_mut().zip(positions) {
        event.position = Some(Position::new(position));
    }
    placed
}
