//! Given events, when a command, then events or an error.

use std::fmt::{self, Debug};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::diff::{diff, pretty};
use crate::entity::{Aggregate, Context};
use crate::event::{AggregateKey, EncodeError, Sequence, Timestamp, encode};

/// An entity of which some events are given, ready to be asked something.
///
/// ```
/// use seriatim::Aggregate;
/// use seriatim::testing::Scenario;
/// # use seriatim::Context;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Default, Serialize, Deserialize)]
/// # struct Account { balance: u64 }
/// # enum Command { Withdraw(u64) }
/// # #[derive(Serialize, Deserialize)]
/// # enum Event { Deposited { amount: u64 }, Withdrawn { amount: u64 } }
/// # #[derive(Debug, PartialEq)]
/// # struct Overdrawn { balance: u64 }
/// # impl Aggregate for Account {
/// #     const KIND: &'static str = "account";
/// #     type Command = Command;
/// #     type Event = Event;
/// #     type Error = Overdrawn;
/// #     type Services = ();
/// #     fn handle(
/// #         &self,
/// #         command: &Command,
/// #         _: &Context<'_>,
/// #     ) -> Result<Vec<Event>, Overdrawn> {
/// #         match *command {
/// #             Command::Withdraw(0) => Ok(vec![]),
/// #             Command::Withdraw(n) if n > self.balance => {
/// #                 Err(Overdrawn { balance: self.balance })
/// #             }
/// #             Command::Withdraw(amount) => Ok(vec![Event::Withdrawn { amount }]),
/// #         }
/// #     }
/// #     fn apply(&mut self, event: &Event) {
/// #         match *event {
/// #             Event::Deposited { amount } => self.balance += amount,
/// #             Event::Withdrawn { amount } => self.balance -= amount,
/// #         }
/// #     }
/// # }
///
/// Scenario::<Account>::given([Event::Deposited { amount: 50 }])
///     .when(Command::Withdraw(30))
///     .then_events([Event::Withdrawn { amount: 30 }])
///     .when(Command::Withdraw(30))
///     .then_error(Overdrawn { balance: 20 })
///     .when(Command::Withdraw(0))
///     .then_nothing()
///     .then_state(&Account { balance: 20 });
/// ```
pub struct Scenario<A: Aggregate> {
    state: A,
    sequence: Sequence,
    time: Timestamp,
    services: Arc<A::Services>,
}

impl<A: Aggregate + Clone> Clone for Scenario<A> {
    fn clone(&self) -> Self {
        let Scenario { state, sequence, time, services } = self;
        let (state, services) = (state.clone(), services.clone());
        Scenario { state, sequence: *sequence, time: *time, services }
    }
}

impl<A: Aggregate + Debug> Debug for Scenario<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scenario")
            .field("state", &self.state)
            .field("sequence", &self.sequence)
            .field("time", &self.time)
            .finish_non_exhaustive()
    }
}

/// What a command came to; nothing is checked yet.
///
/// ```
/// # use seriatim::{Aggregate, Context};
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
/// use seriatim::testing::Scenario;
///
/// let events = Scenario::<Tally>::given([]).when(()).into_result()?;
/// assert_eq!(events.len(), 1);
/// # Ok::<(), String>(())
/// ```
#[must_use = "nothing is checked before it is said what should be"]
pub struct Decided<A: Aggregate> {
    scenario: Scenario<A>,
    result: Result<Vec<A::Event>, A::Error>,
}

impl<A: Aggregate<Services = ()>> Scenario<A> {
    /// An entity to which this has happened; `[]` for one without events.
    ///
    /// # Panics
    ///
    /// Where an event cannot be stored or read back.
    #[track_caller]
    pub fn given(events: impl IntoIterator<Item = A::Event>) -> Self {
        Self::given_with((), events)
    }
}

impl<A: Aggregate> Scenario<A> {
    /// Like [`Scenario::given`], for an entity that needs services.
    ///
    /// # Panics
    ///
    /// Where an event cannot be stored or read back.
    #[track_caller]
    pub fn given_with(
        services: impl Into<Arc<A::Services>>,
        events: impl IntoIterator<Item = A::Event>,
    ) -> Self {
        let (sequence, time) = (Sequence::NONE, Timestamp::default());
        let services = services.into();
        let mut scenario = Scenario { state: A::default(), sequence, time, services };
        scenario.apply(&stored::<A>(events));
        scenario
    }

    /// The time of the next decision; 1970 unless set.
    pub fn at(mut self, time: impl Into<Timestamp>) -> Self {
        self.time = time.into();
        self
    }

    /// Lets the entity decide on a command.
    ///
    /// # Panics
    ///
    /// Where the entity's kind is no kind.
    #[track_caller]
    pub fn when(self, command: A::Command) -> Decided<A> {
        let context = Context {
            key: &scenario_key::<A>(),
            sequence: self.sequence,
            time: self.time,
            metadata: None,
            services: &*self.services,
        };
        let result = self.state.handle(&command, &context);
        Decided { scenario: self, result }
    }

