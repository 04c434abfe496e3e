//! What is to be submitted, gathered from flags and job file, before any file but the job
//! file was read. `load` reads the files and makes the specification of it.

mod items;
mod load;
mod source;
mod wishes;

use std::path::{Path, PathBuf};

use wrun_protocol::JobSpec;
use wrun_protocol::job::{self, RetryPolicy, SpecError, TaskLimits};

pub(crate) use load::{Blob, Loaded, checked_size, digest_of, hash_file, load, load_service};
pub(crate) use source::{
    CallerSource, DependencySource, HostSource, InputSource, ModelSource, MountSource,
    RetryOnSource, RouteSource,
};

use crate::error::Error;
use crate::exit::Exit;
use crate::jobfile::{self, JobFile};
use crate::servicefile;
use crate::syntax::work::Work;
use crate::toml_source::Source;
use crate::value::Pair;
use crate::workflowfile;

/// A job as flags and file describe it together.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The component's file.
    pub(crate) component: PathBuf,
    /// What the tasks are given.
    pub(crate) input: PlannedInput,
    /// What they see.
    pub(crate) mounts: Vec<MountSource>,
    /// How many of these the job file names; flags named the others.
    pub(crate) mounts_in_file: usize,
    /// The key by which the job file names the input, if it does.
    pub(crate) input_key: Option<&'static str>,
    /// Models that the guests may load by name.
    pub(crate) models: Vec<ModelSource>,
    /// Everything that needs no file. Its `component`, `input` and `mounts` are filled in last,
    /// and its models when the server has said what they are.
    pub(crate) spec: JobSpec,
    /// Where it was written, to place what is wrong with it.
    pub(crate) source: Option<Source>,
}

/// Where the input comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PlannedInput {
    /// Nothing was said.
    Unsaid,
    /// This file.
    File(PathBuf),
    /// All of standard input, read before the job is submitted.
    Stdin,
    /// This text.
    Text(String),
    /// For each task its own.
    Each(EachSource),
}

/// Where the inputs of the tasks come from, one each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EachSource {
    /// These texts.
    Texts(Vec<String>),
    /// The lines of a file, or of standard input.
    Lines(InputSource),
}

impl Plan {
    /// Reads the job file, if it is one, and lays the flags over it.
    pub(crate) fn of(work: &Work) -> Result<Self, Error> {
        let is_job_file = work.work.extension().is_some_and(|extension| extension == "toml");
        let mut plan = if is_job_file {
            let source = Source::read(&work.work, "job file", Exit::InvalidInput)?;
            if workflowfile::is_workflow(&source) {
                let text = format!("`{}` is a workflow, and a job is wanted", work.work.display());
                return Err(Error::new(Exit::InvalidInput, text)
                    .todo("workflows are for `wrun submit` and `wrun run`"));
            }
            if servicefile::is_service(&source) {
                let text = format!("`{}` is a service, and a job is wanted", work.work.display());
                return Err(
                    Error::new(Exit::InvalidInput, text).todo("deploy it with `wrun deploy`")
                );
            }
            let file = source.parse()?;
            Self::of_file(file, source)?
        } else {
            Self::of_component(work.work.clone())
        };
        plan.overlay(work)?;
        if plan.spec.name.is_empty() {
            plan.spec.name = default_name(&plan.component);
        }
        Ok(plan)
    }

    /// A job of a component with everything at its default.
    pub(crate) fn of_component(component: PathBuf) -> Self {
        let spec = JobSpec::new(wrun_protocol::Digest([0; 32]));
        Self {
            component,
            input: PlannedInput::Unsaid,
            mounts: Vec::new(),
            mounts_in_file: 0,
            input_key: None,
            models: Vec::new(),
            spec,
            source: None,
        }
    }

    /// A job as its file alone describes it.
    pub(crate) fn of_file(file: JobFile, source: Source) -> Result<Self, Error> {
        let folder = source.folder().to_owned();
        let mut plan = Self::of_component(folder.join(&file.component));
        plan.set_input(&file, &source)?;
        plan.mounts = file.mounts.iter().map(|mount| mount.under(&folder)).collect();
        plan.mounts_in_file = plan.mounts.len();
        plan.models.clone_from(&file.models);
        fill(&mut plan.spec, file)
            .map_err(|(key, error)| source.error_at(key, error).todo(wishes::WRITE_GPU))?;
        plan.source = Some(source);
        Ok(plan)
    }

