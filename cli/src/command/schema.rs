//! `wrun schema`: what files and outputs look like, for editors and programs.

use schemars::{Schema, schema_for};

use super::{Context, Ended};
use crate::config::{server::ServerFile, worker::WorkerFile};
use crate::error::Error;
use crate::exit::Exit;
use crate::jobfile::JobFile;
use crate::report::json;
use crate::syntax::project::{Schema as Args, SchemaOf};

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
        for what in [SchemaOf::Output, SchemaOf::Server, SchemaOf::Worker] {
            assert!(of(what).to_value().is_object());
        }
    }
}
