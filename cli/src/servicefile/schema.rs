//! The service file's JSON schema: a job file's fields, but for those that make it end, and the
//! tables of a service.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema, schema_for};
use serde_json::{Map, Value};

use super::UNFIT;
use super::fields::{ServiceTables, TABLES};
use crate::jobfile::JobFile;

/// A service file of wrun (`wrun deploy SERVICE.toml`). Paths are relative to the file's folder.
pub(crate) struct ServiceFile;

impl JsonSchema for ServiceFile {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ServiceFile".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut properties = of(&JobFile::json_schema(generator));
        properties.retain(|name, _| !is_unfit(name));
        properties.extend(of(&ServiceTables::json_schema(generator)));
        json_schema!({
            "type": "object",
            "description": "A service file of wrun (`wrun deploy SERVICE.toml`). Paths are relative to the file's folder.",
            "properties": properties,
            "required": ["component"],
            "additionalProperties": false,
        })
    }
}

fn is_unfit(name: &str) -> bool {
    UNFIT.iter().any(|(unfit, _)| *unfit == name)
}

fn of(schema: &Schema) -> Map<String, Value> {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.cloned().unwrap_or_default()
}

/// Every key that a service file may have.
pub(super) fn keys() -> Vec<String> {
    let job = of(&schema_for!(JobFile));
    let job = job.keys().filter(|name| !is_unfit(name)).cloned();
    job.chain(TABLES.map(str::to_owned)).collect()
}
