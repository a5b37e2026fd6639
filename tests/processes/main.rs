//! Tests that run programs and kill some of them: examples, and this binary again with a variable
//! that makes one ignored or empty test the child. One module per behaviour.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr
)]

#[path = "../support/mod.rs"]
mod support;

#[cfg(unix)]
mod backup_survives_sigkill;
mod bad_directories_are_refused;
mod bank_actors_survives_kill;
#[cfg(unix)]
mod consumers_survive_sigkill;
mod crash_cycles_find_nothing;
#[cfg(unix)]
mod git_history_imports_odd_repositories;
mod guide_begins_with_a_program_that_runs;
mod publish_ndjson_survives_kill;
#[cfg(unix)]
mod redb_survives_sigkill;
mod rot_in_redbs_file_never_aborts;
mod sigkill_loses_nothing_answered;
mod simulated_histories_are_sound;
