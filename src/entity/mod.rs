//! Entities: aggregates with a Rust type, whose commands are decided inside the mailbox.
//!
//! The actor that owns an aggregate's mailbox also holds the entity's state. A command is sent to it,
//! decided there when a put is formed, on a state that includes the put's earlier commands, and its events
//! join that put. So commands on a busy entity do not conflict: they queue, and commit together.
//!
//! ```text
//! Entities::execute ─▶ mailbox ─▶ handle(&state, &command) ─▶ events ─▶ the put ─▶ committed ─▶ answer
//!                                   └─ rejected: the answer waits for the put it rests on
//! ```
//!
//! If the put conflicts, because another process wrote, the state catches up from the driver and the
//! commands are decided again; so [`Aggregate::handle`] must be pure. For decisions that have to await
//! something there is [`Entities::transact`].

mod codec;
mod command;
mod entities;
mod error;
mod handle;
mod state;
mod transact;

pub use codec::EncodeError;
pub(crate) use codec::{decode, encode};
pub use entities::{Entities, Executed, Loaded};
pub use error::{ExecuteError, TransactError};
pub use handle::Entity;
pub use state::Snapshots;
pub use transact::TransactOptions;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// An entity's type: its state, its commands, its events.
///
/// The state begins as `Self::default()`, and is the fold of all its events. Events are a plain serde
/// enum; what is stored of one is its variant's name as the event's type and its content as data. That name
/// is the one serde sees: `#[serde(rename = "…")]` keeps it when the variant is renamed.
///
/// ```
/// use seriatim::{Aggregate, EventStore};
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
///
///     fn handle(&self, command: &Command) -> Result<Vec<Event>, Overdrawn> {
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
    /// The kind, which is the category of its keys: `{KIND}/{id}`. No `/`, and never changed once there
    /// are events.
    const KIND: &'static str;

    /// The version of the state's form. Raise it when snapshots taken before can no longer be read as
    /// what the state is now; they are then ignored.
    const SNAPSHOT_VERSION: u32 = 1;

    /// What can be asked of it.
    type Command: Send + 'static;

    /// What can have happened to it.
    type Event: Serialize + DeserializeOwned + Send + 'static;

    /// Why a command is rejected.
    type Error: Send + 'static;

    /// Decides what happens on a command: nothing, one event or more; or rejects it.
    ///
    /// Pure: it may be called more than once for one command, on different states.
    ///
    /// # Errors
    ///
    /// The domain's own; nothing is written then.
    fn handle(&self, command: &Self::Command) -> Result<Vec<Self::Event>, Self::Error>;

    /// Takes in what has happened. It cannot refuse.
    fn apply(&mut self, event: &Self::Event);
}
