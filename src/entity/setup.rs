//! How the entities of one type are read, decided on and written in one store.

use std::any::{Any, TypeId, type_name};
use std::sync::{Arc, OnceLock};

use uuid::Uuid;

use super::Aggregate;
use super::context::Context;
use super::options::{OptionsOf, Snapshots};
use crate::error::LoadError;
use crate::event::{
    AggregateKey, DecodeError, EncodeError, KeyedEvent, NewEvent, RawJson, Sequence, Timestamp,
    encode, variant_names,
};
use crate::mailroom::Clock;
use crate::store::EventStore;
use crate::upcast::Upcasters;

/// The namespace of the names that [`EntitySetup::fingerprint`] hashes.
const FINGERPRINTS: Uuid = Uuid::from_u128(0x1c0e_57a5_7d3f_4b52_8f0e_6f2b_90aa_31c4);

/// Shared by all handles of a kind and by its resident states. It holds no handle of the store,
/// which would keep the store open.
pub(super) struct EntitySetup<A: Aggregate> {
    pub(super) snapshots: Snapshots,
    skip_unknown_types: bool,
    upcasters: Arc<Upcasters>,
    clock: Clock,
    services: Option<Arc<A::Services>>,
    fingerprints: [OnceLock<Uuid>; 2],
    /// Whether the state's type was seen to survive its own JSON.
    pub(super) state_survives: OnceLock<bool>,
}

impl<A: Aggregate> EntitySetup<A> {
    pub(super) fn of(store: &EventStore) -> Self {
        let options = store.extension::<OptionsOf<A>>().map(|kept| kept.options);
        let options = options.unwrap_or_default();
        EntitySetup {
            snapshots: options.snapshots_of::<A>(),
            skip_unknown_types: options.skips_unknown_types_of::<A>(),
            upcasters: store.upcasters(),
            services: services::<A>(store),
            clock: store.clock(),
            fingerprints: Default::default(),
            state_survives: OnceLock::new(),
        }
    }

    /// # Errors
    ///
    /// [`LoadError::NoServices`] when the builder was given none.
    pub(super) fn check(&self) -> Result<(), LoadError> {
        match self.services {
            Some(_) => Ok(()),
            None => {
                let services = type_name::<A::Services>();
                Err(LoadError::NoServices { kind: A::KIND, services })
            }
        }
    }

    /// The context of a decision now; `None` without services, which [`EntitySetup::check`]
    /// reports.
    pub(super) fn context<'a>(
        &'a self,
        key: &'a AggregateKey,
        sequence: Sequence,
        metadata: Option<&'a RawJson>,
        time: Option<Timestamp>,
    ) -> Option<Context<'a, A::Services>> {
        let services = self.services.as_deref()?;
        let time = time.unwrap_or_else(|| (self.clock)().into());
        Some(Context { key, sequence, time, metadata, services })
    }

    /// The version in which events of this type are written now.
    pub(super) fn current_version(&self, event_type: &str) -> u16 {
        self.upcasters.current_version(A::KIND, event_type)
    }

    /// The event in its stored form, and the value that is read back from that.
    pub(super) fn stored(&self, event: &A::Event) -> Result<(NewEvent, A::Event), EncodeError> {
        let (stored, read_back) = encode(event)?;
        let version = self.current_version(stored.event_type());
        Ok((stored.version(version), read_back))
    }

    /// The event as the enum's value.
    pub(super) fn event(&self, stored: KeyedEvent) -> Result<EventRead<A::Event>, LoadError> {
        let Some(event) = self.upcasters.apply(stored)? else { return Ok(EventRead::Dropped) };
        let (key, sequence) = (&event.key, event.sequence);
        match event.decode() {
            Ok(event) => Ok(EventRead::Event(event)),
            Err(DecodeError::UnknownType) if self.skip_unknown_types => Ok(EventRead::Skipped),
            Err(DecodeError::UnknownType) => Err(LoadError::UnknownType {
                key: key.clone(),
                sequence,
                event_type: event.event_type().to_owned(),
            }),
            Err(error) => Err(LoadError::Data {
                key: key.clone(),
                sequence,
                event_type: event.event_type().to_owned(),
                message: error.to_string(),
            }),
        }
    }

    /// Stands for all that decides how stored events become a state, beside the code of `apply` and
    /// of the upcasters. The types that the enum knows count only where an event was skipped for
    /// them.
    pub(super) fn fingerprint(&self, skipped: bool) -> Uuid {
        let [of_all, of_skipped] = &self.fingerprints;
        let place = if skipped { of_skipped } else { of_all };
        *place.get_or_init(|| {
            let mut text = String::new();
            for (event_type, version) in self.upcasters.forms(A::KIND) {
                text.push_str(&format!("upcaster {version} {event_type}\n"));
            }
            if skipped {
                let mut known = variant_names::<A::Event>().to_vec();
                known.sort_unstable();
                text.push_str(&format!("skips {}\n", self.skip_unknown_types));
                known.iter().for_each(|name| text.push_str(&format!("knows {name}\n")));
            }
            Uuid::new_v5(&FINGERPRINTS, text.as_bytes())
        })
    }
}

/// A stored event, as an entity sees it.
pub(super) enum EventRead<E> {
    Event(E),
    /// The enum does not know its type.
    Skipped,
    /// An upcaster says that it is gone.
    Dropped,
}

impl<E> EventRead<E> {
    pub(super) fn into_event(self) -> Option<E> {
        match self {
            EventRead::Event(event) => Some(event),
            EventRead::Skipped | EventRead::Dropped => None,
        }
    }
}

/// The services that the builder was given for this type. `()` needs none.
fn services<A: Aggregate>(store: &EventStore) -> Option<Arc<A::Services>> {
    if TypeId::of::<A::Services>() == TypeId::of::<()>() {
        let nothing: Arc<dyn Any + Send + Sync> = Arc::new(());
        return nothing.downcast().ok();
    }
    store.extension::<A::Services>()
}
