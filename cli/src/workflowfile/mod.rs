//! The workflow file: steps that are jobs, with needs between them, in TOML. Each step's
//! table is a job file's with a few fields more. Names are resolved here, and whatever is
//! wrong is told with file, line and column.

mod fields;
mod schema;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::{DeTable, DeValue};
use wrun_protocol::Digest;
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::workflow::{
    Condition, EncodedWorkflow, ForEach, Step, StepMount, When, Workflow, WorkflowError,
};

use crate::error::Error;
use crate::exit::Exit;
use crate::jobfile::JobFile;
use crate::plan::{self, Blob, ModelSource, Plan};
use crate::syntax::work::Work;
use crate::toml_source::{Source, closest};
use fields::{ItemsOf, Name, OnlyIf, Parts, StepFields, WhenName};

pub(crate) use schema::WorkflowFile;

/// The last step's name, and its key.
const FINALLY: &str = "finally";

/// A workflow ready to be submitted.
#[derive(Debug)]
pub(crate) struct LoadedWorkflow {
    pub(crate) encoded: EncodedWorkflow,
    /// What the server must hold for it.
    pub(crate) blobs: BTreeMap<Digest, Blob>,
    /// Models that each step names, the last step included: what they are, the server says.
    pub(crate) models: Vec<Vec<ModelSource>>,
}

/// Whether the file is a workflow's and not a job's.
pub(crate) fn is_workflow(source: &Source) -> bool {
    let table = source.table();
    table.is_ok_and(|table| {
        table.get_ref().contains_key("steps") || table.get_ref().contains_key(FINALLY)
    })
}

/// The workflow, if that is what the command line names.
pub(crate) fn of_work(work: &Work) -> Result<Option<LoadedWorkflow>, Error> {
    if work.work.extension().is_none_or(|extension| extension != "toml") {
        return Ok(None);
    }
    let source = Source::read(&work.work, "job file", Exit::InvalidInput)?;
    if !is_workflow(&source) {
        return Ok(None);
    }
    if let Some(option) = work.job_option() {
        let text = format!("`{option}` says something of one job, and this is a workflow");
        return Err(Error::new(Exit::InvalidInput, text).todo("write it into the file, in a step"));
    }
    load(&source, work.name.as_deref()).map(Some)
}

/// Reads the workflow and all files that it names.
fn load(source: &Source, name: Option<&str>) -> Result<LoadedWorkflow, Error> {
    let file = Tables::of(source)?;
    let named = match name {
        Some(name) => name.to_owned(),
        None => file.name.clone().unwrap_or_else(|| source.stem()),
    };
    let names: Vec<&str> = file.steps.iter().map(|step| step.name.as_str()).collect();
    let names = Names { source, names };
    let (mut blobs, mut models) = (BTreeMap::new(), Vec::new());
    let mut read = |table: &StepTable<'_>| read_step(&names, table, &mut blobs, &mut models);
    let steps = file.steps.iter().map(&mut read).collect::<Result<_, _>>()?;
    let finally = file.finally.as_ref().map(&mut read).transpose()?;
    let workflow = Workflow { name: named, steps, finally };
    let encoded = EncodedWorkflow::encode(&workflow)
        .map_err(|error| explain(source, &workflow, &error, name.is_some()))?;
    Ok(LoadedWorkflow { encoded, blobs, models })
}

/// The file's tables, in the order in which they are written.
struct Tables<'a> {
    name: Option<String>,
    steps: Vec<StepTable<'a>>,
    finally: Option<StepTable<'a>>,
}

/// One step as it is written.
struct StepTable<'a> {
    name: String,
    /// As the file names it.
    path: Vec<String>,
    span: Range<usize>,
    table: DeTable<'a>,
}

