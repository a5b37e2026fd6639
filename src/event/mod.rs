//! Events, before and after they are stored.
//!
//! A caller describes what happened as a [`NewEvent`]. On append the store gives it a [`Sequence`]
//! within its aggregate and the commit id of its append. From then on it is a [`KeyedEvent`]: the
//! four fields `key, sequence, type, data`, and what belongs to them.
//!
//! Data is [`RawJson`]: it is checked once, on append, it keeps its text, and it is parsed only
//! when [`KeyedEvent::json`] is called.

mod checked;
mod codec;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
pub(crate) mod fuzzing;
mod key;
mod keyed_event;
mod new_event;
mod raw_json;
mod record;
mod sequence;
mod timestamp;

#[cfg(any(test, feature = "conformance"))]
pub(crate) use checked::CheckedEvent;
pub(crate) use checked::CheckedEvents;
pub use codec::{DecodeError, EncodeError};
pub(crate) use codec::{encode, is_same_json, to_strict_json, variant_names};
pub use key::{AggregateKey, KeyError};
pub use keyed_event::KeyedEvent;
pub use new_event::{EventError, MAX_EVENT_TYPE_BYTES, NewEvent};
pub use raw_json::{RawJson, RawJsonError};
pub use record::RecordError;
pub use sequence::{Position, Sequence};
pub use timestamp::{Timestamp, TimestampError};
