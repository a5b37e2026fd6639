//! The log and its readers: subscriptions, consumers, projections, reactions, publishers.
//!
//! ```text
//! driver's log ─▶ LogRead             read once, up to the end                    log.rs
//!        └──────▶ Feed                what exists, then what follows              feed.rs
//!                  ├─▶ Subscription   as a stream                                 subscription.rs
//!                  └─▶ Worker         named, with a checkpoint in the store       worker.rs
//!                       └─▶ Handler   closure · Projection · Publisher · Reaction handler.rs
//! ```
//!
//! | files | role |
//! |---|---|
//! | `consumer`, `options`, `plan` | the builder, its options, and the result of building |
//! | `run`, `worker`, `park` | the future, its loop, and how failed events are parked |
//! | `concurrent_consumer`, `concurrent`, `lanes` | several events at once: builder, loop, order |
//! | `reaction`, `reaction_handler`, `earlier_commits` | what events cause, done exactly once |
//! | `handler`, `typed` | what events are handed to: closures, projections, publishers |
//! | `progress`, `handle` | what the loop shares with its handles, and the handles |
//! | `checkpoint`, `checkpoint_saver` | the stored records, and when they are written |
//! | `supervise` | runs a consumer again after it failed |
//! | `directory` | the list of consumers, and their deletion |
//!
//! What must stay true:
//!
//! - An event is shown when it is as durable as an answered append, and never taken back.
//! - Everything is pulled by position. No reader holds up a writer, and no queue grows.
//! - A checkpoint never passes an event that was neither handled nor recorded as parked, however
//!   many are handled at once.
//! - A reaction's commit id is a function of its consumer, event, target and number only.
//!
//! Log reads do not pass the [middleware](crate::middleware), whose reads are of one aggregate.

mod checkpoint;
mod checkpoint_saver;
mod concurrent;
mod concurrent_consumer;
mod consumer;
mod directory;
mod earlier_commits;
mod error;
mod feed;
mod filter;
#[cfg(test)]
mod fuzz;
mod handle;
mod handler;
mod lanes;
mod log;
mod options;
mod park;
mod plan;
mod progress;
mod projection;
mod publisher;
mod reaction;
mod reaction_handler;
mod run;
#[expect(clippy::module_inception, reason = "the file is named after its one type")]
mod subscription;
mod supervise;
mod typed;
mod worker;

pub use crate::error::WaitError;
pub use checkpoint::Parked;
pub use concurrent_consumer::ConcurrentConsumer;
pub use consumer::Consumer;
pub use directory::ConsumerStatus;
pub use error::ConsumerError;
pub use handle::ConsumerHandle;
pub use log::{Log, LogRead};
#[cfg(feature = "backup")]
pub(crate) use log::{last_position, log_of};
pub use options::{ErrorAction, FailedEvent, OnFailure};
pub use progress::Retried;
pub use projection::Projection;
pub use publisher::Publisher;
pub use reaction::{IntoReactions, OnRejected, Reaction, Rejection};
pub use run::Run;
pub use subscription::Subscription;
pub use typed::TypedEvent;
