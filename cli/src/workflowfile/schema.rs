//! The workflow file's JSON schema: a step is a job file and more, so its schema is made of
//! the two.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema, schema_for};
use serde_json::{Map, Value, json};

use super::fields::{NAMES, StepFields};
use crate::jobfile::JobFile;

/// A workflow file of wrun (`wrun submit WORKFLOW.toml`). Paths are relative to the file's folder.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the file, which is read table by table")]
pub(crate) struct WorkflowFile {
    /// Shown in listings, and the first part of its jobs' names. The file's name unless set.
    pub(crate) name: Option<String>,
    /// The steps by name, in the order in which they are shown.
    pub(crate) steps: std::collections::BTreeMap<String, StepFile>,
    /// A last step, which runs when every other has ended, whatever became of them.
    pub(crate) finally: Option<StepFile>,
}

/// A step: a job file without `name` and `depends_on`, and more.
pub(crate) struct StepFile;

impl JsonSchema for StepFile {
    fn schema_name() -> Cow<'static, str> {
        "Step".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let job = JobFile::json_schema(generator);
        let own = StepFields::json_schema(generator);
        let mut properties = of(&job);
        // The job is named after the step, and `needs` says what comes before.
        properties.remove("name");
        properties.remove("depends_on");
        for (name, field) in of(&own) {
            let field = match (name.as_str(), properties.remove(&name)) {
                ("mounts", Some(files)) => json!({
                    "description": "Files, folders and outputs of other steps that the guest sees.",
                    "type": "array",
                    "items": { "anyOf": [files.get("items"), field.get("items")] },
                }),
                (_, Some(of_job)) => json!({ "anyOf": [of_job, field] }),
                (_, None) => field,
            };
            properties.insert(name, field);
        }
        json_schema!({
            "type": "object",
            "description": "a job file without `name` and `depends_on`, and more",
            "properties": properties,
            "required": ["component"],
            "additionalProperties": false,
        })
    }
}

fn of(schema: &Schema) -> Map<String, Value> {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.cloned().unwrap_or_default()
}

/// Every key that a step may have, and those that are refused with a better reason.
pub(super) fn step_keys() -> Vec<String> {
    let job = of(&schema_for!(JobFile));
    job.keys().cloned().chain(NAMES.map(str::to_owned)).collect()
}
