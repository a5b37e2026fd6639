//! Schema evolution: old events are read in the form that events have today.
//!
//! An upcaster belongs to one kind (the category of the aggregates' keys), and takes an event of
//! one type and schema version to a later form. Wherever events are read, upcasters are applied
//! until none fits. Stored events never change. Entities write events in the version that no
//! upcaster takes further. Raw appends set theirs with
//! [`NewEvent::version`](crate::NewEvent::version).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Serialize;
use smol_str::SmolStr;

use crate::error::{LoadError, OpenError};
use crate::event::{KeyedEvent, RawJson, RawJsonError};

/// The most steps from the first form to the latest. A longer chain is taken for a loop.
const LONGEST_CHAIN: usize = 1_000;

type Upcaster = dyn Fn(&KeyedEvent) -> Result<Upcast, String> + Send + Sync;

/// The result of an upcaster: what becomes of an event.
///
/// ```
/// # use seriatim::{KeyedEvent, Upcast};
/// # fn examples(event: &KeyedEvent) -> Result<Upcast, String> {
/// // Other data, in schema version 2.
/// let euros: u64 = event.json().map_err(|error| error.to_string())?;
/// let in_cents = Upcast::to(2, &(euros * 100));
/// // Another name, and nothing else.
/// let renamed = Upcast::same_data(2).event_type("Deposited");
/// // An event that nobody wants to read any more.
/// let gone = Upcast::dropped();
/// # drop((renamed, gone)); Ok(in_cents) }
/// ```
#[derive(Clone, Debug)]
pub struct Upcast(Change);

#[derive(Clone, Debug)]
enum Change {
    Unchanged,
    Dropped,
    Form(Form),
}

#[derive(Clone, Debug)]
struct Form {
    version: u16,
    event_type: Option<SmolStr>,
    data: Option<Result<RawJson, RawJsonError>>,
    metadata: Vec<(SmolStr, Result<RawJson, RawJsonError>)>,
}

impl Upcast {
    /// The event in this schema version, with this data.
    pub fn to<T: Serialize + ?Sized>(version: u16, data: &T) -> Self {
        Self::form(version, Some(RawJson::serialize(data)))
    }

    /// The event in this schema version, with the data it has.
    pub fn same_data(version: u16) -> Self {
        Self::form(version, None)
    }

    /// The event as it is. No further upcaster is applied to it.
    pub fn unchanged() -> Self {
        Upcast(Change::Unchanged)
    }

    /// No event: readers and entities do not see it. Its sequence and its position stay taken.
    pub fn dropped() -> Self {
        Upcast(Change::Dropped)
    }

    fn form(version: u16, data: Option<Result<RawJson, RawJsonError>>) -> Self {
        Upcast(Change::Form(Form { version, event_type: None, data, metadata: Vec::new() }))
    }

    /// Changes the event's type. Without effect on an unchanged or dropped event.
    pub fn event_type(mut self, event_type: impl AsRef<str>) -> Self {
        if let Change::Form(form) = &mut self.0 {
            form.event_type = Some(SmolStr::new(event_type));
        }
        self
    }

    /// Sets one field of the event's metadata, in place of a field of the same name. Without effect
    /// on an unchanged or dropped event.
    pub fn metadata_field<T: Serialize + ?Sized>(mut self, name: &str, value: &T) -> Self {
        if let Change::Form(form) = &mut self.0 {
            form.metadata.push((SmolStr::new(name), RawJson::serialize(value)));
        }
        self
    }
}

impl Form {
    fn change(self, event: &mut KeyedEvent) -> Result<(), RawJsonError> {
        let data = self.data.transpose()?;
        for (name, value) in self.metadata {
            let metadata = RawJson::object_with(event.metadata.as_ref(), &[(&name, value?)])?;
            event.metadata = Some(metadata);
        }
        event.become_form(self.version, self.event_type, data);
        Ok(())
    }
}

/// The upcasters of a store, by kind, and then by event type and schema version.
#[derive(Default, Clone)]
pub(crate) struct Upcasters {
    kinds: BTreeMap<SmolStr, KindUpcasters>,
}

#[derive(Default, Clone)]
struct KindUpcasters {
    by_form: HashMap<(SmolStr, u16), Arc<Upcaster>>,
    current: HashMap<SmolStr, u16>,
}

impl Upcasters {
    pub(crate) fn register<F>(
        &mut self,
        kind: &str,
        event_type: &str,
        version: u16,
        upcaster: F,
    ) -> Result<(), OpenError>
    where
        F: Fn(&KeyedEvent) -> Result<Upcast, String> + Send + Sync + 'static,
    {
        if kind.is_empty() || kind.contains('/') {
            let problem = "needs a kind that is not empty and has no '/'";
            return Err(OpenError::InvalidOption { option: "upcaster", problem });
        }
        if version == u16::MAX {
            let problem = "needs a version that has a later one";
            return Err(OpenError::InvalidOption { option: "upcaster", problem });
        }
        let event_type = SmolStr::new(event_type);
        let of_kind = self.kinds.entry(SmolStr::new(kind)).or_default();
        let current = of_kind.current.entry(event_type.clone()).or_default();
        *current = (version + 1).max(*current);
        let form = (event_type, version);
        if of_kind.by_form.contains_key(&form) {
            let (event_type, kind) = (form.0.to_string(), kind.to_owned());
            return Err(OpenError::DuplicateUpcaster { kind, event_type, version });
        }
        of_kind.by_form.insert(form, Arc::new(upcaster));
        Ok(())
    }

    /// The version in which events of this type are written now: later than every version that has
    /// an upcaster, so that no upcaster takes a new event for an old one.
    pub(crate) fn current_version(&self, kind: &str, event_type: &str) -> u16 {
        let of_kind = self.kinds.get(kind);
        of_kind.and_then(|of_kind| of_kind.current.get(event_type)).copied().unwrap_or(1)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// The forms that have an upcaster, in one order.
    pub(crate) fn forms(&self, kind: &str) -> Vec<(SmolStr, u16)> {
        let of_kind = self.kinds.get(kind);
        let mut forms: Vec<_> =
            of_kind.into_iter().flat_map(|of_kind| of_kind.by_form.keys().cloned()).collect();
        forms.sort_unstable();
        forms
    }

    /// The event in its latest form; `None` where an upcaster drops it.
    pub(crate) fn apply(&self, mut event: KeyedEvent) -> Result<Option<KeyedEvent>, LoadError> {
        if self.is_empty() {
            return Ok(Some(event));
        }
        let Some(of_kind) = self.kinds.get(event.key.category()) else { return Ok(Some(event)) };
        for _ in 0..LONGEST_CHAIN {
            let Some(upcaster) = of_kind.by_form.get(&event.form()) else { return Ok(Some(event)) };
            let changed = upcaster(&event).and_then(|Upcast(change)| match change {
                Change::Unchanged => Ok(Some(true)),
                Change::Dropped => Ok(None),
                Change::Form(form) => {
                    form.change(&mut event).map(|()| Some(false)).map_err(|e| e.to_string())
                }
            });
            match changed {
                Ok(Some(false)) => {}
                Ok(Some(true)) => return Ok(Some(event)),
                Ok(None) => return Ok(None),
                Err(message) => return Err(failed(&event, message)),
            }
        }
        Err(failed(&event, format!("no end after {LONGEST_CHAIN} upcasters: they form a loop")))
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
