//! Entities: commands, replay, snapshots, upcasting and transactions. One module per behaviour.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "../support/mod.rs"]
mod support;

mod a_long_load_gives_way;
mod command_bytes_are_in_flight;
mod entity_answers_rest_on_durable_events;
mod entity_commands_and_appends_agree;
mod entity_decisions_have_a_context;
mod entity_events_read_back_equal;
mod entity_failed_put_makes_no_answer_untrue;
mod entity_idempotent_commands;
mod entity_keys_are_checked;
mod entity_loads_that_fail;
mod entity_options_belong_to_the_type;
mod entity_panics_answer_their_caller;
mod entity_reads_are_counted;
mod entity_rejections_write_nothing;
mod entity_snapshots_fall_back;
mod entity_stored_form;
mod entity_survives_reopening;
mod entity_time_travel;
mod entity_transact;
mod entity_transact_takes_effect_once;
mod entity_two_stores_lose_nothing;
mod entity_unknown_types;
mod entity_upcasting;
mod entity_wrong_kind;
mod resident_state_equals_the_stored;
mod resident_states_are_bounded;
mod snapshots_are_saved_in_order;
mod upcasters_belong_to_a_kind;
