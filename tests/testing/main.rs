//! What tests rely on: the public conformance suite, the testing module, and the TCP proxy of the
//! engine tests. One module per behaviour.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "../support/mod.rs"]
mod support;

mod conformance_callbacks;
mod conformance_catches_mutants;
mod conformance_memory;
mod conformance_redb;
mod proxy_does_what_it_says;
mod testing_failing_store;
mod testing_reactions;
mod testing_scenarios;
mod testing_without_a_store;
