//! The names of an enum's variants.

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;

/// The names that the enum's `Deserialize` knows; none where it is no enum.
pub(crate) fn variant_names<E: DeserializeOwned>() -> &'static [&'static str] {
    match E::deserialize(Probe) {
        Ok(_) => &[],
        Err(Probed(names)) => names,
    }
}

/// Asks an enum for a value, and notes which variants it offers.
struct Probe;

#[derive(Debug, thiserror::Error)]
#[error("an enum of the variants {0:?}")]
struct Probed(&'static [&'static str]);

impl de::Error for Probed {
    fn custom<T: std::fmt::Display>(_: T) -> Self {
        Probed(&[])
    }
}

impl<'de> Deserializer<'de> for Probe {
    type Error = Probed;

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Probed> {
        Err(Probed(variants))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Probed> {
        match fields {
            [tag, _content] => visitor.visit_map(TagProbe(tag)),
            _ => Err(Probed(&[])),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Probed> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Probed> {
        Err(Probed(&[]))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

/// The tag of the adjacent form, whose value is one of the variants.
struct TagProbe(&'static str);

impl<'de> MapAccess<'de> for TagProbe {
    type Error = Probed;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Probed> {
        seed.deserialize(StrDeserializer::new(self.0)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Probed> {
        seed.deserialize(Probe)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    #[allow(dead_code, reason = "only its form matters")]
    enum External {
        #[serde(rename = "opened")]
        Opened(u8),
        Closed,
    }

    #[derive(Deserialize)]
    #[serde(tag = "t", content = "c")]
    #[allow(dead_code, reason = "only its form matters")]
    enum Adjacent {
        Opened(u8),
        Closed,
    }

    #[test]
    fn both_forms_name_their_variants() {
        assert_eq!(variant_names::<External>(), ["opened", "Closed"]);
        assert_eq!(variant_names::<Adjacent>(), ["Opened", "Closed"]);
        assert!(variant_names::<(u8, u8)>().is_empty());
    }
}
