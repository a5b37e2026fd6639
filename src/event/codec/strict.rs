//! JSON without the values that it cannot hold.
//!
//! serde_json writes NaN and infinity as `null`, and `Some(None)` as `null` too. Both read back as
//! something else, without an error. This wrapper of any serializer refuses them.

use serde::ser::{
    Error as _, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// Writes `value` as JSON, and refuses what would read back as something else.
pub(crate) fn to_strict_json<T: Serialize + ?Sized>(
    value: &T,
    out: &mut Vec<u8>,
) -> Result<(), serde_json::Error> {
    value.serialize(Strict { inner: &mut serde_json::Serializer::new(out), in_some: false })
}

/// Forwards to `inner`. `in_some`: the value stands in a `Some`, and so must not be written as
/// `null`.
struct Strict<S> {
    inner: S,
    in_some: bool,
}

/// A value that is serialized through [`Strict`], with all values in it.
struct StrictValue<'a, T: ?Sized> {
    value: &'a T,
    in_some: bool,
}

impl<T: Serialize + ?Sized> Serialize for StrictValue<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Strict { inner: serializer, in_some: self.in_some })
    }
}

fn strict<T: ?Sized>(value: &T) -> StrictValue<'_, T> {
    StrictValue { value, in_some: false }
}

impl<S: Serializer> Strict<S> {
    /// The serializer, for a value that is written as `null`.
    fn for_null(self) -> Result<S, S::Error> {
        match self.in_some {
            false => Ok(self.inner),
            true => Err(S::Error::custom(
                "an Option holds a value that JSON cannot tell from None; use an enum instead",
            )),
        }
    }

    fn for_float(self, float: f64) -> Result<S, S::Error> {
        match float.is_finite() {
            true => Ok(self.inner),
            false => Err(S::Error::custom(format!(
                "JSON has no number {float}; check that floats are finite, or use an Option"
            ))),
        }
    }
}

macro_rules! forward {
    ($($method:ident: $type:ty),+ $(,)?) => {
        $(fn $method(self, value: $type) -> Result<S::Ok, S::Error> {
            self.inner.$method(value)
        })+
    };
}

impl<S: Serializer> Serializer for Strict<S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = StrictCompound<S::SerializeSeq>;
    type SerializeTuple = StrictCompound<S::SerializeTuple>;
    type SerializeTupleStruct = StrictCompound<S::SerializeTupleStruct>;
    type SerializeTupleVariant = StrictCompound<S::SerializeTupleVariant>;
    type SerializeMap = StrictCompound<S::SerializeMap>;
    type SerializeStruct = StrictCompound<S::SerializeStruct>;
    type SerializeStructVariant = StrictCompound<S::SerializeStructVariant>;

    forward! {
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32,
        serialize_i64: i64, serialize_i128: i128, serialize_u8: u8, serialize_u16: u16,
        serialize_u32: u32, serialize_u64: u64, serialize_u128: u128, serialize_char: char,
        serialize_str: &str, serialize_bytes: &[u8],
    }

    fn serialize_f32(self, value: f32) -> Result<S::Ok, S::Error> {
        self.for_float(value.into())?.serialize_f32(value)
    }

    fn serialize_f64(self, value: f64) -> Result<S::Ok, S::Error> {
        self.for_float(value)?.serialize_f64(value)
    }

    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.for_null()?.serialize_none()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.serialize_some(&StrictValue { value, in_some: true })
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.for_null()?.serialize_unit()
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<S::Ok, S::Error> {
        self.for_null()?.serialize_unit_struct(name)
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit_variant(name, index, variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let in_some = self.in_some;
        self.inner.serialize_newtype_struct(name, &StrictValue { value, in_some })
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.inner.serialize_newtype_variant(name, index, variant, &strict(value))
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        self.inner.serialize_seq(len).map(StrictCompound)
    }

    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, S::Error> {
        self.inner.serialize_tuple(len).map(StrictCompound)
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        self.inner.serialize_tuple_struct(name, len).map(StrictCompound)
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        self.inner.serialize_tuple_variant(name, index, variant, len).map(StrictCompound)
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        self.inner.serialize_map(len).map(StrictCompound)
    }

    fn serialize_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStruct, S::Error> {
        self.inner.serialize_struct(name, len).map(StrictCompound)
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        self.inner.serialize_struct_variant(name, index, variant, len).map(StrictCompound)
    }

    fn collect_str<T: std::fmt::Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// A sequence, map or struct whose values go through [`Strict`].
struct StrictCompound<C>(C);

macro_rules! compound {
    ($($trait:ident: $method:ident),+ $(,)?) => {
        $(impl<C: $trait> $trait for StrictCompound<C> {
            type Ok = C::Ok;
            type Error = C::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
                self.0.$method(&strict(value))
            }

            fn end(self) -> Result<C::Ok, C::Error> {
                self.0.end()
            }
        })+
    };
}

compound! {
    SerializeSeq: serialize_element,
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field,
}

macro_rules! named {
    ($($trait:ident),+) => {
        $(impl<C: $trait> $trait for StrictCompound<C> {
            type Ok = C::Ok;
            type Error = C::Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), C::Error> {
                self.0.serialize_field(key, &strict(value))
            }

            fn skip_field(&mut self, key: &'static str) -> Result<(), C::Error> {
                self.0.skip_field(key)
            }

            fn end(self) -> Result<C::Ok, C::Error> {
                self.0.end()
            }
        })+
    };
}

named!(SerializeStruct, SerializeStructVariant);

impl<C: SerializeMap> SerializeMap for StrictCompound<C> {
    type Ok = C::Ok;
    type Error = C::Error;

    // serde_json itself refuses keys that are no strings, numbers or booleans.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), C::Error> {
        self.0.serialize_key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        self.0.serialize_value(&strict(value))
    }

    fn end(self) -> Result<C::Ok, C::Error> {
        self.0.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use serde_json::value::RawValue;

    use super::*;

    fn written<T: Serialize>(value: &T) -> Result<String, String> {
        let mut out = Vec::new();
        to_strict_json(value, &mut out).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn what_json_can_hold_is_written_as_serde_json_does() {
        let raw = RawValue::from_string("[1.50, 1e400]".to_owned()).unwrap();
        let value = json!({"a": [1.5, null, {"b": "ü"}], "c": u64::MAX});
        let all = (raw, value, u128::MAX, Some(1), None::<u8>, 'x', (), [0.1_f32]);
        assert_eq!(written(&all).unwrap(), serde_json::to_string(&all).unwrap());
    }

    #[test]
    fn what_would_read_back_as_something_else_is_refused() {
        assert!(written(&[f64::NAN]).unwrap_err().contains("NaN"));
        assert!(written(&(1, f32::INFINITY)).unwrap_err().contains("inf"));
        for nothing in [written(&Some(())), written(&Some(None::<u8>)), written(&Some(json!(null)))]
        {
            assert!(nothing.unwrap_err().contains("Option"));
        }
        assert_eq!(written(&Some(json!([null]))).unwrap(), "[null]");
    }
}
