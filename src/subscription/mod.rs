//! The log, and what lives on it: subscriptions, consumers, projections, reactions, publishers.
//!
//! ```text
//! driver's log ─▶ LogRead        once, from somewhere to the end                      log.rs
//!        └──────▶ Feed           what is there, then what comes                       feed.rs
//!                  ├─▶ Subscription   as a stream                                     subscribe.rs
//!                  └─▶ Run            named, with a checkpoint in the store           consumer.rs · run.rs
//!                       │    park.rs: what failed, put aside
//!                       └─▶ handler · Projection · Publisher · Reaction               deliver.rs …
//! ```
//!
//! What must stay true:
//!
//! - An event is shown when it is as durable as an answered append, and never taken back.
//! - Everything is pulled, by position. No reader holds up a writer, and none has a queue that grows.
//! - A checkpoint never passes an event that was not handled, or recorded as parked.
//! - A reaction's commit id is a function of its consumer, event and target, and of nothing else.
//!
//! Log reads do not pass the [middleware](crate::middleware), whose fetches are of one aggregate.

mod checkpoint;
mod consumer;
mod deliver;
mod error;
mod feed;
mod filter;
mod handle;
mod log;
mod park;
mod projection;
mod publish;
mod reaction;
mod run;
mod saving;
mod subscribe;

pub use checkpoint::Parked;
pub use consumer::{Consumer, OnFailure};
pub use error::{ConsumerError, WaitError};
pub use handle::{ConsumerHandle, Retried};
pub use log::{Log, LogRead};
pub use projection::Projection;
pub use publish::Publisher;
pub use reaction::{IntoReactions, OnRejected, Reaction, Rejection};
pub use run::Run;
pub use subscribe::Subscription;
