//! Reading: the tail first, then redb as of its last commit.
//!
//! - `history`: the events of one aggregate; `history_page`: a page of them on its way out of the
//!   log
//! - `listing`: the log by position, and the keys
//! - `committed_view`: redb as of one commit; `unmerged_index`: the part of the index that is in no
//!   block yet; `segment_cache`: segments that were read lately

pub(in crate::driver::redb) mod committed_view;
pub(in crate::driver::redb) mod history;
pub(in crate::driver::redb) mod history_page;
pub(in crate::driver::redb) mod listing;
pub(in crate::driver::redb) mod segment_cache;
pub(in crate::driver::redb) mod unmerged_index;
