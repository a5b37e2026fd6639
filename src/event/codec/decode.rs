//! An enum from event type and data, straight from the stored JSON, without a tree in between.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::event::KeyedEvent;

/// Why event type and data are no value of an enum.
///
/// ```
/// use seriatim::{DecodeError, NewEvent, testing};
///
/// #[derive(serde::Deserialize)]
/// enum Event { SwitchedOn }
///
/// let stored = |name| testing::raw_event("light/1", NewEvent::raw(name, "null"));
/// assert!(matches!(stored("SwitchedOn").decode(), Ok(Event::SwitchedOn)));
/// assert!(matches!(stored("Broken").decode::<Event>(), Err(DecodeError::UnknownType)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The enum has no variant of this name.
    #[error("the enum has no variant of this type")]
    UnknownType,
    /// The variant does not take this data.
    #[error("{0}")]
    Data(String),
}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        DecodeError::Data(message.to_string())
    }

    fn unknown_variant(_: &str, _: &'static [&'static str]) -> Self {
        DecodeError::UnknownType
    }
}

/// The event from its type and data.
pub(super) fn decode<E: DeserializeOwned>(name: &str, data: &[u8]) -> Result<E, DecodeError> {
    E::deserialize(EncodedEvent { name, data })
}

impl KeyedEvent {
    /// The event as a value of this enum; see [`NewEvent::encode`](crate::NewEvent::encode).
    ///
    /// # Errors
    ///
    /// [`DecodeError`] when the enum has no variant of the event's type, or the variant does not
    /// take the event's data.
    pub fn decode<E: DeserializeOwned>(&self) -> Result<E, DecodeError> {
        decode(self.event_type(), self.data.as_bytes())
    }
}

/// Type and data, in the form that the enum asks for.
#[derive(Clone, Copy)]
struct EncodedEvent<'a> {
    name: &'a str,
    data: &'a [u8],
}

impl<'de> EncodedEvent<'de> {
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

impl<'de> Deserializer<'de> for EncodedEvent<'de> {
    type Error = DecodeError;

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_enum(self)
    }

    /// The adjacent form asks for a struct of its tag and its content.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match fields {
            [tag, content] => {
                visitor.visit_map(TagAndContent { event: self, keys: [tag, content], taken: 0 })
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, DecodeError> {
        Err(de::Error::custom(
            "the Rust type is not an enum in serde's default form or with a tag and a content",
        ))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for EncodedEvent<'de> {
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

impl<'de> VariantAccess<'de> for EncodedEvent<'de> {
    type Error = DecodeError;

    /// Ignores the content that the variant may have had in an earlier version.
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

/// The adjacent form. The content is always there: a unit variant takes `null` for it, and a
/// newtype variant of something that is `null` needs it.
struct TagAndContent<'a> {
    event: EncodedEvent<'a>,
    keys: [&'static str; 2],
    taken: usize,
}

impl<'de> MapAccess<'de> for TagAndContent<'de> {
    type Error = DecodeError;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, DecodeError> {
        let Some(key) = self.keys.get(self.taken) else { return Ok(None) };
        self.taken += 1;
        let key: StrDeserializer<'_, DecodeError> = key.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, DecodeError> {
        if self.taken > 1 {
            return self.event.content(|json| seed.deserialize(json));
        }
        let tag: StrDeserializer<'_, DecodeError> = self.event.name.into_deserializer();
        seed.deserialize(tag)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    enum External {
        #[serde(rename = "opened")]
        Opened { owner: String },
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(tag = "t", content = "c")]
    enum Adjacent {
        Opened { owner: String },
        Closed,
    }

    #[test]
    fn an_unknown_type_is_told_from_data_that_does_not_fit() {
        let data = b"{}";
        assert_eq!(decode::<External>("Renamed", data), Err(DecodeError::UnknownType));
        assert_eq!(decode::<Adjacent>("Renamed", data), Err(DecodeError::UnknownType));
        assert!(matches!(decode::<External>("opened", data), Err(DecodeError::Data(_))));
        assert!(matches!(decode::<Adjacent>("Opened", data), Err(DecodeError::Data(_))));
        let null = b"null";
        assert_eq!(decode::<Adjacent>("Closed", null), Ok(Adjacent::Closed));
        let owner = br#"{"owner":"Ada"}"#;
        let opened = Adjacent::Opened { owner: "Ada".into() };
        assert_eq!(decode::<Adjacent>("Opened", owner), Ok(opened));
    }
}
