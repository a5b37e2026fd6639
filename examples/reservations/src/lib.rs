//! Seats of shows, reserved over HTTP.
//!
//! ```text
//! POST /shows/{id}           {"reserve":{"name":"Ada","seats":2}}, with an Idempotency-Key
//! GET  /shows/{id}           the show now; ?at=SEQUENCE as it was then
//! GET  /shows/{id}/history   what happened; ?from=SEQUENCE&limit=EVENTS
//! ```
//!
//! [`show`] is the domain, [`http`] what stands around it. A `POST` becomes a command, executed in the
//! show's mailbox; its `Idempotency-Key` becomes the commit id, so that a client that got no answer
//! sends the same again, to this process or the next one, and gets the first answer.

mod http;
pub mod show;

pub use http::serve;
