//! The floor between the application and the drivers: one mailbox per aggregate.
//!
//! ```text
//! caller ─▶ Mailroom::append ── stale? refused here, in the caller's thread  mailroom.rs
//!              │ lease on the slot, permit of the aggregate, bytes           registry, admission
//!              ├─ idle? the caller's turn ─────────────────┐                 turn.rs
//!              ▼ mail, into the slot's inbox               │                 slot/
//!           AggregateActor ── queues; while no put is in flight:             actor.rs
//!              │ decides all waiting mail, in order, ◀─────┘ into one put    decide.rs
//!              ▼
//!           settle ── sends the put until its fate is known,                 settle, resend
//!                     then answers every caller in it
//! ```
//!
//! # What must stay true
//!
//! - A slot's latest sequence is a lower bound of what is durable. It may refuse an append but
//!   never accept one: the driver's uniqueness of (key, sequence) has the last word.
//! - At most one put per aggregate is in flight. The slot's [`PutPermit`](slot::PutPermit) is the
//!   right to have one, and it outlives the actor. It is held for a whole turn, whoever takes it.
//! - No answer leaves that rests on an event which is not durable.
//! - Every mail is answered exactly once: by what settles it, or by its own drop.
//!
//! # Layout
//!
//! - `mailroom`: the caller's side
//! - `shared`: what all slots share: driver, options, limits
//! - `admission`: the door of the whole store: bytes in flight, closing
//! - `line`, `seat_line`: mail that waits for bytes or a permit, and for a seat
//! - `registry`, `seats`, `conflict_cache`: key → slot; how many aggregates are resident; refusals
//!   without a lock
//! - `recency`: the resident aggregates in the order of their last use
//! - `resident_states`: how many bytes the states of entities may have
//! - `slot`: one resident aggregate: state, lease, mail, arrival, inbox, put permit, batch
//! - `turn`, `actor`, `driver_question`: a turn, and who takes it; the actor, and what it asks the
//!   driver
//! - `decide`, `repetition`, `commit_window`: which mail goes into the next put; repeated commit
//!   ids
//! - `entity_state`, `load`, `time_slice`: boxed states and commands of entities; loading a state;
//!   giving way meanwhile
//! - `snapshot_saver`: snapshots of a state, saved in the background
//! - `settle`, `resend`, `fairness`: a put on its way to its answer; pauses for other stores
//! - `figures`: what is counted
//! - `arbiters`, `supervisor`, `runtime`: threads, passivation, opening and closing

mod actor;
mod admission;
mod arbiters;
mod commit_window;
mod conflict_cache;
mod consumers;
mod decide;
mod driver_question;
mod entity_state;
mod fairness;
mod figures;
mod line;
mod load;
#[allow(clippy::module_inception, reason = "the type and its floor share their name")]
mod mailroom;
#[cfg(all(test, seriatim_models))]
mod models;
mod recency;
mod registry;
mod repetition;
mod resend;
mod resident_states;
mod runtime;
mod seat_line;
mod seats;
mod settle;
mod shared;
mod slot;
mod snapshot_saver;
mod supervisor;
mod time_slice;
mod turn;

pub(crate) use admission::Wait;
pub(crate) use consumers::RunningConsumer;
pub(crate) use entity_state::{BoxedCommand, BoxedState, CommandAnswer, Decision, EntityState};
pub(crate) use load::{EntityHistory, load};
pub(crate) use mailroom::Mailroom;
pub(crate) use runtime::{OpenDriver, Runtime};
pub(crate) use shared::{Clock, Config};
pub(crate) use slot::DecideEvents;
