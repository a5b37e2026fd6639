//! A serializer that takes one variant of an enum, and nothing else.

use std::any::type_name;
use std::fmt;

use serde::ser::{
    self, Impossible, Serialize, SerializeStruct, SerializeStructVariant, SerializeTupleVariant,
    Serializer,
};

use super::strict::to_strict_json;

/// Why an event of a Rust type cannot be stored. Nothing was written.
///
/// ```
/// use seriatim::{EncodeError, NewEvent};
///
/// let error = NewEvent::encode(&5_u64).unwrap_err();
/// assert!(matches!(error, EncodeError::NotAnEnum { .. }));
/// println!("{error}"); // says what to change
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The type is not an enum in serde's default form or with a tag and a content, so the event
    /// has no name of its own. Change the type, or its serde attributes.
    #[error(
        "{event} cannot be an event: serde writes {found}, not a variant with a name of its own; \
         make it an enum in serde's default form or with #[serde(tag = \"…\", content = \"…\")]"
    )]
    NotAnEnum {
        /// The Rust type.
        event: &'static str,
        /// What serde makes of the value.
        found: &'static str,
    },
    /// The variant's content has no JSON form that keeps its value, such as a float that is not
    /// finite. Change the value, or the field's type.
    #[error("{event}::{variant} cannot be written as JSON: {message}")]
    Content {
        /// The Rust type.
        event: &'static str,
        /// The variant, under the name that serde sees.
        variant: String,
        /// What is wrong with it.
        message: String,
    },
    /// The event would be written, and could never be read again. Change the type's serde
    /// attributes, or the field's type.
    #[error("{event}::{variant} cannot be read back from {written}: {message}")]
    Unreadable {
        /// The Rust type.
        event: &'static str,
        /// The variant, under the name that serde sees.
        variant: String,
        /// The event as it would be written: its type and data.
        written: String,
        /// Why it cannot be read.
        message: String,
    },
    /// The event would read back as another value. Change the type's serde attributes, or its own
    /// `Serialize` and `Deserialize`.
    #[error("{event}::{variant} would read back as another value: as {read_back}, not {written}")]
    Changed {
        /// The Rust type.
        event: &'static str,
        /// The variant, under the name that serde sees.
        variant: String,
        /// The event as it would be written: its type and data.
        written: String,
        /// The event as it would be after that.
        read_back: String,
    },
}

/// An event's name and content, and the variant's place in the enum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Encoded {
    pub(super) name: &'static str,
    pub(super) index: u32,
    /// The content, as JSON.
    pub(super) json: Vec<u8>,
}

/// The event's variant. `bytes`: how long its JSON may become.
pub(super) fn encode_variant<E: Serialize>(
    event: &E,
    bytes: usize,
) -> Result<Encoded, EncodeError> {
    event.serialize(VariantSerializer { bytes }).map_err(|fault| fault.of(type_name::<E>()))
}

/// Why a value is no variant, before its type is named.
#[derive(Debug)]
enum Fault {
    NotAnEnum(&'static str),
    Content { variant: &'static str, message: String },
}

impl Fault {
    fn of(self, event: &'static str) -> EncodeError {
        match self {
            Fault::NotAnEnum(found) => EncodeError::NotAnEnum { event, found },
            Fault::Content { variant, message } => {
                EncodeError::Content { event, variant: variant.to_owned(), message }
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NotAnEnum(found) => f.write_str(found),
            Fault::Content { message, .. } => f.write_str(message),
        }
    }
}

impl std::error::Error for Fault {}

impl ser::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Fault::Content { variant: "?", message: message.to_string() }
    }
}

/// The content of a variant, as far as it is written.
struct VariantContent {
    name: &'static str,
    index: u32,
    json: Vec<u8>,
    /// What ends the JSON of the content.
    end: u8,
}

impl VariantContent {
    fn begin(name: &'static str, index: u32, bytes: usize, [begin, end]: [u8; 2]) -> Self {
        let mut json = Vec::with_capacity(bytes);
        json.push(begin);
        VariantContent { name, index, json, end }
    }

