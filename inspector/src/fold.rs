//! States of entities, for types that the application has named.

use std::any::type_name;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use seriatim::{Aggregate, AggregateKey, EventStore, KeyedEvent};

/// A state as JSON, or why it is not known.
pub(crate) type Folded = Result<String, String>;

/// The states of an aggregate: before the first of these events, and after each.
type Fold = Arc<
    dyn Fn(EventStore, AggregateKey, Vec<KeyedEvent>) -> BoxFuture<'static, Vec<Folded>>
        + Send
        + Sync,
>;

/// The types whose states are shown, by their kinds.
#[derive(Clone, Default)]
pub(crate) struct Folds(BTreeMap<&'static str, Fold>);

impl Folds {
    pub(crate) fn add<A: Aggregate>(&mut self) {
        self.0
            .insert(A::KIND, Arc::new(|store, key, events| fold::<A>(store, key, events).boxed()));
    }

    /// `None` where the key belongs to no type that was named.
    pub(crate) async fn states(
        &self,
        store: &EventStore,
        key: &AggregateKey,
        events: &[KeyedEvent],
    ) -> Option<Vec<Folded>> {
        key.id()?;
        let fold = self.0.get(key.category())?;
        Some(fold(store.clone(), key.clone(), events.to_vec()).await)
    }
}

/// `events` follow one another in order. After the first failure all states are unknown.
async fn fold<A: Aggregate>(
    store: EventStore,
    key: AggregateKey,
    events: Vec<KeyedEvent>,
) -> Vec<Folded> {
    let mut states = Vec::with_capacity(events.len() + 1);
    let (Some(first), Some(id)) = (events.first(), key.id()) else { return states };
    let loaded = store.entities::<A>().at(id, first.sequence.previous()).await;
    let mut state = match loaded {
        Ok(loaded) => Ok(loaded.state),
        Err(error) => Err(error.to_string()),
    };
    states.push(state.as_ref().map_err(String::clone).and_then(to_json));
    for event in &events {
        state = state.and_then(|state| after(state, event));
        states.push(state.as_ref().map_err(String::clone).and_then(to_json));
    }
    states
}

/// The application's code runs here, and may panic.
fn after<A: Aggregate>(mut state: A, event: &KeyedEvent) -> Result<A, String> {
    let applied = catch_unwind(AssertUnwindSafe(move || match event.decode::<A::Event>() {
        Ok(decoded) => {
            state.apply(&decoded);
            Ok(state)
        }
        Err(seriatim::DecodeError::UnknownType) if A::SKIP_UNKNOWN_TYPES => Ok(state),
        Err(error) => Err(format!("event {}: {error}", event.sequence)),
    }));
    applied.unwrap_or_else(|_| {
        Err(format!("{} panicked on event {}", type_name::<A>(), event.sequence))
    })
}

fn to_json<A: Aggregate>(state: &A) -> Folded {
    let json = catch_unwind(AssertUnwindSafe(|| serde_json::to_string(state)));
    match json {
        Ok(json) => json.map_err(|error| format!("the state has no JSON form: {error}")),
        Err(_) => Err(format!("{} panicked when it was written as JSON", type_name::<A>())),
    }
}
