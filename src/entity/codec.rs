//! An event enum as `type` and `data`, and back.
//!
//! Stored is exactly what the enum says: the variant's name as the event's type, its content
//! as the event's data. Both of serde's forms that keep the two apart are understood:
//!
//! | form | variant | type | data |
//! |---|---|---|---|
//! | default (external) | `Deposited { amount: 5 }` | `Deposited` | `{"amount":5}` |
//! | `#[serde(tag = "type", content = "data")]` | the same | `Deposited` | `{"amount":5}` |
//! | either | `Closed` | `Closed` | `null` |
//!
//! Names are those that serde sees, so `#[serde(rename = "…")]` keeps a name stable whatever the
//! Rust code calls it. Reading goes straight from the stored JSON into the enum, without a tree in
//! between.

use std::fmt;

use serde::Serialize;
use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::value::RawValue;

use crate::event::{EventError, NewEvent, RawJson, RawJsonError};

/// Why an event has no form that can be stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// serde could not write the event as JSON.
    #[error("the event could not be written as JSON: {0}")]
    Json(String),
    /// The event is no enum in serde's default form or with `tag = "type", content = "data"`: it
    /// has no type of its own. Fix its `#[serde(…)]` attributes.
    #[error(
        "the event must be an enum in serde's default form or with tag = \"type\", \
         content = \"data\""
    )]
    NoType,
}

impl From<EncodeError> for EventError {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::Json(message) => EventError::Data(RawJsonError::new(message)),
            EncodeError::NoType => EventError::Type,
        }
    }
}

/// The event as it will be stored.
pub(crate) fn encode<E: Serialize>(event: &E) -> Result<NewEvent, EncodeError> {
    let text = serde_json::to_string(event).map_err(|e| EncodeError::Json(e.to_string()))?;
    if let Ok(unit) = serde_json::from_str::<String>(&text) {
        return Ok(NewEvent::raw(unit, "null"));
    }
    let fields: ObjectFields<'_> = serde_json::from_str(&text).map_err(|_| EncodeError::NoType)?;
    match fields.0.as_slice() {
        [(tag, name)] if tag == "type" => match serde_json::from_str::<String>(name.get()) {
            Ok(name) => Ok(NewEvent::raw(name, "null")),
            Err(_) => Ok(raw(tag, name)),
        },
        [(tag, name), (content, data)] if tag == "type" && content == "data" => {
            let name: String = serde_json::from_str(name.get()).map_err(|_| EncodeError::NoType)?;
            Ok(raw(&name, data))
        }
        [(name, data)] => Ok(raw(name, data)),
        _ => Err(EncodeError::NoType),
    }
}

fn raw(name: &str, data: &RawValue) -> NewEvent {
    NewEvent::raw(name, data.get().to_owned())
}

/// The fields of a JSON object, unparsed and in order.
struct ObjectFields<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for ObjectFields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = ObjectFields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry::<String, &'de RawValue>()? {
                    fields.push(field);
                }
                Ok(ObjectFields(fields))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// Why stored type and data are no event of an enum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// The enum has no such variant.
    UnknownType,
    /// The variant does not take this data.
    Data(String),
}

/// The event from its stored form.
pub(crate) fn decode<E: DeserializeOwned>(name: &str, data: &RawJson) -> Result<E, DecodeError> {
    E::deserialize(StoredEvent { name, data: data.as_bytes() })
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::UnknownType => f.write_str("the enum has no variant of this type"),
            DecodeError::Data(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        DecodeError::Data(message.to_string())
    }

    fn unknown_variant(_: &str, _: &'static [&'static str]) -> Self {
        DecodeError::UnknownType
    }
}

/// Type and data, offered to the enum in the form it asks for.
#[derive(Clone, Copy)]
struct StoredEvent<'a> {
    name: &'a str,
    data: &'a [u8],
}

impl<'de> StoredEvent<'de> {
    fn content<T, F>(self, read: F) -> Result<T, DecodeError>
    where
        F: FnOnce(
            &mut serde_json::Deserializer<serde_json::de::SliceRead<'de>>,
        ) -> Result<T, serde_json::Error>,
    {
        let mut json = serde_json::Deserializer::from_slice(self.data);
        read(&mut json).map_err(de::Error::custom)
    }
}