    fn field<T: Serialize + ?Sized>(
        &mut self,
        key: Option<&'static str>,
        value: &T,
    ) -> Result<(), Fault> {
        if self.json.len() > 1 {
            self.json.push(b',');
        }
        if let Some(key) = key {
            write_content(self.name, key, &mut self.json)?;
            self.json.push(b':');
        }
        write_content(self.name, value, &mut self.json)
    }

    fn end(mut self) -> Result<Encoded, Fault> {
        self.json.push(self.end);
        Ok(Encoded { name: self.name, index: self.index, json: self.json })
    }
}

fn write_content<T: Serialize + ?Sized>(
    variant: &'static str,
    value: &T,
    json: &mut Vec<u8>,
) -> Result<(), Fault> {
    to_strict_json(value, json)
        .map_err(|error| Fault::Content { variant, message: error.to_string() })
}

fn without_content(name: &'static str, index: u32) -> Encoded {
    Encoded { name, index, json: b"null".to_vec() }
}

/// The content of a variant of this name, which is one value.
fn encoded_value<T: Serialize + ?Sized>(
    name: &'static str,
    index: u32,
    bytes: usize,
    value: &T,
) -> Result<Encoded, Fault> {
    let mut json = Vec::with_capacity(bytes);
    write_content(name, value, &mut json)?;
    Ok(Encoded { name, index, json })
}

struct VariantSerializer {
    /// What to reserve for the content.
    bytes: usize,
}

macro_rules! refuse {
    ($($method:ident($($argument:ty),*): $found:literal),+ $(,)?) => {
        $(fn $method(self $(, _: $argument)*) -> Result<Encoded, Fault> {
            Err(Fault::NotAnEnum($found))
        })+
    };
}

impl Serializer for VariantSerializer {
    type Ok = Encoded;
    type Error = Fault;
    type SerializeSeq = Impossible<Encoded, Fault>;
    type SerializeTuple = Impossible<Encoded, Fault>;
    type SerializeTupleStruct = Impossible<Encoded, Fault>;
    type SerializeTupleVariant = VariantContent;
    type SerializeMap = Impossible<Encoded, Fault>;
    type SerializeStruct = AdjacentVariant;
    type SerializeStructVariant = VariantContent;

