//! Drivers of remote engines, on running engines: `scripts/engines start` prints where they are.
//! Every test runs on every engine, and is ignored where an engine is not there. One module per
//! behaviour.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]
#![allow(unreachable_pub, reason = "a module of a test binary")]

#[path = "../support/mod.rs"]
mod support;

mod engine_conformance;
mod engine_faults_on_the_wire;
mod engine_largest_put;
mod engine_load_through_faults;
mod engine_long_history;
mod engine_opening;
mod engine_round_trips;
mod engine_snapshots;
mod engine_two_processes_race;
mod engine_two_stores_race;

use support::engines;

fn main() {
    if let Ok(url) = std::env::var(engine_two_processes_race::ROLE) {
        return engine_two_processes_race::child(&url);
    }
    engines::run(&[
        ("is_conformant", engine_conformance::is_conformant),
        ("nothing_is_lost_or_doubled", engine_faults_on_the_wire::nothing_is_lost_or_doubled),
        ("a_slow_wire_changes_no_answer", engine_faults_on_the_wire::a_slow_wire_changes_no_answer),
        ("takes_its_largest_put", engine_largest_put::takes_its_largest_put),
        ("nothing_is_found_wrong", engine_load_through_faults::nothing_is_found_wrong),
        ("reads_a_long_history", engine_long_history::reads_a_long_history),
        (
            "an_opening_that_stalls_ends_at_its_timeout",
            engine_opening::an_opening_that_stalls_ends_at_its_timeout,
        ),
        (
            "a_datacentre_that_is_not_there_is_refused",
            engine_opening::a_datacentre_that_is_not_there_is_refused,
        ),
        ("snapshots_stand_beside_the_events", engine_snapshots::they_stand_beside_the_events),
        (
            "a_long_history_loads_from_its_snapshot",
            engine_snapshots::a_long_history_loads_from_its_snapshot,
        ),
        ("round_trips", engine_round_trips::round_trips),
        ("two_processes_race", engine_two_processes_race::two_processes_race),
        ("two_stores_race", engine_two_stores_race::two_stores_race),
    ]);
}
