//! `wrun schema`: what files and outputs look like, for editors and programs.

use schemars::{Schema, schema_for};

use super::{Context, Ended};
use crate::config::{server::ServerFile, worker::WorkerFile};
use crate::error::Error;
use crate::exit::Exit;
use crate::jobfile::JobFile;
use crate::policyfile::PolicyFile;
use crate::report::json;
use crate::servicefile::ServiceFile;
use crate::syntax::project::{Schema as Args, SchemaOf};
use crate::workflowfile::WorkflowFile;

/// Prints a JSON schema.
pub(crate) fn schema(context: &Context, args: &Args) -> Ended {
    let text = serde_json::to_string_pretty(&of(args.of))
        .map_err(|cause| Error::new(Exit::Internal, format!("cannot write the schema: {cause}")))?;
    context.console.line(text)?;
    Ok(Exit::Success)
}

fn of(what: SchemaOf) -> Schema {
    match what {
        SchemaOf::Job => schema_for!(JobFile),
        SchemaOf::Workflow => schema_for!(WorkflowFile),
        SchemaOf::Service => schema_for!(ServiceFile),
        SchemaOf::Policy => schema_for!(PolicyFile),
        SchemaOf::Output => schema_for!(json::Printed),
        SchemaOf::Server => schema_for!(ServerFile),
        SchemaOf::Worker => schema_for!(WorkerFile),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_files_schema_refuses_unknown_keys_and_needs_a_component() {
        let schema = of(SchemaOf::Job).to_value();
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["required"], serde_json::json!(["component"]));
        assert_eq!(schema["properties"]["count"]["minimum"], 1);
        assert!(schema["properties"].as_object().unwrap().len() >= 20);
    }

    #[test]
    fn every_schema_can_be_made() {
        for what in [
            SchemaOf::Workflow,
            SchemaOf::Service,
            SchemaOf::Policy,
            SchemaOf::Output,
            SchemaOf::Server,
            SchemaOf::Worker,
        ] {
            assert!(of(what).to_value().is_object());
        }
    }

    /// The names of all fields anywhere in `schema`.
    fn fields(schema: &serde_json::Value, found: &mut Vec<String>) {
        if let Some(properties) = schema.get("properties").and_then(|value| value.as_object()) {
            found.extend(properties.keys().cloned());
        }
        match schema {
            serde_json::Value::Object(parts) => {
                parts.values().for_each(|part| fields(part, found));
            }
            serde_json::Value::Array(parts) => parts.iter().for_each(|part| fields(part, found)),
            _ => {}
        }
    }

    /// Fields of a schema that a page of docs/ does not name.
    fn unnamed(what: SchemaOf, page: &str) -> Vec<String> {
        let path = format!("{}/../docs/{page}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let mut found = Vec::new();
        fields(of(what).as_value(), &mut found);
        found.retain(|field| {
            !text.contains(&format!("`{field}`")) && !text.contains(&format!(".{field}`"))
        });
        found
    }

    #[test]
    fn the_documentation_names_every_field_of_the_files() {
        assert_eq!(unnamed(SchemaOf::Job, "job-file.md"), [] as [&str; 0]);
        assert_eq!(unnamed(SchemaOf::Policy, "scheduling.md"), [] as [&str; 0]);
        assert_eq!(unnamed(SchemaOf::Server, "operations.md"), [] as [&str; 0]);
        assert_eq!(unnamed(SchemaOf::Worker, "operations.md"), [] as [&str; 0]);
    }

    /// A step is a job file and more: what is more is on a page of its own.
    #[test]
    fn the_documentation_names_every_field_of_a_step() {
        let job = unnamed(SchemaOf::Workflow, "job-file.md");
        let mut found = unnamed(SchemaOf::Workflow, "workflows.md");
        found.retain(|field| job.contains(field));
        assert_eq!(found, [] as [&str; 0]);
    }

    /// Likewise a service.
    #[test]
    fn the_documentation_names_every_field_of_a_service() {
        let job = unnamed(SchemaOf::Service, "job-file.md");
        let mut found = unnamed(SchemaOf::Service, "services.md");
        found.retain(|field| job.contains(field));
        assert_eq!(found, [] as [&str; 0]);
    }

    /// Printed wraps each command's object in a field with the command's name.
    #[test]
    fn the_documentation_names_every_field_that_is_printed() {
        let schema = of(SchemaOf::Output).to_value();
        let definitions = schema["$defs"].as_object().unwrap();
        let mut found = Vec::new();
        definitions.values().for_each(|definition| fields(definition, &mut found));
        let path = format!("{}/../docs/json.md", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        found.retain(|field| !text.contains(&format!("`{field}`")));
        assert_eq!(found, [] as [&str; 0]);
    }
}
