//! For tests: entities by given-when-then, stores and drivers that fail on demand, and the suite
//! that proves a driver.
//!
//! - [`Scenario`] needs no store and no runtime. It folds events into a state, lets the state
//!   decide on commands, and panics with a readable difference where the outcome is not the
//!   expected one. Every event passes through its stored form on the way, so an event that cannot
//!   be stored, or not be read back, fails the scenario too.
//! - [`event`] and [`raw_event`] make stored events up, for tests of handlers. [`upcast`] shows
//!   what a builder's upcasters make of one.
//! - [`ProjectionScenario`] hands events to a projection as a consumer does.
//! - [`ReactionScenario`] compares what events cause.
//! - [`ManualClock`] is a clock that a test moves.
//! - [`FailingStore`] is a store in memory whose next append or checkpoint fails as the test says.
//! - [`faulty_driver`] plans faults for any driver, call by call; for tests of a store.
//! - `conformance` (feature `conformance`) proves a driver.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod diff;
mod events;
mod failing_store;
pub mod faulty_driver;
mod faulty_log;
mod manual_clock;
mod projection_scenario;
mod reaction_scenario;
mod scenario;

pub use events::{event, raw_event, upcast};
pub use failing_store::{FailingStore, Failure};
pub use manual_clock::ManualClock;
pub use projection_scenario::ProjectionScenario;
pub use reaction_scenario::ReactionScenario;
pub use scenario::{Decided, Scenario};
