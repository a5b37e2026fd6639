//! A door: how another process of this machine reads a store that is open.
//!
//! A redb store has one owner. `EventStore::builder().serve_local()` makes the owner listen on a
//! Unix socket in the store's directory, and [`DoorDriver`] is a driver over it: whatever reads a
//! store through a driver reads one that is open elsewhere, unchanged. Nothing is written through a
//! door.
//!
//! ```text
//! DoorDriver ── frame: length, JSON ──▶ DIRECTORY/door ─▶ a thread per connection ─▶ RedbDriver
//!     ▲                                                            │
//!     └───────────────────── frame: length, JSON ──────────────────┘
//! ```
//!
//! # What must stay true
//!
//! - Only the user who owns the store can connect: the socket has the mode 0600 before it has its
//!   name.
//! - Whoever holds the directory's lock owns the name of the socket. One that a killed process left
//!   is replaced.
//! - What comes in is bounded: frames, connections, and the time that a frame takes. A peer that
//!   stops reading holds up the thread of its own connection, and only until its deadline.
//! - Closing the store ends all connections and removes the socket, before the driver closes.
//!
//! # Layout
//!
//! - `protocol`: requests and answers, their version and their limits
//! - `frames`: a connection that sends and takes frames; the socket's path
//! - `server`: the owner's side; `client`: [`DoorDriver`]

mod client;
mod frames;
mod protocol;
mod server;

pub use client::DoorDriver;
pub use protocol::{MAX_CONNECTIONS, PROTOCOL};
pub(crate) use server::Door;
