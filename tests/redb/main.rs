//! The redb driver: its journal, its cache, its file formats, and what it says of damage. One
//! module per behaviour. Disks are simulated, except where a module says otherwise.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr
)]

#[path = "../support/mod.rs"]
mod support;

mod a_failed_flush_is_never_forgotten;
mod a_flush_that_hangs_holds_up_nobody;
mod a_moved_directory_is_noticed;
mod a_transaction_fits_its_reserve;
mod checkpoints_survive_power_loss;
mod closing_waits_for_readers;
mod compacting_gives_back_space;
mod damaged_pages_are_answered_at_once;
mod every_value_has_a_checksum;
mod journal_files_are_recycled_last;
mod nothing_of_value_is_deleted;
mod pages_are_of_tail_and_redb_as_one;
mod redb_failed_flush;
mod redb_full_disk;
mod redb_journal_files_are_kept;
mod redb_names_damage;
mod redb_opens_older_stores;
mod redb_opens_stores_with_checkpoints;
mod redb_reads_the_same_from_its_cache;
mod redb_survives_power_loss;
mod redb_verify_and_reindex;
mod stale_frames_are_not_replayed;
mod stats_tell_of_the_files;
mod the_index_is_merged_in_slices;