impl<'a> Tables<'a> {
    fn of(source: &'a Source) -> Result<Self, Error> {
        let mut tables = Self { name: None, steps: Vec::new(), finally: None };
        for (key, value) in source.table()?.into_inner() {
            let span = value.span();
            match (&**key.get_ref(), value.into_inner()) {
                ("name", DeValue::String(name)) => tables.name = Some(name.into_owned()),
                ("name", _) => return Err(source.error_at("name", "write a text in quotes")),
                ("steps", DeValue::Table(steps)) => tables.add_steps(source, steps)?,
                (FINALLY, DeValue::Table(table)) => {
                    let (name, path) = (FINALLY.to_owned(), vec![FINALLY.to_owned()]);
                    tables.finally = Some(StepTable { name, path, span, table });
                }
                (key @ ("steps" | FINALLY), _) => {
                    let write = if key == FINALLY { "[finally]" } else { "[steps.NAME]" };
                    return Err(source.error_at(key, format!("write a table: {write}")));
                }
                (unknown, _) => {
                    let text =
                        format!("{}: unknown key `{unknown}`", source.place(key.span().start));
                    return Err(Error::new(Exit::InvalidInput, text)
                        .todo("a workflow has `name`, `[steps.NAME]` and `[finally]`; what a job is belongs into a step"));
                }
            }
        }
        // The parser sorts by name.
        tables.steps.sort_by_key(|step| step.span.start);
        Ok(tables)
    }

    fn add_steps(&mut self, source: &Source, steps: DeTable<'a>) -> Result<(), Error> {
        for (key, value) in steps {
            let (name, start) = (key.get_ref().to_string(), key.span().start);
            let path = vec!["steps".to_owned(), name.clone()];
            let DeValue::Table(table) = value.into_inner() else {
                let text = format!(
                    "{}: `steps.{name}`: write a table: [steps.{name}]",
                    source.place(start)
                );
                return Err(Error::new(Exit::InvalidInput, text));
            };
            self.steps.push(StepTable { name, path, span: key.span(), table });
        }
        Ok(())
    }
}

fn read_step(
    names: &Names<'_>,
    table: &StepTable<'_>,
    blobs: &mut BTreeMap<Digest, Blob>,
    models: &mut Vec<Vec<ModelSource>>,
) -> Result<Step, Error> {
    let source = names.source.within(&table.path, table.span.start);
    refuse_unknown(&source, table)?;
    let Parts { own, job } = Parts::of(table.table.clone());
    let own: StepFields = source.parse_table(own, &table.span)?;
    let file: JobFile = source.parse_table(job, &table.span)?;
    if file.name.is_some() {
        return Err(source
            .error_at("name", "a step's job is named after the workflow and the step")
            .todo("leave it out"));
    }
    let plan = Plan::of_file(file, source.clone())?;
    let loaded = plan::load(plan, false)?;
    for (digest, blob) in loaded.blobs {
        blobs.entry(digest).or_insert(blob);
    }
    models.push(loaded.models);
    let job =
        EncodedSpec::encode(&loaded.spec).map_err(|error| Error::new(Exit::InvalidInput, error))?;
    let mut step = Step::new(table.name.clone(), job);
    names.resolve(&source, own, &mut step)?;
    Ok(step)
}

/// Each part of a step would know its own keys only.
fn refuse_unknown(source: &Source, step: &StepTable<'_>) -> Result<(), Error> {
    let known = schema::step_keys();
    for key in step.table.keys() {
        let name = &**key.get_ref();
        if known.iter().any(|known| known == name) {
            continue;
        }
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let text = format!("{}: unknown key `{name}`", source.place(key.span().start));
        return Err(Error::new(Exit::InvalidInput, text).todo(match closest(name, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                format!("a step has the fields of a job file, and {}", fields::NAMES.join(", "))
            }
        }));
    }
    Ok(())
}

/// The steps' names, by place.
struct Names<'a> {
    source: &'a Source,
    names: Vec<&'a str>,
}

