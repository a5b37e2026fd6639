//! Given a reaction, when events come, then what they cause.

use std::fmt::{self, Debug};
use std::time::Duration;

use futures_util::future::join;

use crate::append::Append;
use crate::event::{KeyedEvent, NewEvent, Position};
use crate::store::{Builder, EventStore};
use crate::subscription::{ConsumerError, IntoReactions};

const NAME: &str = "scenario";
const DEADLINE: Duration = Duration::from_secs(30);

/// What [`Consumer::react`](crate::Consumer::react) is given, on a store in memory.
///
/// Each step delivers its events twice, as after a crash. What the second delivery writes fails the
/// scenario: a reaction must be the same for the same event, whatever else it looks at.
///
/// ```
/// use seriatim::subscription::Reaction;
/// use seriatim::testing::ReactionScenario;
/// use seriatim::{Append, KeyedEvent, NewEvent};
///
/// fn greet(arrived: &KeyedEvent) -> Option<Reaction> {
///     let greeting = NewEvent::raw("Greeted", "{}");
///     let to_whom = format!("greetings/{}", arrived.key.id()?);
///     (arrived.event_type() == "Arrived")
///         .then(|| Reaction::append(Append::to(to_whom).event(greeting)))
/// }
///
/// # #[tokio::main] async fn main() {
/// ReactionScenario::given(greet)
///     .await
///     .when(Append::to("guest/ada").event(NewEvent::raw("Arrived", "{}")))
///     .await
///     .then("greetings/ada", [NewEvent::raw("Greeted", "{}")])
///     .await
///     .when(Append::to("guest/ada").event(NewEvent::raw("Left", "{}")))
///     .await
///     .then_nothing()
///     .await;
/// # }
/// ```
pub struct ReactionScenario<H> {
    react: H,
    store: EventStore,
    /// The last event of the last step.
    last: Position,
    outcome: Result<(), ConsumerError>,
}

impl<H> Debug for ReactionScenario<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReactionScenario").field("last", &self.last).finish_non_exhaustive()
    }
}

impl<H, R> ReactionScenario<H>
where
    H: FnMut(&KeyedEvent) -> R + Clone + Send + 'static,
    R: IntoReactions,
{
    /// A reaction, and a store without events.
    pub async fn given(react: H) -> Self {
        Self::given_with(EventStore::builder(), react).await
    }

    /// [`ReactionScenario::given`] with options of the store: upcasters, services. The builder's
    /// driver or URL is not used.
    ///
    /// # Panics
    ///
    /// Where a store with these options does not open.
    pub async fn given_with(builder: Builder, react: H) -> Self {
        match builder.url("memory:").open().await {
            Ok(store) => {
                ReactionScenario { react, store, last: Position::default(), outcome: Ok(()) }
            }
            Err(error) => fail(&format!("has no store: {error}")),
        }
    }

    /// Events that are there before, to which nobody reacts.
    ///
    /// # Panics
    ///
    /// Where they cannot be appended.
    pub async fn after(mut self, append: Append) -> Self {
        self.append(append).await;
        self
    }

    /// These events happen, and what they cause is done.
    ///
    /// # Panics
    ///
    /// Where they cannot be appended, or a second delivery causes something else.
    pub async fn when(mut self, append: Append) -> Self {
        let first = self.append(append).await;
        self.outcome = self.deliver(first).await;
        if self.outcome.is_ok() {
            let caused = self.all().await.len();
            let again = self.deliver(first).await;
            let more = self.all().await.split_off(caused);
            if let Err(error) = again {
                fail(&format!("fails when its event comes again: {error}"));
            }
            if !more.is_empty() {
                fail(&format!("causes more when its event comes again: {}", told(&more)));
            }
        }
        self
    }

    /// What was caused in this aggregate is these events: their types and data.
    ///
    /// # Panics
    ///
    /// Where it is not.
    pub async fn then(self, key: &str, events: impl IntoIterator<Item = NewEvent>) -> Self {
        let caused = self.caused().await;
        let caused = caused.into_iter().filter(|event| event.key.as_str() == key);
        let caused: Vec<_> = caused.collect();
        let expected = events.into_iter().map(|event| super::raw_event(key, event));
        let expected: Vec<_> = expected.collect();
        let is_same = |(a, b): (&KeyedEvent, &KeyedEvent)| {
            a.event_type() == b.event_type() && a.data == b.data
        };
        if caused.len() != expected.len() || !caused.iter().zip(&expected).all(is_same) {
            let (caused, expected) = (told(&caused), told(&expected));
            fail(&format!("causes in {key}: {caused}; expected: {expected}"));
        }
        self
    }

    /// Nothing was caused.
    ///
    /// # Panics
    ///
    /// Where something was.
    pub async fn then_nothing(self) -> Self {
        let caused = self.caused().await;
        if !caused.is_empty() {
            fail(&format!("causes: {}; expected: nothing", told(&caused)));
        }
        self
    }

    /// The event failed, with an error that says this.
    ///
    /// # Panics
    ///
    /// Where it did not.
    pub async fn then_fails(mut self, says: &str) -> Self {
        match std::mem::replace(&mut self.outcome, Ok(())) {
            Err(error) if error.to_string().contains(says) => self,
            Err(error) => fail(&format!("fails, and does not say {says:?}: {error}")),
            Ok(()) => fail(&format!("does not fail; expected: {says:?}")),
        }
    }

    /// The store, for checks of what entities have become.
    pub fn store(&self) -> &EventStore {
        &self.store
    }

    /// The first of their positions.
    async fn append(&mut self, append: Append) -> Position {
        match self.store.append(append).await {
            Ok(appended) => {
                self.last = appended.last_position().unwrap_or_default();
                appended.position.unwrap_or_default()
            }
            Err(error) => fail(&format!("cannot be given its events: {error}")),
        }
    }

    async fn deliver(&self, first: Position) -> Result<(), ConsumerError> {
        let consumer = self.store.consumer(NAME).retry(1, Duration::ZERO, Duration::ZERO);
        consumer.set_position(first.previous()).await?;
        let (mut react, last) = (self.react.clone(), self.last);
        // What the reactions write is not reacted to: a step is one link of a chain.
        let run = consumer.react(move |event| (event.position <= Some(last)).then(|| react(event)));
        let handle = run.handle();
        let waiting = async {
            let waited = handle.wait_for(last, DEADLINE).await;
            handle.stop();
            waited
        };
        let (ended, waited) = join(run, waiting).await;
        ended?;
        if let Err(error) = waited {
            fail(&format!("does not end: {error}"));
        }
        Ok(())
    }

    async fn all(&self) -> Vec<KeyedEvent> {
        match self.store.log().map(|log| log.read()) {
            Ok(read) => match read.collect().await {
                Ok(events) => events,
                Err(error) => fail(&format!("cannot read what it wrote: {error}")),
            },
            Err(error) => fail(&format!("has no log: {error}")),
        }
    }

    async fn caused(&self) -> Vec<KeyedEvent> {
        if let Err(error) = &self.outcome {
            fail(&format!("fails: {error}"));
        }
        let mut events = self.all().await;
        events.retain(|event| event.position > Some(self.last));
        events
    }
}

fn told(events: &[KeyedEvent]) -> String {
    let one = |event: &KeyedEvent| format!("{} {} {}", event.key, event.event_type(), event.data);
    events.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[allow(clippy::panic, reason = "to panic is how a test fails")]
fn fail(message: &str) -> ! {
    panic!("the reaction {message}")
}