    refuse! {
        serialize_bool(bool): "a boolean",
        serialize_i8(i8): "a number", serialize_i16(i16): "a number",
        serialize_i32(i32): "a number", serialize_i64(i64): "a number",
        serialize_i128(i128): "a number", serialize_u8(u8): "a number",
        serialize_u16(u16): "a number", serialize_u32(u32): "a number",
        serialize_u64(u64): "a number", serialize_u128(u128): "a number",
        serialize_f32(f32): "a number", serialize_f64(f64): "a number",
        serialize_char(char): "a character", serialize_str(&str): "a string",
        serialize_bytes(&[u8]): "bytes", serialize_none(): "an Option",
        serialize_unit(): "a value without content",
        serialize_unit_struct(&'static str): "a struct without content",
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<Encoded, Fault> {
        Err(Fault::NotAnEnum("an Option"))
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<Encoded, Fault> {
        Ok(without_content(variant, index))
    }

    /// A wrapper is read through as it is written through.
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Encoded, Fault> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Encoded, Fault> {
        encoded_value(variant, index, self.bytes, value)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Fault> {
        Err(Fault::NotAnEnum("a sequence"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Fault> {
        Err(Fault::NotAnEnum("a tuple"))
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, Fault> {
        Err(Fault::NotAnEnum("a tuple struct"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        index: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<VariantContent, Fault> {
        Ok(VariantContent::begin(variant, index, self.bytes, *b"[]"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Fault> {
        Err(Fault::NotAnEnum("a map"))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<AdjacentVariant, Fault> {
        Ok(AdjacentVariant { bytes: self.bytes, part: AdjacentPart::Tag })
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        index: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<VariantContent, Fault> {
        Ok(VariantContent::begin(variant, index, self.bytes, *b"{}"))
    }
}

impl SerializeTupleVariant for VariantContent {
    type Ok = Encoded;
    type Error = Fault;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.field(None, value)
    }

    fn end(self) -> Result<Encoded, Fault> {
        VariantContent::end(self)
    }
}

impl SerializeStructVariant for VariantContent {
    type Ok = Encoded;
    type Error = Fault;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        self.field(Some(key), value)
    }

    fn end(self) -> Result<Encoded, Fault> {
        VariantContent::end(self)
    }
}

/// The adjacent form. serde writes it as a struct of two fields whose first is a variant; the first
/// field of any other struct is something else.
struct AdjacentVariant {
    bytes: usize,
    part: AdjacentPart,
}

enum AdjacentPart {
    Tag,
    Content { name: &'static str, index: u32 },
    Done(Encoded),
}

/// A plain struct, or the internal form of an enum (`#[serde(tag = "…")]` alone), or the untagged
/// one.
const STRUCT: Fault = Fault::NotAnEnum("a struct");

impl SerializeStruct for AdjacentVariant {
    type Ok = Encoded;
    type Error = Fault;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        self.part = match &self.part {
            AdjacentPart::Tag => {
                let Ok((name, index)) = value.serialize(TagSerializer) else { return Err(STRUCT) };
                AdjacentPart::Content { name, index }
            }
            AdjacentPart::Content { name, index } => {
                AdjacentPart::Done(encoded_value(name, *index, self.bytes, value)?)
            }
            AdjacentPart::Done(_) => return Err(STRUCT),
        };
        Ok(())
    }

    fn end(self) -> Result<Encoded, Fault> {
        match self.part {
            AdjacentPart::Tag => Err(STRUCT),
            AdjacentPart::Content { name, index } => Ok(without_content(name, index)),
            AdjacentPart::Done(encoded) => Ok(encoded),
        }
    }
}

/// Takes the tag of the adjacent form, which serde writes as a variant without content.
struct TagSerializer;

type Tag = (&'static str, u32);

macro_rules! no_tag {
    ($($method:ident($($argument:ty),*)),+ $(,)?) => {
        $(fn $method(self $(, _: $argument)*) -> Result<Tag, Fault> {
            Err(STRUCT)
        })+
    };
}

macro_rules! no_tag_compound {
    ($($method:ident($($argument:ty),*)),+ $(,)?) => {
        $(fn $method(self $(, _: $argument)*) -> Result<Impossible<Tag, Fault>, Fault> {
            Err(STRUCT)
        })+
    };
}

impl Serializer for TagSerializer {
    type Ok = Tag;
    type Error = Fault;
    type SerializeSeq = Impossible<Tag, Fault>;
    type SerializeTuple = Impossible<Tag, Fault>;
    type SerializeTupleStruct = Impossible<Tag, Fault>;
    type SerializeTupleVariant = Impossible<Tag, Fault>;
    type SerializeMap = Impossible<Tag, Fault>;
    type SerializeStruct = Impossible<Tag, Fault>;
    type SerializeStructVariant = Impossible<Tag, Fault>;

    no_tag! {
        serialize_bool(bool), serialize_i8(i8), serialize_i16(i16), serialize_i32(i32),
        serialize_i64(i64), serialize_u8(u8), serialize_u16(u16), serialize_u32(u32),
        serialize_u64(u64), serialize_f32(f32), serialize_f64(f64), serialize_char(char),
        serialize_str(&str), serialize_bytes(&[u8]), serialize_none(), serialize_unit(),
        serialize_unit_struct(&'static str),
    }

    no_tag_compound! {
        serialize_seq(Option<usize>), serialize_tuple(usize),
        serialize_tuple_struct(&'static str, usize),
        serialize_tuple_variant(&'static str, u32, &'static str, usize),
        serialize_map(Option<usize>), serialize_struct(&'static str, usize),
        serialize_struct_variant(&'static str, u32, &'static str, usize),
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<Tag, Fault> {
        Err(STRUCT)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: &T,
    ) -> Result<Tag, Fault> {
        Err(STRUCT)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Tag, Fault> {
        Err(STRUCT)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<Tag, Fault> {
        Ok((variant, index))
    }
}
