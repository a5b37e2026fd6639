//! The inspector's answers over HTTP, from outside.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod aggregates_are_found;
mod everything_is_bounded;
mod figures_are_told;
mod histories_tell_changes;
mod hostile_content_is_text;
mod only_who_may_asks;
mod parked_events_are_listed;
mod the_log_moves;
