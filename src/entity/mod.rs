//! Entities: aggregates with a Rust type, whose commands are decided inside the mailbox.
//!
//! The actor that owns an aggregate's mailbox also holds the entity's state. It decides a command
//! when it forms a put, on a state that includes the put's earlier commands, and the command's
//! events join that put. So commands on a busy entity do not conflict: they queue, and commit
//! together.
//!
//! ```text
//! Entities::execute ─▶ mailbox ─▶ handle(&state, &command) ─▶ events ─▶ put ─▶ committed ─▶ answer
//!                                   └─ rejected: the answer waits for the put it depends on
//! ```
//!
//! If the put conflicts, because another process wrote, the state catches up from the driver and
//! the commands are decided again. So [`Aggregate::handle`] must be pure. A decision that must
//! await something uses [`Entities::transact`].

mod command;
mod context;
mod entities;
mod error;
mod executed;
#[cfg(test)]
mod fuzz;
mod handle;
mod options;
mod pauses;
mod resident_bytes;
mod setup;
mod state;
mod transact;

pub use context::Context;
pub use entities::Entities;
pub use error::{ExecuteError, TransactError};
pub use executed::{Executed, Loaded};
pub use handle::Entity;
pub use options::{EntityOptions, Snapshots};
pub use transact::TransactOptions;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The type of an entity: its state, its commands, its events.
///
/// The state begins as `Self::default()`, and is the fold of all its events. The events are a serde
/// enum: the variant's name is stored as the event's type, its content as the event's data. The
/// name is the one that serde sees, so `#[serde(rename = "…")]` keeps it stable when the variant is
/// renamed.
///
/// ```
/// use seriatim::{Aggregate, Context, EventStore};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Account { balance: u64 }
///
/// enum Command { Deposit(u64), Withdraw(u64) }
///
/// #[derive(Clone, Serialize, Deserialize)]
/// enum Event { Deposited { amount: u64 }, Withdrawn { amount: u64 } }
///
/// #[derive(Debug, thiserror::Error)]
/// #[error("only {balance} is there")]
/// struct Overdrawn { balance: u64 }
///
/// impl Aggregate for Account {
///     const KIND: &'static str = "account";
///     type Command = Command;
///     type Event = Event;
///     type Error = Overdrawn;
///     type Services = ();
///
///     fn handle(
///         &self,
///         command: &Command,
///         _: &Context<'_>,
///     ) -> Result<Vec<Event>, Overdrawn> {
///         match *command {
///             Command::Deposit(amount) => Ok(vec![Event::Deposited { amount }]),
///             Command::Withdraw(amount) if amount > self.balance => {
///                 Err(Overdrawn { balance: self.balance })
///             }
///             Command::Withdraw(amount) => Ok(vec![Event::Withdrawn { amount }]),
///         }
///     }
///
///     fn apply(&mut self, event: &Event) {
///         match *event {
///             Event::Deposited { amount } => self.balance += amount,
///             Event::Withdrawn { amount } => self.balance -= amount,
///         }
///     }
/// }
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = EventStore::open("memory:").await?;
/// let accounts = store.entities::<Account>();
/// accounts.execute("1", Command::Deposit(50)).await?;
/// assert!(accounts.execute("1", Command::Withdraw(80)).await.is_err());
/// assert_eq!(accounts.state("1").await?.state.balance, 50);
/// # Ok(()) }
/// ```
pub trait Aggregate: Default + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The kind, which is the category of its keys: `{KIND}/{id}`. It has no `/`, and must not
    /// change once there are events.
    const KIND: &'static str;

    /// The version of the state's serialized form. Raise it when older snapshots do not fit the
    /// type any more; they are then ignored.
    const SNAPSHOT_VERSION: u32 = 1;

    /// When snapshots of the state are taken. [`Builder::entity`](crate::Builder::entity) overrides
    /// it.
    const SNAPSHOTS: Snapshots = Snapshots::Never;

    /// Whether events of a type that the enum does not know are skipped, instead of failing the
    /// load. [`Builder::entity`](crate::Builder::entity) overrides it.
    const SKIP_UNKNOWN_TYPES: bool = false;

    /// The commands.
    type Command: Send + 'static;

    /// The events: a serde enum.
    type Event: Serialize + DeserializeOwned + Send + 'static;

    /// Why a command is rejected.
    type Error: Send + 'static;

    /// What decisions look up beside the state, from
    /// [`Builder::services`](crate::Builder::services); `()` for nothing.
    type Services: Send + Sync + 'static;

    /// Decides a command: no event, one event or more, or a rejection.
    ///
    /// It must be pure: it may be called more than once for one command, on different states. The
    /// time and the services come from the [`Context`]. It runs on a thread of the store's actors,
    /// so it must only compute: no blocking calls, no waiting. A decision that must await something
    /// uses [`Entities::transact`].
    ///
    /// # Errors
    ///
    /// The domain's own rejection. Nothing is written then.
    fn handle(
        &self,
        command: &Self::Command,
        context: &Context<'_, Self::Services>,
    ) -> Result<Vec<Self::Event>, Self::Error>;

    /// The bytes that a command counts against
    /// [`bytes_in_flight`](crate::Builder::bytes_in_flight) until it is answered. Override it where
    /// commands carry much data.
    fn command_bytes(_command: &Self::Command) -> usize {
        1_024
    }

    /// The bytes that this state counts against
    /// [`max_resident_bytes`](crate::Builder::max_resident_bytes) while the entity is resident.
    /// Default: the size of the type and of the state's JSON. Override it where the state knows
    /// better, or to save the pass over it.
    ///
    /// It is asked after the state was loaded, and again when the bytes of the events since then
    /// are more than a quarter of it (and more than 4 KiB). In between, those are added.
    fn resident_bytes(&self) -> usize {
        resident_bytes::estimated(self)
    }

    /// Folds an event into the state. It cannot refuse.
    fn apply(&mut self, event: &Self::Event);
}
