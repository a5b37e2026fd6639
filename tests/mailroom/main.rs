//! The mailbox of an aggregate: appends, their answers, permits, passivation and closing. One
//! module per behaviour.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "../support/mod.rs"]
mod support;

mod a_callers_turn_keeps_its_aggregate_resident;
mod a_callers_turn_overtakes_nobody;
mod a_conflict_is_judged_append_by_append;
mod a_conflict_reads_only_what_is_new;
mod a_dropped_callers_turn_is_whole;
mod a_failed_callers_turn_gives_the_permit_back;
mod a_failed_question_fails_who_needs_it;
mod a_race_with_the_check_is_seen;
mod actor_panics_lose_nothing;
mod an_append_is_decided_on_the_latest_sequence;
mod an_idle_mailbox_is_served_by_its_caller;
mod answers_wait_for_the_put_they_rest_on;
mod bad_input_changes_nothing;
mod busy_mailbox_does_not_starve_a_put;
mod callers_race_for_an_idle_mailbox;
mod close_drains;
mod closing_answers_everybody_who_waits;
mod closing_waits_for_a_callers_turn;
mod dropped_futures;
mod every_put_is_answered;
mod hanging_driver;
mod idempotent_append;
mod late_put_is_never_doubled;
mod least_recently_used_leave_first;
mod model;
mod one_bad_append_spares_its_neighbours;
mod panics_of_user_code_harm_their_caller;
mod passivation_under_load;
mod permits_bound_the_mailbox;
mod racing_writers_see_a_legal_order;
mod recorded_at_never_decreases;
mod refused_writers_keep_no_aggregate;
mod stale_appends_make_no_driver_call;
mod two_stores_take_turns;
mod unknown_stays_unknown;
mod who_waits_is_served_unpolled;
