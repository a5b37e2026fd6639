//! The store that callers hold: its reads, its log, middleware, actors, and runtimes that come and
//! go. One module per behaviour.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "../support/mod.rs"]
mod support;

mod actor_takes_a_bounded_number_of_messages;
mod actors_face;
mod backups_are_checked;
mod backups_come_back_the_same;
mod backups_do_not_stop_writers;
mod clock_jumps_are_noticed;
mod event_json_form;
mod log_reads;
mod metadata_has_one_value_per_key;
mod middleware;
mod reads;
mod spans_have_opentelemetrys_names;

mod stats_tell_what_happened;
mod store_outlives_runtimes;
