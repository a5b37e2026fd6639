//! JSON that keeps its text.
//!
//! The text is checked once and kept as a slice of bytes, which clones without a copy. It never
//! passes through `serde_json::Value`, which changes numbers (2^53 and beyond, many digits) and the
//! order of fields.

use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// One JSON value as UTF-8 text, on one line.
///
/// ```
/// use seriatim::RawJson;
///
/// let json = RawJson::parse(r#"{"price":0.10}"#)?;
/// assert_eq!(json.as_str(), r#"{"price":0.10}"#); // as it was written
/// assert!(RawJson::parse("{").is_err());
/// # Ok::<(), seriatim::RawJsonError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RawJson(Bytes);

/// Why a text or a value is not JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RawJsonError {
    message: String,
}

impl RawJsonError {
    pub(crate) fn new(cause: impl fmt::Display) -> Self {
        RawJsonError { message: cause.to_string() }
    }
}

impl RawJson {
    /// Checks that `text` is one JSON value, and keeps it. White space around it is dropped. Line
    /// breaks outside strings become spaces, so that one event is one line in NDJSON. Nothing else
    /// changes.
    ///
    /// # Errors
    ///
    /// When it is not UTF-8, not JSON, or more than one value.
    pub fn parse(text: impl Into<Bytes>) -> Result<Self, RawJsonError> {
        // Memory of the caller's own kind (`Bytes::from_owner`) is copied: a driver's thread may be
        // the last to drop an event, and must not run another's code. A plain vector is not.
        let bytes = Bytes::from(Vec::from(text.into()));
        let value: &str = {
            let text = std::str::from_utf8(&bytes).map_err(RawJsonError::new)?;
            let value: &RawValue = serde_json::from_str(text).map_err(RawJsonError::new)?;
            value.get()
        };
        // In valid JSON a line break inside a string is escaped, so each one here is outside.
        if has_line_break(value.as_bytes()) {
            let flat: Vec<u8> =
                value.bytes().map(|b| if is_line_break(b) { b' ' } else { b }).collect();
            return Ok(RawJson(flat.into()));
        }
        let value = bytes.slice_ref(value.as_bytes());
        Ok(RawJson(value))
    }

    /// `value` as JSON.
    ///
    /// # Errors
    ///
    /// When `value` has no JSON form (for example a map whose keys are not strings).
    pub fn serialize<T: Serialize + ?Sized>(value: &T) -> Result<Self, RawJsonError> {
        RawJson::written(serde_json::to_vec(value).map_err(RawJsonError::new)?)
    }

    /// Wraps bytes that were checked when they were first stored.
    pub(crate) fn trusted(bytes: Bytes) -> Self {
        RawJson(bytes)
    }

    /// The JSON text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The JSON text, as bytes that share its memory.
    pub fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }

    /// The JSON text; empty if a driver returned bytes that are not UTF-8.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Its length in bytes.
    #[allow(clippy::len_without_is_empty, reason = "a JSON value is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The value, parsed.
    ///
    /// # Errors
    ///
    /// When the JSON does not have the shape of `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.0)
    }

    /// JSON that serde_json wrote.
    pub(crate) fn written(text: Vec<u8>) -> Result<Self, RawJsonError> {
        // A `RawValue` inside may contain line breaks.
        if has_line_break(&text) {
            return RawJson::parse(text);
        }
        Ok(RawJson(text.into()))
    }

    /// `object` with these fields in front, in place of its own fields of the same names. Its other
    /// fields stay byte for byte. A value that is not an object is returned unchanged, and is
    /// refused as metadata later.
    pub(crate) fn object_with(
        object: Option<&RawJson>,
        fields: &[(&str, RawJson)],
    ) -> Result<RawJson, RawJsonError> {
        let mut all = Vec::new();
        for (name, value) in fields {
            all.push(format!("{}:{value}", RawJson::serialize(name)?));
        }
        if let Some(object) = object {
            if !object.is_object() {
                return Ok(object.clone());
            }
            let own: ObjectFields<'_> =
                serde_json::from_slice(object.as_bytes()).map_err(RawJsonError::new)?;
            for (key, value) in own.0 {
                // A key that is no text of Unicode has no equal among the names.
                let name = serde_json::from_str::<String>(key.get()).ok();
                if fields.iter().all(|(new, _)| Some(*new) != name.as_deref()) {
                    all.push(format!("{}:{}", key.get(), value.get()));
                }
            }
        }
        RawJson::parse(format!("{{{}}}", all.join(",")))
    }

    pub(crate) fn is_object(&self) -> bool {
        self.0.first() == Some(&b'{')
    }
}

/// The fields of a JSON object, in order; keys and values as their text.
struct ObjectFields<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for ObjectFields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;

        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = ObjectFields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(ObjectFields(fields))
            }
        }

        deserializer.deserialize_map(ObjectVisitor)
    }
}

/// Two vectorized searches are faster than one that tests every byte for both.
fn has_line_break(text: &[u8]) -> bool {
    text.contains(&b'\n') || text.contains(&b'\r')
}

fn is_line_break(byte: u8) -> bool {
    byte == b'\n' || byte == b'\r'
}

impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for RawJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value: &RawValue = serde_json::from_slice(&self.0).map_err(S::Error::custom)?;
        value.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RawJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Box::<RawValue>::deserialize(deserializer)?;
        RawJson::parse(String::from(Box::<str>::from(value))).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_kept_byte_for_byte_except_line_breaks_and_the_space_around() {
        let json = RawJson::parse(" {\"b\": 1.50,\n \"a\":\"x\\ny\",\r\n\"n\":9007199254740993}\n");
        assert_eq!(
            json.map(|j| j.to_string()),
            Ok("{\"b\": 1.50,  \"a\":\"x\\ny\",  \"n\":9007199254740993}".to_owned())
        );
    }

    #[test]
    fn what_is_not_one_json_value_is_refused() {
        for bad in ["", "{", "{} {}", "nul", "'x'", "{\"a\":}", "\"a\nb\""] {
            assert!(RawJson::parse(bad).is_err(), "{bad:?} was taken");
        }
        assert!(RawJson::parse(&b"\"\xff\""[..]).is_err());
    }

    #[test]
    fn nesting_has_no_limit_of_its_own() {
        let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
        assert_eq!(RawJson::parse(deep.clone()).map(|j| j.to_string()), Ok(deep));
    }
}
