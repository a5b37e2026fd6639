//! Why a command or a transaction did not succeed.

use std::fmt;

use uuid::Uuid;

use crate::append::Appended;
use crate::error::{AppendError, LoadError, WaitError};
use crate::event::AggregateKey;

/// Why a command was not executed. Only [`AppendError::Indeterminate`] leaves open whether it was;
/// after [`ExecuteError::NotHandled`] it was.
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
/// use seriatim::ExecuteError;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = EventStore::open("memory:").await?;
/// let tallies = store.entities::<Tally>();
/// match tallies.execute("visitors", ()).await {
///     Ok(executed) => assert_eq!(executed.sequence, 1),
///     Err(ExecuteError::Rejected(reason)) => println!("no: {reason}"),
///     Err(error) if error.is_retryable() => println!("later: {error}"),
///     Err(error) => return Err(error.into()),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ExecuteError<E> {
    /// The entity rejected the command. Nothing was written; the state it was decided on is
    /// durable.
    Rejected(E),
    /// The command's events could not be appended.
    Append(AppendError),
    /// The entity's state could not be loaded; nothing was written.
    Load(LoadError),
    /// `handle` or `apply` panicked on this command; nothing was written, and the state is folded
    /// again.
    Panicked {
        /// The entity.
        key: AggregateKey,
    },
    /// The command is executed and its events are durable, but the consumer that
    /// [`ExecuteOptions::wait_for`](crate::ExecuteOptions::wait_for) names has not handled them
    /// yet. Do not send the command again; tell the user that the view is behind.
    NotHandled {
        /// Where the events stand.
        appended: Appended,
        /// Why the wait ended.
        source: WaitError,
    },
}

impl<E> ExecuteError<E> {
    /// Whether it was rejected by the entity.
    pub fn is_rejected(&self) -> bool {
        matches!(self, ExecuteError::Rejected(_))
    }

    /// Whether the command's expectation was wrong. A command without one never conflicts: it is
    /// decided again when other writers came first.
    pub fn is_conflict(&self) -> bool {
        matches!(self, ExecuteError::Append(error) if error.is_conflict())
    }

    /// Whether the same command may succeed later. After [`AppendError::Indeterminate`] it must
    /// carry the commit id named there.
    pub fn is_retryable(&self) -> bool {
        match self {
            ExecuteError::Append(error) => error.is_retryable(),
            ExecuteError::Load(error) => error.is_retryable(),
            ExecuteError::Rejected(_)
            | ExecuteError::Panicked { .. }
            | ExecuteError::NotHandled { .. } => false,
        }
    }
}

impl<E: fmt::Display> fmt::Display for ExecuteError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExecuteError::Rejected(error) => write!(f, "rejected: {error}"),
            ExecuteError::Append(error) => error.fmt(f),
            ExecuteError::Load(error) => error.fmt(f),
            ExecuteError::Panicked { key } => write!(f, "{key}: deciding the command panicked"),
            ExecuteError::NotHandled { appended, .. } => {
                write!(
                    f,
                    "the events are durable up to sequence {}, but a consumer has not handled them",
                    appended.last
                )
            }
        }
    }
}

/// A rejection is part of the text and no source, so that it may be any type with a text.
impl<E: fmt::Debug + fmt::Display> std::error::Error for ExecuteError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ExecuteError::Append(error) => Some(error),
            ExecuteError::Load(error) => Some(error),
            ExecuteError::NotHandled { source, .. } => Some(source),
            ExecuteError::Rejected(_) | ExecuteError::Panicked { .. } => None,
        }
    }
}

/// Why a transaction on an entity did not succeed.
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
/// use seriatim::TransactError;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = EventStore::open("memory:").await?;
/// let tally = store.entities::<Tally>().entity("visitors");
/// match tally.transact(async |_| Err::<Vec<Event>, _>("closed today")).await {
///     Err(TransactError::Rejected(reason)) => assert_eq!(reason, "closed today"),
///     Err(error) if error.is_retryable() => println!("later: {error}"),
///     answer => drop(answer?),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TransactError<E> {
    /// The decision was to reject. Nothing was written.
    Rejected(E),
    /// Other writers came first in every attempt. Nothing was written. Retry later, or use a
    /// command.
    TooManyConflicts {
        /// The entity.
        key: AggregateKey,
        /// The number of attempts.
        attempts: u32,
    },
    /// The events could not be appended. After [`AppendError::Indeterminate`] they may be written
    /// yet: repeat the transaction with this commit id
    /// ([`TransactOptions::commit_id`](crate::TransactOptions::commit_id)), or it may take effect
    /// twice.
    Append {
        /// The error of the append.
        source: AppendError,
        /// The commit id of the append.
        commit_id: Uuid,
        /// Whether the caller chose it, with
        /// [`TransactOptions::commit_id`](crate::TransactOptions::commit_id).
        is_own_commit_id: bool,
    },
    /// The entity's state could not be loaded; nothing was written.
    Load(LoadError),
}

impl<E> TransactError<E> {
    /// Whether other writers came first.
    pub fn is_conflict(&self) -> bool {
        matches!(self, TransactError::TooManyConflicts { .. })
    }

    /// Whether the same call may succeed later, and takes effect once if it does. After
    /// [`AppendError::Indeterminate`] that needs a commit id of the caller's own.
    pub fn is_retryable(&self) -> bool {
        match self {
            TransactError::TooManyConflicts { .. } => true,
            TransactError::Append {
                source: AppendError::Indeterminate { .. },
                is_own_commit_id,
                ..
            } => *is_own_commit_id,
            TransactError::Append { source, .. } => source.is_retryable(),
            TransactError::Load(error) => error.is_retryable(),
            TransactError::Rejected(_) => false,
        }
    }
}

impl<E: fmt::Display> fmt::Display for TransactError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransactError::Rejected(error) => write!(f, "rejected: {error}"),
            TransactError::TooManyConflicts { key, attempts } => {
                write!(f, "{key}: other writers came first {attempts} times")
            }
            TransactError::Append { source, .. } => source.fmt(f),
            TransactError::Load(error) => error.fmt(f),
        }
    }
}

/// A rejection is part of the text and no source, so that it may be any type with a text.
impl<E: fmt::Debug + fmt::Display> std::error::Error for TransactError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TransactError::Append { source, .. } => Some(source),
            TransactError::Load(error) => Some(error),
            TransactError::Rejected(_) | TransactError::TooManyConflicts { .. } => None,
        }
    }
}