    /// The input, or the inputs, that the file names: in one way.
    fn set_input(&mut self, file: &JobFile, source: &Source) -> Result<(), Error> {
        let folder = source.folder();
        let each = |each| PlannedInput::Each(each);
        let ways = [
            file.input.as_ref().map(|path| ("input", PlannedInput::File(folder.join(path)))),
            file.stdin.as_ref().map(|text| ("stdin", PlannedInput::Text(text.clone()))),
            (file.for_each.as_ref())
                .map(|texts| ("for_each", each(EachSource::Texts(texts.clone())))),
            (file.for_each_line.as_ref()).map(|path| {
                let lines = InputSource::File(folder.join(path));
                ("for_each_line", each(EachSource::Lines(lines)))
            }),
        ];
        let mut ways = ways.into_iter().flatten();
        let Some((key, input)) = ways.next() else { return Ok(()) };
        if let Some((other, _)) = ways.next() {
            let problem = format!("`{key}` and `{other}` cannot both be set");
            return Err(source.error_at(other, problem).todo("remove one of them"));
        }
        if matches!(input, PlannedInput::Each(_)) && file.count.is_some() {
            let problem = format!("`{key}` makes as many tasks as there are items");
            return Err(source.error_at("count", problem).todo("remove one of them"));
        }
        self.input = input;
        self.input_key = Some(key);
        Ok(())
    }

    fn overlay(&mut self, work: &Work) -> Result<(), Error> {
        let each = |plan: &Self| matches!(plan.input, PlannedInput::Each(_));
        for (flag, given) in [("count", work.count.is_some()), ("input", work.input.is_some())] {
            if given && each(self) {
                let problem = format!("`--{flag}`: the job file has an input for each task");
                return Err(Error::new(Exit::InvalidInput, problem)
                    .todo("give other ones with --each-line FILE"));
            }
        }
        let spec = &mut self.spec;
        if !work.args.is_empty() {
            spec.args.clone_from(&work.args);
        }
        set(&mut spec.name, work.name.clone());
        set(&mut spec.count, work.count.map(|count| count.0));
        set(&mut spec.resources.cpu_milli, work.cpu.map(|cpu| cpu.milli));
        set(&mut spec.resources.memory, work.memory.map(|size| size.0));
        set(&mut spec.limits.wall_ms, work.time_limit.map(|span| Some(span.ms)));
        set(&mut spec.priority, work.priority.map(|priority| priority.0));
        set(&mut spec.retry.retries, work.retries.map(|retries| retries.0));
        overlay_pairs(spec, &work.env, &work.label);
        wishes::overlay(&mut spec.scheduling, &work.scheduling);
        self.mounts.extend(work.mount.iter().cloned());
        self.overlay_models(&work.model, work.load_models);
        let flag = match (&work.input, &work.each_line) {
            (Some(InputSource::Stdin), _) => PlannedInput::Stdin,
            (Some(InputSource::File(path)), _) => PlannedInput::File(path.clone()),
            (None, Some(lines)) => PlannedInput::Each(EachSource::Lines(lines.clone())),
            (None, None) => return Ok(()),
        };
        self.input = flag;
        self.input_key = None;
        Ok(())
    }

    /// Lays models over those that the guest calls the same.
    pub(crate) fn overlay_models(&mut self, models: &[ModelSource], load: bool) {
        self.models.retain(|of| !models.iter().any(|other| other.name == of.name));
        self.models.extend(models.iter().cloned());
        self.spec.inference.load |= load;
    }

    /// An error about a file that `key` names, placed where the job file names it.
    pub(crate) fn at(&self, key: &str, error: Error) -> Error {
        match self.source.as_ref().and_then(|source| source.place_of(key)) {
            Some(place) => error.placed(&place),
            None => error,
        }
    }

    /// An error about one field of the specification, placed where it was written.
    pub(crate) fn explain(&self, error: &SpecError) -> Error {
        match error {
            SpecError::Field { field, problem } => self.misplaced(field, problem),
            _ => Error::new(Exit::InvalidInput, error),
        }
    }

    /// The same, for the `problem` of a field.
    pub(crate) fn misplaced(&self, field: &str, problem: &str) -> Error {
        match &self.source {
            Some(source) => source.error_at(field, problem),
            None => {
                let flag = match field {
                    "mounts" => "mount".to_owned(),
                    "labels" => "label".to_owned(),
                    "for_each" => "each-line".to_owned(),
                    "refused_labels" => "refuse-label".to_owned(),
                    "resources" => "resource".to_owned(),
                    "pools" => "pool".to_owned(),
                    "models" => "model".to_owned(),
                    "args" => {
                        return Error::new(Exit::InvalidInput, format!("arguments: {problem}"));
                    }
                    "http" | "program" | "readiness" => {
                        let text = format!("`{}`: {problem}", self.component.display());
                        return Error::new(Exit::InvalidInput, text);
                    }
                    "network" => "allow-host".to_owned(),
                    "http.routes" => "route".to_owned(),
                    "program.ports" => "port".to_owned(),
                    "readiness.path" => "ready-path".to_owned(),
                    other if other.starts_with("http.reuse") => "reuse".to_owned(),
                    // A service's fields are in tables, its options are not.
                    other => other.rsplit('.').next().unwrap_or(other).replace('_', "-"),
                };
                Error::new(Exit::InvalidInput, format!("`--{flag}`: {problem}"))
            }
        }
    }
}

