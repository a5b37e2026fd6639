//! An event enum as event type and data, and back.
//!
//! The variant's name is the event's type; the variant's content is the event's data. Two of
//! serde's forms keep the two apart, and both are taken:
//!
//! | form | variant | type | data |
//! |---|---|---|---|
//! | default (external) | `Deposited { amount: 5 }` | `Deposited` | `{"amount":5}` |
//! | adjacent: `#[serde(tag = "t", content = "c")]` | the same | `Deposited` | `{"amount":5}` |
//! | either | `Closed` | `Closed` | `null` |
//!
//! Names are those that serde sees: `#[serde(rename = "…")]` keeps a name stable when the variant
//! is renamed.
//!
//! What must stay true: an event that is encoded reads back as an equal value. Three steps see to
//! it.
//!
//! 1. `encode` is a serde `Serializer` that takes enum variants only, so an event without a name of
//!    its own cannot be written.
//! 2. `strict` writes the content, and refuses what JSON cannot hold or cannot tell apart: floats
//!    that are not finite, and an `Option` whose value looks like `None`.
//! 3. `read_back` decodes what was written and encodes it again. Only an event that survives is
//!    stored.

mod decode;
mod encode;
mod read_back;
mod strict;
mod variants;

pub use decode::DecodeError;

pub use encode::EncodeError;
pub(crate) use read_back::encode;
pub(crate) use read_back::is_same_json;
pub(crate) use strict::to_strict_json;
pub(crate) use variants::variant_names;
