//! The disk: the directory and its lock, and file access that tests can replace.
//!
//! - `directory`: made, locked and named; `files`: file access behind a trait
//! - `redb_file`: redb's file, whose writes are sorted; `reserve`: space for redb's next
//!   transaction

pub(in crate::driver::redb) mod directory;
pub(in crate::driver::redb) mod files;
pub(in crate::driver::redb) mod redb_file;
pub(in crate::driver::redb) mod reserve;
