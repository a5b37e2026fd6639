//! Decisions that must await something: load, decide, append with an exact expectation, and again
//! after a conflict.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;

use super::Aggregate;
use super::entities::Entities;
use super::error::TransactError;
use super::executed::{Executed, Loaded};
use super::pauses::Pauses;
use super::setup::EventRead;
use crate::append::{Append, Appended, ExecuteOptions};
use crate::error::{AppendError, LoadError};
use crate::event::{AggregateKey, KeyedEvent, RawJson};

/// Options of a transaction: its commit id, its metadata, how often it is tried.
///
/// ```
/// # use seriatim::{Aggregate, Context, EventStore};
/// # #[derive(Default, serde::Serialize, serde::Deserialize)]
/// # struct Tally { n: u64 }
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # enum Event { Counted }
/// # impl Aggregate for Tally {
/// #     const KIND: &'static str = "tally";
/// #     type Command = ();
/// #     type Event = Event;
/// #     type Error = String;
/// #     type Services = ();
/// #     fn handle(&self, _: &(), _: &Context<'_>) -> Result<Vec<Event>, String> {
/// #         Ok(vec![Event::Counted])
/// #     }
/// #     fn apply(&mut self, _: &Event) { self.n += 1; }
/// # }
/// use seriatim::TransactOptions;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = EventStore::open("memory:").await?;
/// let tallies = store.entities::<Tally>();
/// let request = uuid::Uuid::now_v7();
/// for repeated in [false, true] {
///     let options = TransactOptions::new().attempts(3).commit_id(request);
///     let count = async |_| Ok::<_, String>(vec![Event::Counted]);
///     let executed = tallies.transact_with("visitors", options, count).await?;
///     assert_eq!(executed.appended.map(|appended| appended.repeated), Some(repeated));
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct TransactOptions {
    attempts: u32,
    first_pause: Duration,
    longest_pause: Duration,
    /// What a transaction has in common with a command.
    common: ExecuteOptions,
}

impl Default for TransactOptions {
    /// 16 attempts, with pauses that grow from 2 ms to 250 ms, each shortened at random by up to a
    /// half; no commit id and no metadata.
    fn default() -> Self {
        TransactOptions {
            attempts: 16,
            first_pause: Duration::from_millis(2),
            longest_pause: Duration::from_millis(250),
            common: ExecuteOptions::new(),
        }
    }
}

impl TransactOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many times at most it is decided and appended; 0 means 1.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// The pause after the first conflict, doubled with each further one up to `longest`.
    pub fn pauses(mut self, first: Duration, longest: Duration) -> Self {
        self.first_pause = first;
        self.longest_pause = longest;
        self
    }

    /// Sets the commit id: the transaction can then be repeated, from any process, and takes effect
    /// once. The id is looked for among the entity's latest events
    /// ([`commit_id_window`](crate::Builder::commit_id_window)); where it stands there, nothing is
    /// decided and the answer has `repeated: true`.
    pub fn commit_id(mut self, commit_id: Uuid) -> Self {
        self.common = self.common.commit_id(commit_id);
        self
    }

    /// Sets the events' metadata; see [`ExecuteOptions::metadata`].
    pub fn metadata<T: Serialize + ?Sized>(mut self, metadata: &T) -> Self {
        self.common = self.common.metadata(metadata);
        self
    }

    /// Sets one field of the events' metadata; see [`ExecuteOptions::metadata_field`].
    pub fn metadata_field<T: Serialize + ?Sized>(mut self, name: &str, value: &T) -> Self {
        self.common = self.common.metadata_field(name, value);
        self
    }

    /// Sets `correlation_id` in the events' metadata.
    pub fn correlation_id(self, id: impl AsRef<str>) -> Self {
        self.metadata_field("correlation_id", id.as_ref())
    }

    /// Sets `causation_id` in the events' metadata.
    pub fn causation_id(self, id: impl AsRef<str>) -> Self {
        self.metadata_field("causation_id", id.as_ref())
    }
}

impl<A: Aggregate> Entities<A> {
    /// Loads the entity, lets `decide` await what it needs, and appends the events that it returns
    /// if nobody else wrote meanwhile. After a conflict it catches up and decides again, a bounded
    /// number of times.
    ///
    /// Prefer [`Entities::execute`] where nothing must be awaited: commands queue instead of
    /// conflicting.
    ///
    /// ```
    /// # use seriatim::{Aggregate, Context, EventStore};
    /// # #[derive(Default, serde::Serialize, serde::Deserialize)]
    /// # struct Tally { n: u64 }
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # enum Event { Counted }
    /// # impl Aggregate for Tally {
    /// #     const KIND: &'static str = "tally";
    /// #     type Command = ();
    /// #     type Event = Event;
    /// #     type Error = String;
    /// #     type Services = ();
    /// #     fn handle(&self, _: &(), _: &Context<'_>) -> Result<Vec<Event>, String> {
    /// #         Ok(vec![Event::Counted])
    /// #     }
    /// #     fn apply(&mut self, _: &Event) { self.n += 1; }
    /// # }
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = EventStore::open("memory:").await?;
    /// async fn may_enter(visitors: u64) -> Result<bool, std::io::Error> {
    ///     Ok(visitors < 100) // asks a service, say
    /// }
    ///
    /// let tally = store.entities::<Tally>().entity("visitors");
    /// let entered = tally.transact(async |now| match may_enter(now.n).await {
    ///     Ok(true) => Ok(vec![Event::Counted]),
    ///     Ok(false) => Err("the house is full".to_owned()),
    ///     Err(error) => Err(error.to_string()),
    /// });
    /// assert_eq!(entered.await?.sequence, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`TransactError`].
    pub async fn transact<F, D, E>(
        &self,
        id: impl AsRef<str>,
        decide: F,
    ) -> Result<Executed<A>, TransactError<E>>
    where
        F: FnMut(Arc<A>) -> D,
        D: Future<Output = Result<Vec<A::Event>, E>>,
    {
        self.transact_with(id, TransactOptions::new(), decide).await
    }

