//! What a replica is to have of a load: a number, or a length of time.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use wrun_protocol::service::ScaleOn;

use super::fields::ScaleOnName;
use crate::value::Span;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// In thousandths.
    Number(u32),
    /// A length of time.
    Time(Span),
}

impl Target {
    /// With what it is a target of; an error says what to write.
    pub(super) fn on(self, name: ScaleOnName) -> Result<ScaleOn, &'static str> {
        match (name, self) {
            (ScaleOnName::Concurrency, Self::Number(milli)) => Ok(ScaleOn::Concurrency { milli }),
            (ScaleOnName::Rate, Self::Number(milli)) => Ok(ScaleOn::Rate { milli }),
            (ScaleOnName::ModelQueue, Self::Number(milli)) => Ok(ScaleOn::ModelQueue { milli }),
            (ScaleOnName::Waiting, Self::Number(milli)) if milli.is_multiple_of(1000) => {
                Ok(ScaleOn::Waiting { requests: milli / 1000 })
            }
            (ScaleOnName::Latency, Self::Time(span)) => {
                within(span).map(|ms| ScaleOn::Latency { ms })
            }
            (ScaleOnName::ModelLatency, Self::Time(span)) => {
                within(span).map(|ms| ScaleOn::ModelLatency { ms })
            }
            (ScaleOnName::Waiting, _) => Err("write a whole number of requests, like 10"),
            (ScaleOnName::Latency | ScaleOnName::ModelLatency, _) => {
                Err("write a time, like \"200ms\"")
            }
            (ScaleOnName::Concurrency | ScaleOnName::Rate | ScaleOnName::ModelQueue, _) => {
                Err("write a number of requests, like 10 or 2.5")
            }
        }
    }
}

fn within(span: Span) -> Result<u32, &'static str> {
    u32::try_from(span.ms).map_err(|_| "it is too long; write a time below 49 days")
}

/// Largest number: far above what a replica handles.
const MOST: f64 = 4_000_000.0;

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Target;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or a time like \"200ms\"")
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Target, E> {
                // Exact up to the largest number that is taken.
                self.visit_f64(number as f64)
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Target, E> {
                let milli = (number * 1000.0).round();
                if !(1.0..=MOST * 1000.0).contains(&milli) {
                    let text = format!("`{number}`: write a number above 0 and at most {MOST}");
                    return Err(E::custom(text));
                }
                // In bounds, and a whole number.
                Ok(Target::Number(milli as u32))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Target, E> {
                text.parse().map(Target::Time).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl JsonSchema for Target {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Target".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["number", "string"], "exclusiveMinimum": 0, "maximum": MOST})
    }
}
