//! Reads serde types out of the layers. What serde finds wrong (an unknown key, a value of another
//! type) comes back as a `ConfigError` with the full name of the key and the place it was given.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::fmt;

use serde::de::value::{SeqDeserializer, StrDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess, Unexpected, Visitor,
};
use serde::{Deserialize, de, forward_to_deserialize_any};

use super::error::{ConfigError, Problem, Source};
use super::layers::{Entry, Layers, Node, Value};

/// Reads the whole configuration.
///
/// # Errors
/// The first unknown key or unfitting value, with its place.
pub(super) fn read<'de, T: Deserialize<'de>>(layers: &'de Layers) -> Result<T, ConfigError> {
    T::deserialize(Section { entries: &layers.entries }).map_err(ReadError::into_config_error)
}

/// A `ConfigError` on its way up: the innermost section adds the place, each one its name.
#[derive(Debug)]
struct ReadError {
    place: Option<Source>,
    /// Names of key and sections, innermost first.
    names: Vec<String>,
    problem: ReadProblem,
}

#[derive(Debug)]
enum ReadProblem {
    UnknownKey { known: &'static [&'static str] },
    BadValue { cause: String, remedy: String },
}

impl ReadError {
    fn below(mut self, name: &str, source: &Source) -> Self {
        self.names.push(name.to_owned());
        self.place.get_or_insert_with(|| source.clone());
        self
    }

    fn into_config_error(mut self) -> ConfigError {
        self.names.reverse();
        let key = self.names.join(".");
        let problem = match self.problem {
            ReadProblem::UnknownKey { known } => {
                let known = known.iter().map(|name| (*name).to_owned()).collect();
                Problem::UnknownKey { key, known }
            }
            ReadProblem::BadValue { cause, remedy } => Problem::BadValue { key, cause, remedy },
        };
        ConfigError::new(self.place, problem)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.problem)
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    /// The first line is the cause, the second, if there is one, the remedy.
    fn custom<T: fmt::Display>(message: T) -> Self {
        let message = message.to_string();
        let (cause, remedy) = message.split_once('\n').unwrap_or((&message, ""));
        let problem = ReadProblem::BadValue { cause: cause.to_owned(), remedy: remedy.to_owned() };
        Self { place: None, names: Vec::new(), problem }
    }

    fn unknown_field(_: &str, known: &'static [&'static str]) -> Self {
        let problem = ReadProblem::UnknownKey { known };
        Self { place: None, names: Vec::new(), problem }
    }

    fn unknown_variant(value: &str, known: &'static [&'static str]) -> Self {
        let known: Vec<_> = known.iter().map(|name| format!("{name:?}")).collect();
        Self::custom(format_args!("unknown value {value:?}\nwrite one of {}", known.join(", ")))
    }

    /// Says the type that was found, never the value: it may be a secret.
    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Bool(_) => "true or false",
            Unexpected::Signed(_) | Unexpected::Unsigned(_) => "a number",
            Unexpected::Str(_) => "text",
            Unexpected::Seq => "a list",
            Unexpected::Map => "a section",
            Unexpected::Other(kind) => kind,
            _ => "something else",
        };
        Self::custom(format_args!("expected {expected}, found {found}"))
    }
}

/// A section: a serde map whose keys and values know their places.
#[derive(Clone, Copy)]
struct Section<'de> {
    entries: &'de BTreeMap<String, Entry>,
}

impl<'de> Deserializer<'de> for Section<'de> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_map(SectionAccess { rest: self.entries.iter(), current: None })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}

struct SectionAccess<'de> {
    rest: btree_map::Iter<'de, String, Entry>,
    current: Option<(&'de String, &'de Entry)>,
}

impl<'de> MapAccess<'de> for SectionAccess<'de> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ReadError> {
        self.current = self.rest.next();
        let Some((name, entry)) = self.current else { return Ok(None) };
        let key = seed.deserialize(StrDeserializer::new(name));
        key.map(Some).map_err(|error: ReadError| error.below(name, &entry.source))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let Some((name, entry)) = self.current.take() else {
            return Err(de::Error::custom("value without a key"));
        };
        let value = match &entry.node {
            Node::Section(entries) => seed.deserialize(Section { entries }),
            Node::Value(value) => seed.deserialize(ValueReader(value)),
        };
        value.map_err(|error| error.below(name, &entry.source))
    }
}

/// A value: what it can be read as is decided by its kind and, if it was given as text, by the key.
#[derive(Clone, Copy)]
struct ValueReader<'de>(&'de Value);

impl<'de> IntoDeserializer<'de, ReadError> for ValueReader<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for ValueReader<'de> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.0 {
            Value::Given(text) | Value::Text(text) => visitor.visit_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Boolean(flag) => visitor.visit_bool(*flag),
            Value::List(items) => {
                visitor.visit_seq(SeqDeserializer::new(items.iter().map(ValueReader)))
            }
            Value::Foreign(kind) => Err(de::Error::invalid_type(Unexpected::Other(kind), &visitor)),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.0 {
            Value::Given(text) => match text.as_str() {
                "true" => visitor.visit_bool(true),
                "false" => visitor.visit_bool(false),
                _ => Err(de::Error::custom(format_args!("{text:?} is neither true nor false"))),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.0 {
            Value::Given(text) => match text.parse() {
                Ok(number) => visitor.visit_u64(number),
                Err(_) => self.deserialize_any(visitor),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.0 {
            Value::Given(text) => visitor.visit_seq(SeqDeserializer::new(
                text.split(',').map(str::trim).filter(|item| !item.is_empty()),
            )),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match self.0 {
            Value::Given(text) | Value::Text(text) => {
                let text: StrDeserializer<'_, ReadError> = text.as_str().into_deserializer();
                text.deserialize_enum(name, variants, visitor)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct tuple tuple_struct map struct identifier ignored_any
    }
}