    /// The state is this one, by its JSON.
    ///
    /// # Panics
    ///
    /// With the difference, where it is another one.
    #[track_caller]
    pub fn then_state(self, expected: &A) -> Self {
        let (expected, actual) = (state_text(expected), state_text(&self.state));
        if expected != actual {
            failed::<A>("another state than expected", &expected, &actual);
        }
        self
    }

    /// The state, for checks of another kind.
    pub fn state(&self) -> &A {
        &self.state
    }

    fn apply(&mut self, events: &[StoredEvent<A::Event>]) {
        for event in events {
            self.state.apply(&event.read_back);
            self.sequence = self.sequence.next();
        }
    }
}

impl<A: Aggregate> Decided<A>
where
    A::Error: Debug,
{
    /// These events happened, and no others. The scenario goes on with them.
    ///
    /// # Panics
    ///
    /// With the difference, where the command came to something else, or an event cannot be stored
    /// or read back.
    #[track_caller]
    pub fn then_events(self, expected: impl IntoIterator<Item = A::Event>) -> Scenario<A> {
        let expected = text(&stored::<A>(expected));
        let Decided { mut scenario, result } = self;
        let decided = match result {
            Ok(events) => stored::<A>(events),
            Err(error) => fail::<A>(&format!(
                "the command was rejected with {error:#?}\n\nexpected:\n{expected}"
            )),
        };
        let actual = text(&decided);
        if expected != actual {
            failed::<A>("other events than expected", &expected, &actual);
        }
        scenario.apply(&decided);
        scenario
    }

    /// The command was taken, and nothing happened.
    ///
    /// # Panics
    ///
    /// As [`Decided::then_events`].
    #[track_caller]
    pub fn then_nothing(self) -> Scenario<A> {
        self.then_events([])
    }

    /// The command was rejected, with this error.
    ///
    /// # Panics
    ///
    /// With the difference, where the command was taken or the error is another one.
    #[track_caller]
    pub fn then_error(self, expected: A::Error) -> Scenario<A>
    where
        A::Error: PartialEq,
    {
        let Decided { scenario, result } = self;
        match result {
            Err(error) if error == expected => scenario,
            Err(error) => {
                let (expected, error) = (format!("{expected:#?}"), format!("{error:#?}"));
                failed::<A>("another error than expected", &expected, &error)
            }
            Ok(events) => {
                let events = text(&stored::<A>(events));
                fail::<A>(&format!(
                    "the command was not rejected with {expected:#?}\n\ndecided:\n{events}"
                ))
            }
        }
    }

    /// What the command came to, for checks of another kind.
    ///
    /// # Errors
    ///
    /// The entity's own, where it rejected the command.
    pub fn into_result(self) -> Result<Vec<A::Event>, A::Error> {
        self.result
    }
}

/// The key of the entity in every scenario: of the id `scenario`.
#[track_caller]
fn scenario_key<A: Aggregate>() -> AggregateKey {
    match AggregateKey::of_entity(A::KIND, "scenario") {
        Ok(key) => key,
        Err(error) => fail::<A>(&error.to_string()),
    }
}

/// An event in the form it is stored in, and as it is read back from that.
struct StoredEvent<E> {
    text: String,
    read_back: E,
}

#[track_caller]
fn stored<A: Aggregate>(events: impl IntoIterator<Item = A::Event>) -> Vec<StoredEvent<A::Event>> {
    let mut all = Vec::new();
    for (index, event) in events.into_iter().enumerate() {
        match through_its_stored_form(&event) {
            Ok(event) => all.push(event),
            Err(problem) => fail::<A>(&format!("event {} {problem}", index + 1)),
        }
    }
    all
}

fn through_its_stored_form<E>(event: &E) -> Result<StoredEvent<E>, String>
where
    E: Serialize + DeserializeOwned,
{
    let unfit = |error: &dyn std::fmt::Display| format!("cannot be stored: {error}");
    let (new, read_back) = encode(event).map_err(|error| match error {
        EncodeError::Unreadable { .. } | EncodeError::Changed { .. } => {
            format!("cannot be read back: {error}")
        }
        _ => unfit(&error),
    })?;
    let checked = new.check().map_err(|error| unfit(&error))?;
    let text = format!("{} {}", checked.event_type, pretty(checked.data.as_str()));
    Ok(StoredEvent { text, read_back })
}

fn text<E>(events: &[StoredEvent<E>]) -> String {
    match events {
        [] => "nothing".to_owned(),
        events => events.iter().map(|event| event.text.as_str()).collect::<Vec<_>>().join("\n"),
    }
}

#[track_caller]
fn state_text<A: Aggregate>(state: &A) -> String {
    match serde_json::to_string(state) {
        Ok(json) => pretty(&json),
        Err(error) => fail::<A>(&format!("the state cannot be written as JSON: {error}")),
    }
}

#[track_caller]
fn failed<A: Aggregate>(what: &str, expected: &str, actual: &str) -> ! {
    fail::<A>(&format!("{what} (- expected, + actual)\n\n{}", diff(expected, actual)))
}

#[allow(clippy::panic, reason = "to panic is how a test fails")]
#[track_caller]
fn fail<A: Aggregate>(message: &str) -> ! {
    panic!("{}: {message}", A::KIND)
}
