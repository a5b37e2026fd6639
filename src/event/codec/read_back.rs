//! The proof that an event reads back as an equal value, before it is stored.

use std::any::type_name;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::decode::decode;
use super::encode::{EncodeError, Encoded, encode_variant};
use crate::event::{NewEvent, RawJson};

/// What is reserved for an event's JSON.
const USUAL_BYTES: usize = 256;

/// The event in its stored form, and the value that is read back from that.
pub(crate) fn encode<E>(event: &E) -> Result<(NewEvent, E), EncodeError>
where
    E: Serialize + DeserializeOwned,
{
    let mut written = encode_variant(event, USUAL_BYTES)?;
    let (event, variant) = (type_name::<E>(), written.name);
    let read_back: E = match decode(written.name, &written.json) {
        Ok(read_back) => read_back,
        Err(error) => {
            let (variant, written, message) =
                (variant.to_owned(), text(&written), error.to_string());
            return Err(EncodeError::Unreadable { event, variant, written, message });
        }
    };
    let again = encode_variant(&read_back, written.json.len())?;
    if !is_same(&written, &again) {
        let (written, read_back) = (text(&written), text(&again));
        let variant = variant.to_owned();
        return Err(EncodeError::Changed { event, variant, written, read_back });
    }
    // Kept as long as the event is.
    written.json.shrink_to_fit();
    match RawJson::written(written.json) {
        Ok(data) => Ok((NewEvent::from_json(written.name, data), read_back)),
        Err(error) => {
            let (variant, message) = (variant.to_owned(), error.to_string());
            Err(EncodeError::Content { event, variant, message })
        }
    }
}

impl NewEvent {
    /// An event of this Rust type, an enum: the variant's name becomes the event type, its content
    /// the data. [`KeyedEvent::decode`](crate::KeyedEvent::decode) is the way back.
    ///
    /// ```
    /// use seriatim::{Append, EventStore, NewEvent};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Debug, PartialEq, Serialize, Deserialize)]
    /// enum Light { SwitchedOn { by: String }, SwitchedOff }
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = EventStore::open("memory:").await?;
    /// let on = NewEvent::encode(&Light::SwitchedOn { by: "Ada".into() })?;
    /// store.append(Append::to("light/1").event(on)).await?;
    /// let event = store.read("light/1").collect().await?.remove(0);
    /// assert_eq!(event.event_type(), "SwitchedOn");
    /// assert_eq!(event.decode::<Light>()?, Light::SwitchedOn { by: "Ada".into() });
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`EncodeError`] when the event would not read back as an equal value.
    pub fn encode<E: Serialize + DeserializeOwned>(event: &E) -> Result<Self, EncodeError> {
        encode(event).map(|(stored, _)| stored)
    }
}

fn text(encoded: &Encoded) -> String {
    format!("{} {}", encoded.name, String::from_utf8_lossy(&encoded.json))
}

fn is_same(one: &Encoded, other: &Encoded) -> bool {
    one.index == other.index
        && one.name == other.name
        && (one.json == other.json || is_same_json(&one.json, &other.json))
}

/// Whether two JSON texts say the same but for the order in which a map or a set yields its items.
pub(crate) fn is_same_json(one: &[u8], other: &[u8]) -> bool {
    let parse = |text| serde_json::from_slice::<Value>(text).map(in_one_order);
    matches!((parse(one), parse(other)), (Ok(one), Ok(other)) if one == other)
}

fn in_one_order(value: Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<Value> = items.into_iter().map(in_one_order).collect();
            items.sort_by_cached_key(Value::to_string);
            Value::Array(items)
        }
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(key, item)| (key, in_one_order(item))).collect())
        }
        scalar => scalar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_order_is_ignored() {
        let same = |one: &str, other: &str| is_same_json(one.as_bytes(), other.as_bytes());
        assert!(same(r#"{"a":1,"b":[2,3]}"#, r#"{"b":[3,2],"a":1}"#));
        assert!(!same("[1,1,2]", "[1,2,2]"));
        assert!(!same(r#"{"a":1}"#, r#"{"a":2}"#));
        assert!(!same("1", "1.0"));
        assert!(!same("null", "nul"));
    }
}
