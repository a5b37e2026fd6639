//! For an application's own tests: entities by given-when-then, and a store that fails on demand.
//!
//! A [`Scenario`] needs no store and no runtime. It folds events into a state, lets it decide on commands,
//! and panics with a readable difference where that comes out otherwise than expected. Every event
//! passes through its stored form on the way, so that one that cannot be stored, or not be read back,
//! fails the scenario too.
//!
//! A [`FailingStore`] is a store in memory whose next append fails as the test says.

mod diff;
mod failing_store;
mod scenario;

pub use failing_store::{FailingStore, Failure};
pub use scenario::{Decided, Scenario};