impl<'de> Deserializer<'de> for StoredEvent<'de> {
    type Error = DecodeError;

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_enum(self)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_map(Tagged { stored: self, next: TaggedPart::Tag })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for StoredEvent<'de> {
    type Error = DecodeError;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self), DecodeError> {
        let name: StrDeserializer<'_, DecodeError> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for StoredEvent<'de> {
    type Error = DecodeError;

    /// What a variant without content once had is of no interest to it.
    fn unit_variant(self) -> Result<(), DecodeError> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<S::Value, DecodeError> {
        self.content(|json| seed.deserialize(json))
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.content(|json| json.deserialize_tuple(len, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.content(|json| json.deserialize_struct("", fields, visitor))
    }
}

/// The adjacent form: `{"type": …, "data": …}`.
struct Tagged<'a> {
    stored: StoredEvent<'a>,
    next: TaggedPart,
}

enum TaggedPart {
    Tag,
    Content,
    End,
}

impl<'de> MapAccess<'de> for Tagged<'de> {
    type Error = DecodeError;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, DecodeError> {
        let key = match self.next {
            TaggedPart::Tag => "type",
            TaggedPart::Content if self.stored.data != b"null" => "data",
            TaggedPart::Content | TaggedPart::End => return Ok(None),
        };
        let key: StrDeserializer<'_, DecodeError> = key.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, DecodeError> {
        match self.next {
            TaggedPart::Tag => {
                self.next = TaggedPart::Content;
                let name: StrDeserializer<'_, DecodeError> = self.stored.name.into_deserializer();
                seed.deserialize(name)
            }
            TaggedPart::Content | TaggedPart::End => {
                self.next = TaggedPart::End;
                self.stored.content(|json| seed.deserialize(json))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum External {
        #[serde(rename = "opened")]
        Opened {
            owner: String,
        },
        Deposited(u64),
        Moved(i32, i32),
        Closed,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "type", content = "data")]
    enum Adjacent {
        Opened { owner: String },
        Deposited(u64),
        Moved(i32, i32),
        Closed,
    }

    #[derive(Serialize)]
    #[serde(tag = "type")]
    #[allow(dead_code, reason = "only its form matters")]
    enum Internal {
        Opened { owner: String },
    }

    fn stored<E: Serialize>(event: &E) -> (String, RawJson) {
        let event = encode(event).unwrap().check().unwrap();
        (event.event_type.to_string(), event.data)
    }

    fn round_trip<E: Serialize + DeserializeOwned + PartialEq + fmt::Debug>(
        event: &E,
        name: &str,
        data: &str,
    ) {
        let (found_name, found_data) = stored(event);
        assert_eq!((found_name.as_str(), found_data.as_str()), (name, data));
        assert_eq!(&decode::<E>(name, &found_data).unwrap(), event);
    }

    #[test]
    fn both_forms_are_stored_as_type_and_data_and_read_back() {
        round_trip(&External::Opened { owner: "Ada".into() }, "opened", r#"{"owner":"Ada"}"#);
        round_trip(&External::Deposited(5), "Deposited", "5");
        round_trip(&External::Moved(1, -1), "Moved", "[1,-1]");
        round_trip(&External::Closed, "Closed", "null");
        round_trip(&Adjacent::Opened { owner: "Ada".into() }, "Opened", r#"{"owner":"Ada"}"#);
        round_trip(&Adjacent::Deposited(5), "Deposited", "5");
        round_trip(&Adjacent::Moved(1, -1), "Moved", "[1,-1]");
        round_trip(&Adjacent::Closed, "Closed", "null");
    }

    #[test]
    fn an_unknown_type_is_told_from_unfit_data() {
        let data = RawJson::parse("{}").unwrap();
        assert_eq!(decode::<External>("Renamed", &data), Err(DecodeError::UnknownType));
        assert_eq!(decode::<Adjacent>("Renamed", &data), Err(DecodeError::UnknownType));
        assert!(matches!(decode::<External>("opened", &data), Err(DecodeError::Data(_))));
        assert!(matches!(decode::<Adjacent>("Opened", &data), Err(DecodeError::Data(_))));
    }

    #[test]
    fn an_event_without_a_type_of_its_own_is_refused() {
        let internal = Internal::Opened { owner: "Ada".into() };
        assert_eq!(encode(&internal).unwrap_err(), EncodeError::NoType);
        assert_eq!(encode(&5).unwrap_err(), EncodeError::NoType);
    }
}
