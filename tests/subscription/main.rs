//! Subscriptions, consumers and what is built on them. One module per behaviour.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "../support/mod.rs"]
mod support;

mod commands_wait_for_consumers;
mod consumers_are_operated;
mod consumers_classify_errors;
mod consumers_handle_keys_at_once;
mod consumers_keep_checkpoints;
mod consumers_keep_what_was_handled;
mod consumers_park_what_fails;
mod projections_count_once;
mod publisher_resumes;
mod reactions_happen_once;
mod records_of_a_later_version_are_refused;
mod subscribers_see_every_position_once;
mod subscription_pushes_to_actors;