    /// [`Entities::transact`] with options.
    ///
    /// # Errors
    ///
    /// [`TransactError`].
    pub async fn transact_with<F, D, E>(
        &self,
        id: impl AsRef<str>,
        options: TransactOptions,
        mut decide: F,
    ) -> Result<Executed<A>, TransactError<E>>
    where
        F: FnMut(Arc<A>) -> D,
        D: Future<Output = Result<Vec<A::Event>, E>>,
    {
        let key = self.checked_key(id.as_ref()).map_err(TransactError::Load)?;
        let own_commit_id = options.common.commit_id;
        let refused = |source| TransactError::Append {
            source,
            commit_id: own_commit_id.unwrap_or_default(),
            is_own_commit_id: own_commit_id.is_some(),
        };
        let metadata = options.common.metadata.transpose().map_err(|source| {
            refused(AppendError::InvalidEvent { key: key.clone(), index: 0, source })
        })?;
        let mut loaded = self.load(&key, None, |_| true).await.map_err(TransactError::Load)?;
        let mut pauses = Pauses::new(options.first_pause, options.longest_pause);
        let mut attempts = 0;
        loop {
            let Loaded { state, sequence } = loaded;
            // Asked behind the load: what is appended after it makes this append conflict.
            if let Some(commit_id) = own_commit_id
                && let Some(repeated) =
                    self.find_commit(&key, commit_id).await.map_err(TransactError::Load)?
            {
                return Ok(repeated);
            }
            let state = Arc::new(state);
            let events = decide(state.clone()).await.map_err(TransactError::Rejected)?;
            if events.is_empty() {
                return Ok(Executed { appended: None, events, sequence });
            }
            attempts += 1;
            let commit_id = own_commit_id.unwrap_or_else(Uuid::now_v7);
            let is_own_commit_id = own_commit_id.is_some();
            let failed = |source| TransactError::Append { source, commit_id, is_own_commit_id };
            let append = Append::to(&key).expect(sequence).commit_id(commit_id);
            let (append, events) =
                self.with_events(&key, append, events, metadata.as_ref()).map_err(failed)?;
            match self.store.append(append).await {
                Ok(appended) => {
                    let sequence = appended.last;
                    return Ok(Executed { appended: Some(appended), events, sequence });
                }
                Err(error) if error.is_conflict() && attempts >= options.attempts => {
                    return Err(TransactError::TooManyConflicts { key, attempts });
                }
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(failed(error)),
            }
            self.store.pause(pauses.next()).await;
            loaded = match Arc::try_unwrap(state) {
                Ok(state) => self.catch_up(&key, Loaded { state, sequence }).await,
                // The decision kept the state.
                Err(_kept) => self.load(&key, None, |_| true).await,
            }
            .map_err(TransactError::Load)?;
        }
    }

    /// The append with the events in their stored form, and the events as they will be read back.
    fn with_events(
        &self,
        key: &AggregateKey,
        mut append: Append,
        events: Vec<A::Event>,
        metadata: Option<&RawJson>,
    ) -> Result<(Append, Vec<A::Event>), AppendError> {
        let mut read_back = Vec::with_capacity(events.len());
        for (index, event) in events.iter().enumerate() {
            let (stored, event) = self.setup.stored(event).map_err(|error| {
                AppendError::InvalidEvent { key: key.clone(), index, source: error.into() }
            })?;
            append = append.event(match metadata {
                Some(metadata) => stored.with_metadata(metadata.clone()),
                None => stored,
            });
            read_back.push(event);
        }
        Ok((append, read_back))
    }

    /// What an earlier transaction with this commit id left among the entity's latest events.
    async fn find_commit(
        &self,
        key: &AggregateKey,
        commit_id: Uuid,
    ) -> Result<Option<Executed<A>>, LoadError> {
        let window = self.store.mailroom().config.commit_id_window;
        let mut latest = self.store.read(key).without_upcasters().backwards().limit(window);
        let mut found: Vec<KeyedEvent> = Vec::new();
        while let Some(event) = latest.next().await {
            let event = event?;
            if event.commit_id == commit_id {
                found.push(event);
            } else if !found.is_empty() {
                break;
            }
        }
        found.reverse();
        let (Some(first), Some(last)) = (found.first(), found.last()) else { return Ok(None) };
        let appended = Appended {
            first: first.sequence,
            last: last.sequence,
            position: first.position,
            commit_id,
            repeated: true,
        };
        let events = found.into_iter().map(|event| self.setup.event(event));
        let events: Result<Vec<_>, _> =
            events.filter_map(|event| event.map(EventRead::into_event).transpose()).collect();
        let sequence = appended.last;
        Ok(Some(Executed { appended: Some(appended), events: events?, sequence }))
    }
}
