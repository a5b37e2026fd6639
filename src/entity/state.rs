//! An entity's state in the mailroom: folded from stored events, saved as snapshots.
//!
//! The format of a snapshot, little-endian: `kind u8 (1 = state) · version u8 (1) · the aggregate's
//! snapshot version u32 · sequence u64 · the state as JSON`.

use std::sync::Arc;

use bytes::{BufMut, Bytes};
use serde::Serialize;

use super::Aggregate;
use super::codec::{DecodeError, decode, encode};
use crate::error::LoadError;
use crate::event::{EventError, KeyedEvent, NewEvent, Sequence};
use crate::mailroom::BoxedState;
use crate::upcast::Upcasters;

const KIND_STATE: u8 = 1;
const VERSION: u8 = 1;

/// When snapshots of an entity's state are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Snapshots {
    /// Never: every load folds all events.
    #[default]
    Never,
    /// When at least this many events happened since the last snapshot; 0 means 1. A load then
    /// reads few more than this many events.
    Every(u64),
}

impl Snapshots {
    /// [`Snapshots::Every`].
    pub const fn every(events: u64) -> Self {
        Snapshots::Every(events)
    }
}

/// How the events of one entity type are read and written.
#[derive(Clone)]
pub(super) struct Reading {
    pub(super) snapshots: Snapshots,
    pub(super) skip_unknown_types: bool,
    pub(super) upcasters: Arc<Upcasters>,
}

impl Reading {
    /// The event in its stored form.
    pub(super) fn stored<E: Serialize>(&self, event: &E) -> Result<NewEvent, EventError> {
        let event = encode(event)?;
        let version = self.upcasters.current_version(event.event_type());
        Ok(event.version(version))
    }

    /// The event as the enum's value; `None` where its type is unknown and skipped.
    pub(super) fn event<A: Aggregate>(
        &self,
        stored: KeyedEvent,
    ) -> Result<Option<A::Event>, LoadError> {
        let event = self.upcasters.apply(stored)?;
        let (key, sequence) = (&event.key, event.sequence);
        match decode(event.event_type(), &event.data) {
            Ok(event) => Ok(Some(event)),
            Err(DecodeError::UnknownType) if self.skip_unknown_types => Ok(None),
            Err(DecodeError::UnknownType) => Err(LoadError::UnknownType {
                key: key.clone(),
                sequence,
                event_type: event.event_type().to_owned(),
            }),
            Err(DecodeError::Data(message)) => Err(LoadError::Data {
                key: key.clone(),
                sequence,
                event_type: event.event_type().to_owned(),
                message,
            }),
        }
    }
}

/// A state, and how events are read into it.
pub(super) struct Folded<A> {
    pub(super) state: A,
    pub(super) reading: Arc<Reading>,
}

impl<A: Aggregate> Folded<A> {
    pub(super) fn blank(reading: Arc<Reading>) -> Self {
        Folded { state: A::default(), reading }
    }
}

impl<A: Aggregate> BoxedState for Folded<A> {
    fn apply(&mut self, event: KeyedEvent) -> Result<(), LoadError> {
        if let Some(event) = self.reading.event::<A>(event)? {
            self.state.apply(&event);
        }
        Ok(())
    }

    fn snapshot_every(&self) -> Option<u64> {
        match self.reading.snapshots {
            Snapshots::Never => None,
            Snapshots::Every(events) => Some(events.max(1)),
        }
    }

    fn to_snapshot(&self, last: Sequence) -> Option<Bytes> {
        let mut snapshot = vec![KIND_STATE, VERSION];
        snapshot.put_u32_le(A::SNAPSHOT_VERSION);
        snapshot.put_u64_le(last.get());
        match serde_json::to_writer(&mut snapshot, &self.state) {
            Ok(()) => Some(snapshot.into()),
            Err(error) => {
                tracing::warn!(kind = A::KIND, %error, "a state cannot be written as a snapshot");
                None
            }
        }
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<Sequence, String> {
        let Some((head, rest)) = snapshot.split_first_chunk::<2>() else {
            return Err("it is too short".to_owned());
        };
        if *head != [KIND_STATE, VERSION] {
            return Err(format!("its kind and version {head:?} are not known"));
        }
        let Some((version, rest)) = rest.split_first_chunk::<4>() else {
            return Err("it is too short".to_owned());
        };
        let version = u32::from_le_bytes(*version);
        if version != A::SNAPSHOT_VERSION {
            let now = A::SNAPSHOT_VERSION;
            return Err(format!("it was taken by version {version} of the state, now {now}"));
        }
        let Some((sequence, state)) = rest.split_first_chunk::<8>() else {
            return Err("it is too short".to_owned());
        };
        self.state = serde_json::from_slice(state).map_err(|error| error.to_string())?;
        Ok(Sequence::new(u64::from_le_bytes(*sequence)))
    }

    fn reset(&mut self) {
        self.state = A::default();
    }
}