fn fill(spec: &mut JobSpec, mut file: JobFile) -> Result<(), wishes::Misplaced> {
    set(&mut spec.resources.cpu_milli, file.cpu.map(|cpu| cpu.milli));
    set(&mut spec.resources.memory, file.memory.map(|size| size.0));
    set(&mut spec.resources.scratch, file.scratch.map(|size| size.0));
    spec.scheduling = wishes::of_file(&mut file, spec.resources)?;
    let limits: &mut TaskLimits = &mut spec.limits;
    limits.wall_ms = file.time_limit.map(|span| span.ms);
    limits.cpu_ms = file.cpu_time_limit.map(|span| span.ms);
    set(&mut limits.output_bytes, file.output_limit.map(|size| size.0));
    set(&mut limits.log_bytes, file.log_limit.map(|size| size.0));
    set(&mut limits.log_rate, file.log_rate.map(|size| size.0));
    set(&mut limits.handles, file.handles.map(|number| number.0));
    let retry: &mut RetryPolicy = &mut spec.retry;
    set(&mut retry.retries, file.retries.map(|number| number.0));
    set(&mut retry.backoff_ms, file.retry.backoff.map(|span| span.ms));
    set(&mut retry.max_backoff_ms, file.retry.max_backoff.map(|span| span.ms));
    set(&mut retry.requeues, file.retry.requeues.map(|number| number.0));
    retry.on = file.retry.on.into_iter().map(|on| on.0).collect();
    set(&mut spec.name, file.name);
    set(&mut spec.count, file.count.map(|count| count.0));
    set(&mut spec.priority, file.priority.map(|priority| priority.0));
    spec.args = file.args;
    spec.inference.load = file.load_models;
    spec.env = file.env.into_iter().collect();
    spec.labels = file.labels;
    spec.network = file.network.into_iter().map(|host| host.0).collect();
    spec.on_disconnect = match file.on_disconnect {
        Some(jobfile::OnDisconnect::Stop) => job::OnDisconnect::Stop,
        Some(jobfile::OnDisconnect::Continue) | None => job::OnDisconnect::Continue,
    };
    Ok(())
}

/// Lays pairs over those of the same key.
pub(crate) fn overlay_pairs(spec: &mut JobSpec, env: &[Pair], labels: &[Pair]) {
    for pair in env {
        spec.env.retain(|(key, _)| *key != pair.key);
        spec.env.push((pair.key.clone(), pair.value.clone()));
    }
    for pair in labels {
        spec.labels.insert(pair.key.clone(), pair.value.clone());
    }
}

/// Sets what was said.
pub(crate) fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

/// The component's file name without its ending, cut to what a name may be.
fn default_name(component: &Path) -> String {
    let stem = component.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
    let mut name = String::new();
    for c in stem.chars().filter(|c| !c.is_control()) {
        if name.len() + c.len_utf8() > wrun_protocol::limits::MAX_NAME {
            break;
        }
        name.push(c);
    }
    name
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::syntax::{Cli, Command};

    fn plan(file: &str, flags: &[&str]) -> Result<Plan, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("job.toml");
        std::fs::write(&path, file).unwrap();
        let line =
            ["wrun", "submit", path.to_str().unwrap()].into_iter().chain(flags.iter().copied());
        let Command::Submit(submit) = Cli::try_parse_from(line).unwrap().command else { panic!() };
        Plan::of(&submit.work)
    }

    #[test]
    fn flags_win_over_the_file_and_lists_add_up() {
        let file = "component = \"a.wasm\"\ncount = 3\nmemory = \"64MiB\"\nargs = [\"x\"]\n\
                    mounts = [\"m\"]\nenv = { A = \"1\", B = \"2\" }\n";
        let flags = ["--count", "5", "--env", "B=3", "--mount", "n", "--", "y", "z"];
        let plan = plan(file, &flags).unwrap();
        assert_eq!(plan.spec.count, 5);
        assert_eq!(plan.spec.resources.memory, 64 << 20);
        assert_eq!(plan.spec.args, ["y", "z"]);
        assert_eq!(plan.spec.env, [("A".into(), "1".into()), ("B".into(), "3".into())]);
        assert_eq!(plan.mounts.len(), 2);
        assert_eq!(plan.spec.name, "a");
    }

    #[test]
    fn paths_in_the_file_are_relative_to_it() {
        let plan = plan("component = \"a.wasm\"\ninput = \"b\"\n", &[]).unwrap();
        let folder = plan.source.as_ref().unwrap().folder();
        assert_eq!(plan.component, folder.join("a.wasm"));
        assert_eq!(plan.input, PlannedInput::File(folder.join("b")));
    }

    #[test]
    fn what_the_specification_refuses_is_placed_in_the_file() {
        let plan = plan("component = \"a.wasm\"\nmemory = 10\n", &[]).unwrap();
        let error = plan.explain(&plan.spec.check().unwrap_err()).to_string();
        assert!(error.contains("job.toml:2:10: `memory`: 10 bytes; at least 1 MiB"), "{error}");
    }

    #[test]
    fn two_inputs_are_refused() {
        let error = plan("component = \"a\"\ninput = \"b\"\nstdin = \"c\"\n", &[]).unwrap_err();
        assert!(error.to_string().contains("job.toml:3:9: `stdin`: "), "{error}");
    }
}
