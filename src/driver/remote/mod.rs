//! What the drivers of remote engines share.
//!
//! A call passes through here in this order: the URL is read ([`url`]), a [`SharedConnection`] says
//! whether the driver is still open, a [`RetryPolicy`] runs the call until its deadline, and a
//! [`CallKind`] with a [`FailureKind`] decides what a failure means for the caller. Events come
//! back through [`paged_events`], one page of the engine at a time.
//!
//! Three rules hold for every driver:
//!
//! - What surely was not written and may succeed later ([`DriverError::Unavailable`]) is tried
//!   again here, with jittered backoff, until the driver's deadline.
//! - What may have been written ([`DriverError::Unknown`]) is not tried again here: the mailroom
//!   sends the same put again.
//! - A put over a limit is refused before anything is sent.

// Each driver uses a part; a build with only some drivers leaves the rest unused.
#![cfg_attr(not(feature = "all-drivers"), allow(dead_code, unused_imports))]

mod call;
mod connection;
mod pages;
mod retry;
mod snapshot;
mod url;

#[cfg(doc)]
use crate::error::DriverError;

pub(crate) use call::{CallKind, FailureKind, late};
pub(crate) use connection::SharedConnection;
pub(crate) use pages::{engine_key_pages, paged_events};
pub(crate) use retry::RetryPolicy;
pub(crate) use snapshot::check_snapshot_size;
pub(crate) use url::{RemoteUrl, check_endpoint, shown_endpoint};