impl Names<'_> {
    fn resolve(&self, source: &Source, own: StepFields, step: &mut Step) -> Result<(), Error> {
        step.needs = own
            .needs
            .iter()
            .map(|name| self.find(source, "needs", name))
            .collect::<Result<_, _>>()?;
        step.when = match own.when {
            None | Some(WhenName::Success) => When::Success,
            Some(WhenName::Failure) => When::Failure,
            Some(WhenName::End) => When::End,
        };
        step.only_if = own.only_if.map(|only_if| self.condition(source, only_if)).transpose()?;
        step.for_each = own.for_each.map(|items| self.items(source, &items)).transpose()?;
        step.input =
            own.input.map(|input| self.find(source, "input", &input.output)).transpose()?;
        for mount in own.mounts {
            let (other, path) = (self.find(source, "mounts", &mount.output)?, mount.path);
            step.mounts.push(StepMount { step: other, path });
        }
        step.timeout_ms = own.timeout.map(|span| span.ms);
        step.may_fail = own.may_fail;
        Ok(())
    }

    fn condition(&self, source: &Source, only_if: OnlyIf) -> Result<Condition, Error> {
        let step = self.find(source, "only_if", &only_if.output)?;
        let (equals, text) = match (only_if.equals, only_if.not_equals) {
            (Some(text), None) => (true, text),
            (None, Some(text)) => (false, text),
            _ => {
                return Err(source.error_at("only_if", "write one of `equals` and `not_equals`"));
            }
        };
        Ok(Condition { step, equals, text })
    }

    fn items(&self, source: &Source, items: &ItemsOf) -> Result<ForEach, Error> {
        let find = |name: &Name| self.find(source, "for_each", name);
        match (&items.lines, &items.json, &items.tasks) {
            (Some(name), None, None) => Ok(ForEach::Lines(find(name)?)),
            (None, Some(name), None) => Ok(ForEach::Json(find(name)?)),
            (None, None, Some(name)) => Ok(ForEach::Tasks(find(name)?)),
            _ => Err(source.error_at("for_each", "write one of `lines`, `json` and `tasks`")),
        }
    }

    /// The place of the step of that name.
    fn find(&self, source: &Source, key: &str, name: &Name) -> Result<u16, Error> {
        let (offset, name) = (name.0.span().start, name.0.get_ref().as_str());
        let found = self.names.iter().position(|other| *other == name);
        if let Some(index) = found.and_then(|index| u16::try_from(index).ok()) {
            return Ok(index);
        }
        let place = format!("{}: `{}`", source.place(offset), source.full(key));
        if name == FINALLY {
            let text = format!("{place}: `{FINALLY}` comes after every other step");
            return Err(Error::new(Exit::InvalidInput, text).todo("leave it out"));
        }
        let text = format!("{place}: there is no step `{name}`");
        Err(Error::new(Exit::InvalidInput, text).todo(match closest(name, &self.names) {
            Some(near) => format!("did you mean `{near}`?"),
            None if self.names.is_empty() => "write one: [steps.NAME]".to_owned(),
            None => format!("the steps are {}", self.names.join(", ")),
        }))
    }
}

/// What the protocol refuses, placed where it is written.
fn explain(source: &Source, workflow: &Workflow, error: &WorkflowError, named: bool) -> Error {
    let within = |index: u16| {
        let name = workflow.step(index).map(|step| step.name.clone()).unwrap_or_default();
        let is_last = usize::from(index) >= workflow.steps.len();
        let path = if is_last { vec![name] } else { vec!["steps".to_owned(), name] };
        source.within_found(&path)
    };
    match error {
        WorkflowError::Field { field: "name", problem } if named => {
            Error::new(Exit::InvalidInput, format!("`--name`: {problem}"))
        }
        WorkflowError::Field { field, problem } => source.error_at(field, problem),
        WorkflowError::Step { index, field, problem, .. } => {
            within(*index).error_at(field, problem)
        }
        WorkflowError::Cycle { steps, .. } => match steps.first() {
            Some(first) => within(*first)
                .error_at("needs", error)
                .todo("one of them must come before the others"),
            None => Error::new(Exit::InvalidInput, error),
        },
        WorkflowError::TooLarge { .. } | WorkflowError::Unreadable(_) => {
            Error::new(Exit::InvalidInput, error)
        }
    }
}
