//! Whole numbers with bounds.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::BadValue;

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whole<const MIN: u32, const MAX: u32>(pub(crate) u32);

/// A whole number that may be negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Priority(pub(crate) i32);

impl<const MIN: u32, const MAX: u32> FromStr for Whole<MIN, MAX> {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text.trim().parse::<u32>() {
            Ok(number) if (MIN..=MAX).contains(&number) => Ok(Self(number)),
            _ => Err(BadValue(format!("`{text}`: write a whole number from {MIN} to {MAX}"))),
        }
    }
}

impl FromStr for Priority {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        text.trim().parse().map(Self).map_err(|_| {
            BadValue(format!("`{text}`: write a whole number from {} to {}", i32::MIN, i32::MAX))
        })
    }
}

/// Reads integers by their text, so that a file's error is the command line's.
struct ByText<T>(std::marker::PhantomData<T>);

impl<T: FromStr<Err = BadValue>> Visitor<'_> for ByText<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number")
    }
    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        number.to_string().parse().map_err(E::custom)
    }
    // Numbers that no field holds, so that they too are told what the field takes.
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        number.to_string().parse().map_err(E::custom)
    }
    fn visit_i128<E: de::Error>(self, number: i128) -> Result<T, E> {
        number.to_string().parse().map_err(E::custom)
    }
}

impl<'de, const MIN: u32, const MAX: u32> Deserialize<'de> for Whole<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ByText(std::marker::PhantomData))
    }
}

impl<'de> Deserialize<'de> for Priority {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ByText(std::marker::PhantomData))
    }
}

impl<const MIN: u32, const MAX: u32> JsonSchema for Whole<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("WholeFrom{MIN}To{MAX}").into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "minimum": MIN, "maximum": MAX})
    }
}

impl JsonSchema for Priority {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Priority".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "minimum": i32::MIN, "maximum": i32::MAX})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_part_of_the_number() {
        assert_eq!("7".parse(), Ok(Whole::<1, 9>(7)));
        for text in ["0", "10", "-1", "1.0", "x", "", "99999999999999"] {
            let error = text.parse::<Whole<1, 9>>().unwrap_err().to_string();
            assert!(error.ends_with("write a whole number from 1 to 9"), "{error}");
        }
        assert_eq!("-3".parse(), Ok(Priority(-3)));
    }
}
