//! What a step says beyond what a job file says. A step's table is both: it is taken apart
//! here, so that the job file's own types read its part of it.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use crate::value::Span;

/// The name of another step, and where it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Name(pub(crate) Spanned<String>);

/// The fields of a step beside those of its job.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StepFields {
    /// Steps that come before this one, besides those whose output it takes.
    #[serde(default)]
    pub(crate) needs: Vec<Name>,
    /// What must have become of the steps before: "success" of all, "failure" of one, or
    /// just their "end". "success" unless set.
    pub(crate) when: Option<WhenName>,
    /// Skip the step unless the output of another step is, or is not, this text. White
    /// space around the output does not count.
    pub(crate) only_if: Option<OnlyIf>,
    /// A task for each item of another step's output, which is its input.
    pub(crate) for_each: Option<ItemsOf>,
    /// The output of another step as the input.
    pub(crate) input: Option<OutputOf>,
    /// Outputs of other steps as files.
    #[serde(default)]
    pub(crate) mounts: Vec<MountOf>,
    /// Longest time from the start of the step to its end. No limit unless set.
    pub(crate) timeout: Option<Span>,
    /// The workflow can succeed though this step does not. false unless set.
    #[serde(default)]
    pub(crate) may_fail: bool,
}

/// See `when`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WhenName {
    /// Each of them succeeded.
    Success,
    /// One of them failed or was cancelled.
    Failure,
    /// They are over, however.
    End,
}

/// A condition: one of `equals` and `not_equals`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OnlyIf {
    /// The step whose output is compared.
    pub(crate) output: Name,
    /// The text that it must be.
    pub(crate) equals: Option<String>,
    /// The text that it must not be.
    pub(crate) not_equals: Option<String>,
}

/// Where items come from: one of the three.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ItemsOf {
    /// The step each line of whose output is an item; empty lines are not.
    pub(crate) lines: Option<Name>,
    /// The step whose output is a JSON array, each element of which is an item.
    pub(crate) json: Option<Name>,
    /// The step the output of each of whose tasks is an item.
    pub(crate) tasks: Option<Name>,
}

/// A step's output.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OutputOf {
    /// The step.
    pub(crate) output: Name,
}

/// A step's output as a file.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MountOf {
    /// The step.
    pub(crate) output: Name,
    /// Where the guest sees it: of a step of one task the file, of many the folder in which
    /// each task's output is a file named by its index.
    pub(crate) path: String,
}

/// Keys that are the step's own, whatever their value is.
const OWN: [&str; 5] = ["needs", "when", "only_if", "timeout", "may_fail"];

/// The names of all of them, those that a job file has too included.
pub(super) const NAMES: [&str; 8] =
    ["needs", "when", "only_if", "timeout", "may_fail", "for_each", "input", "mounts"];

/// A step's table, taken apart.
pub(super) struct Parts<'a> {
    /// What [`StepFields`] reads.
    pub(super) own: DeTable<'a>,
    /// What the job file's type reads.
    pub(super) job: DeTable<'a>,
}

impl<'a> Parts<'a> {
    /// What refers to another step is written as a table where a job file has none.
    pub(super) fn of(step: DeTable<'a>) -> Self {
        let mut parts = Self { own: DeTable::new(), job: DeTable::new() };
        for (key, value) in step {
            let name = key.get_ref().clone();
            let refers = matches!(value.get_ref(), DeValue::Table(_));
            match &*name {
                name if OWN.contains(&name) => drop(parts.own.insert(key, value)),
                "for_each" | "input" if refers => drop(parts.own.insert(key, value)),
                "mounts" => {
                    let span = value.span();
                    let DeValue::Array(mounts) = value.into_inner() else {
                        // Whatever it is, the job file's type says what it should be.
                        parts.job.insert(key, Spanned::new(span.clone(), DeValue::Boolean(false)));
                        continue;
                    };
                    let (mut own, mut files) = (DeArray::new(), DeArray::new());
                    for mount in mounts {
                        let refers = matches!(mount.get_ref(), DeValue::Table(_));
                        if refers { own.push(mount) } else { files.push(mount) }
                    }
                    let array = |array| Spanned::new(span.clone(), DeValue::Array(array));
                    parts.own.insert(key.clone(), array(own));
                    parts.job.insert(key, array(files));
                }
                _ => drop(parts.job.insert(key, value)),
            }
        }
        parts
    }
}

impl JsonSchema for Name {
    fn schema_name() -> Cow<'static, str> {
        "StepName".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "description": "the name of another step"})
    }
}
