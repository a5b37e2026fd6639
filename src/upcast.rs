//! Schema evolution: old events are read in the form that events have today.
//!
//! An upcaster turns an event of one type and schema version into a later form. Wherever events are
//! read, upcasters are applied until none fits. Stored events never change. Entities write events
//! in the version that no upcaster takes further. Raw appends set theirs with
//! [`NewEvent::version`](crate::NewEvent::version).

use std::collections::HashMap;

use serde::Serialize;
use smol_str::SmolStr;

use crate::error::LoadError;
use crate::event::{KeyedEvent, RawJson, RawJsonError};

/// The most steps from the first form to the latest. A longer chain is taken for a loop.
const LONGEST_CHAIN: usize = 1_000;

type Upcaster = dyn Fn(&KeyedEvent) -> Result<Upcast, String> + Send + Sync;

/// The result of an upcaster: a later version, its data, and possibly another event type.
#[derive(Clone, Debug)]
pub struct Upcast {
    version: u16,
    event_type: Option<SmolStr>,
    data: Result<RawJson, RawJsonError>,
}

impl Upcast {
    /// The event in this schema version.
    pub fn to<T: Serialize + ?Sized>(version: u16, data: &T) -> Self {
        Upcast { version, event_type: None, data: RawJson::serialize(data) }
    }

    /// Changes the event's type.
    pub fn event_type(mut self, event_type: impl AsRef<str>) -> Self {
        self.event_type = Some(SmolStr::new(event_type));
        self
    }
}

/// The upcasters of a store, by event type and schema version.
#[derive(Default, Clone)]
pub(crate) struct Upcasters {
    by_form: HashMap<(SmolStr, u16), std::sync::Arc<Upcaster>>,
    current: HashMap<SmolStr, u16>,
}

impl Upcasters {
    pub(crate) fn register<F>(&mut self, event_type: &str, version: u16, upcaster: F)
    where
        F: Fn(&KeyedEvent) -> Result<Upcast, String> + Send + Sync + 'static,
    {
        let event_type = SmolStr::new(event_type);
        let current = self.current.entry(event_type.clone()).or_default();
        *current = version.saturating_add(1).max(*current);
        self.by_form.insert((event_type, version), std::sync::Arc::new(upcaster));
    }

    /// The version in which events of this type are written now: later than every version that has
    /// an upcaster, so that no upcaster takes a new event for an old one.
    pub(crate) fn current_version(&self, event_type: &str) -> u16 {
        self.current.get(event_type).copied().unwrap_or(1)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_form.is_empty()
    }

    /// The event in its latest form.
    pub(crate) fn apply(&self, mut event: KeyedEvent) -> Result<KeyedEvent, LoadError> {
        if self.is_empty() {
            return Ok(event);
        }
        for _ in 0..LONGEST_CHAIN {
            let Some(upcaster) = self.by_form.get(&event.form()) else { return Ok(event) };
            let upcast = upcaster(&event).and_then(|upcast| {
                upcast
                    .data
                    .map(|data| (upcast.version, upcast.event_type, data))
                    .map_err(|e| e.to_string())
            });
            match upcast {
                Ok((version, event_type, data)) => event.become_form(version, event_type, data),
                Err(message) => return Err(failed(&event, message)),
            }
        }
        Err(failed(&event, format!("still not in its latest form after {LONGEST_CHAIN} upcasters")))
    }
}

fn failed(event: &KeyedEvent, message: String) -> LoadError {
    LoadError::Upcast {
        key: event.key.clone(),
        sequence: event.sequence,
        event_type: event.event_type().to_owned(),
        message,
    }
}
