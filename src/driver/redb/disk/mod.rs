//! The disk: the directory and its lock, and file access that tests can replace.
//!
//! - `directory`: made, locked and named; `files`: file access behind a trait
//! - `locked_disk`: files are touched only while the lock is held
//! - `redb_file`: redb's file, whose writes are sorted; `reserve`: space for redb's next
//!   transaction
//! - `system_pages`: redb's own pages, checked on opening
//! - `sync_gate`: after a failed flush, no flush of the same thing succeeds

pub(in crate::driver::redb) mod directory;
pub(in crate::driver::redb) mod files;
pub(in crate::driver::redb) mod locked_disk;
pub(in crate::driver::redb) mod redb_file;
pub(in crate::driver::redb) mod reserve;
pub(in crate::driver::redb) mod sync_gate;
pub(in crate::driver::redb) mod system_pages;
