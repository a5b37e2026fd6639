//! Options of an entity type, set once for each store.

use std::marker::PhantomData;

use super::Aggregate;
use crate::store::Builder;

/// When snapshots of an entity's state are taken.
///
/// ```
/// use seriatim::Snapshots;
///
/// // In an `impl Aggregate`: `const SNAPSHOTS: Snapshots = Snapshots::every(100);`
/// assert_eq!(Snapshots::every(100), Snapshots::Every(100));
/// assert_eq!(Snapshots::default(), Snapshots::Never);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
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

/// Options of an entity type in one store, in place of those that the type itself has; for
/// [`Builder::entity`].
///
/// ```
/// use seriatim::{EntityOptions, EventStore, Snapshots};
/// # use seriatim::{Aggregate, Context};
/// # #[derive(Default, serde::Serialize, serde::Deserialize)]
/// # struct Account;
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # enum Event { Opened }
/// # impl Aggregate for Account {
/// #     const KIND: &'static str = "account";
/// #     type Command = ();
/// #     type Event = Event;
/// #     type Error = String;
/// #     type Services = ();
/// #     fn handle(&self, _: &(), _: &Context<'_>) -> Result<Vec<Event>, String> { Ok(vec![]) }
/// #     fn apply(&mut self, _: &Event) {}
/// # }
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let options = EntityOptions::new().snapshots(Snapshots::every(100));
/// let store = EventStore::builder().url("memory:").entity::<Account>(options).open().await?;
/// # drop(store); Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct EntityOptions {
    snapshots: Option<Snapshots>,
    skip_unknown_types: Option<bool>,
}

impl EntityOptions {
    /// The options that the type itself has.
    pub fn new() -> Self {
        Self::default()
    }

    /// When snapshots are taken. The driver must have a
    /// [`SnapshotStore`](crate::driver::SnapshotStore), or none are. Default:
    /// [`Aggregate::SNAPSHOTS`].
    pub fn snapshots(mut self, snapshots: Snapshots) -> Self {
        self.snapshots = Some(snapshots);
        self
    }

    /// Whether events of a type that the enum does not know are skipped. Default:
    /// [`Aggregate::SKIP_UNKNOWN_TYPES`].
    pub fn skip_unknown_types(mut self, skip: bool) -> Self {
        self.skip_unknown_types = Some(skip);
        self
    }

    pub(super) fn snapshots_of<A: Aggregate>(&self) -> Snapshots {
        self.snapshots.unwrap_or(A::SNAPSHOTS)
    }

    pub(super) fn skips_unknown_types_of<A: Aggregate>(&self) -> bool {
        self.skip_unknown_types.unwrap_or(A::SKIP_UNKNOWN_TYPES)
    }
}

/// The options of one type, as the store keeps them.
pub(super) struct OptionsOf<A> {
    pub(super) options: EntityOptions,
    entity: PhantomData<fn() -> A>,
}

impl Builder {
    /// Sets the options of an entity type, for all its handles and everything that executes
    /// commands on it. Once for each type.
    pub fn entity<A: Aggregate>(self, options: EntityOptions) -> Self {
        let options = OptionsOf::<A> { options, entity: PhantomData };
        self.extend_once("entity", "was called twice for one type", options)
    }
}
