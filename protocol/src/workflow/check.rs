//! Whether a workflow can be what it says: names, references, types of outputs, cycles.

use std::collections::BTreeSet;

use super::{Graph, OUTCOMES_PATH, Step, Workflow};
use crate::job::{Input, SpecError};
use crate::limits::{
    MAX_CONDITION, MAX_LIST, MAX_MOUNTED_FILES, MAX_STEP_NAME, MAX_STEPS, MAX_TIME_MS, MAX_WORKFLOW,
};
use crate::{JobSpec, schedule};

/// Why a workflow is refused. The text names the step, the field and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkflowError {
    /// A field of the workflow has a value that cannot be.
    #[error("`{field}`: {problem}")]
    Field {
        /// The field as the workflow file names it.
        field: &'static str,
        /// What is wrong and what is allowed.
        problem: String,
    },
    /// A field of a step has a value that cannot be.
    #[error("step `{step}`: `{field}`: {problem}")]
    Step {
        /// The step's place.
        index: u16,
        /// Its name.
        step: String,
        /// The field as the workflow file names it.
        field: &'static str,
        /// What is wrong and what is allowed.
        problem: String,
    },
    /// Steps wait for each other.
    #[error("steps need each other in a circle: {}", in_a_circle(.names))]
    Cycle {
        /// Their places: each needs the next, the last the first.
        steps: Vec<u16>,
        /// Their names.
        names: Vec<String>,
    },
    /// The whole is larger than [`MAX_WORKFLOW`].
    #[error(
        "the workflow takes {size} bytes; at most {MAX_WORKFLOW} are allowed: pass long data as mounts, or make two of it"
    )]
    TooLarge {
        /// Encoded size in bytes.
        size: usize,
    },
    /// The bytes are not a workflow that this version of wrun knows.
    #[error("the workflow cannot be read: {0}")]
    Unreadable(String),
}

fn in_a_circle(names: &[String]) -> String {
    let circle: Vec<&str> = names.iter().chain(names.first()).map(String::as_str).collect();
    circle.join(" → ")
}

/// Field and problem.
type Problem = (&'static str, String);

impl Workflow {
    /// Checks it in itself. Says nothing of whether components exist or nodes suit.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn check(&self) -> Result<Graph, WorkflowError> {
        let of_all = |(field, problem)| WorkflowError::Field { field, problem };
        require(is_step_name(&self.name), "name", || not_a_name(&self.name)).map_err(of_all)?;
        let count = self.every_step().count();
        let bounded = !self.steps.is_empty() && count <= MAX_STEPS;
        require(bounded, "steps", || format!("{count}; use 1 to {MAX_STEPS}")).map_err(of_all)?;
        let mut names = BTreeSet::new();
        let mut many = Vec::new();
        for (index, step) in self.every_step() {
            let of_step = |problem| step.error(index, problem);
            require(is_step_name(&step.name), "name", || not_a_name(&step.name))
                .map_err(of_step)?;
            require(names.insert(&step.name), "name", || {
                "another step is called that; names are unique within a workflow".to_owned()
            })
            .map_err(of_step)?;
            let job = step.check_job().map_err(of_step)?;
            many.push(step.for_each.is_some() || job.count != 1);
            step.check_times().map_err(of_step)?;
            step.check_paths(&job).map_err(of_step)?;
            if usize::from(index) >= self.steps.len() {
                step.check_outcomes(&job).map_err(of_step)?;
            }
            self.check_references(index, step).map_err(of_step)?;
        }
        for (index, step) in self.every_step() {
            self.check_types(step, &many).map_err(|problem| step.error(index, problem))?;
        }
        let graph = Graph::of(self);
        match graph.cycle() {
            None => Ok(graph),
            Some(steps) => {
                let name = |step: &u16| self.step(*step).map(|step| step.name.clone());
                let names = steps.iter().filter_map(name).collect();
                Err(WorkflowError::Cycle { steps, names })
            }
        }
    }

    fn check_references(&self, index: u16, step: &Step) -> Result<(), Problem> {
        let needs = step.needs.iter().map(|need| ("needs", *need));
        for (field, other) in needs.chain(step.sources()) {
            require(usize::from(other) < self.steps.len(), field, || {
                format!("there is no step number {other} to refer to")
            })?;
        }
        let last = usize::from(index) >= self.steps.len();
        require(!last || step.needs.is_empty(), "needs", || {
            "the last step comes after all others anyway: leave it out".to_owned()
        })?;
        let certain = !last && step.when == super::When::Success;
        let other = step.sources().find(|(field, _)| *field != "mounts");
        match other.filter(|_| !certain) {
            None => Ok(()),
            Some((field, _)) => Err((
                field,
                "only a step that runs after success alone can count on an output; take it by `mounts`, where the file is left out if there is none".to_owned(),
            )),
        }
    }

    /// Holds that whoever takes one output takes it of a step of one task.
    fn check_types(&self, step: &Step, many: &[bool]) -> Result<(), Problem> {
        let of_one = |field: &&'static str| match *field {
            "for_each" => !matches!(step.for_each, Some(super::ForEach::Tasks(_))),
            field => field != "mounts",
        };
        for (field, source) in step.sources().filter(|(field, _)| of_one(field)) {
            let is_many = many.get(usize::from(source)).copied().unwrap_or(false);
            require(!is_many, field, || {
                let name = self.step(source).map_or("", |source| &source.name);
                format!(
                    "`{name}` has many tasks, and no one output: gather them first, in a step of one task that mounts them"
                )
            })?;
        }
        Ok(())
    }
}

impl Step {
    fn error(&self, index: u16, (field, problem): Problem) -> WorkflowError {
        WorkflowError::Step { index, step: self.name.clone(), field, problem }
    }

    fn check_job(&self) -> Result<JobSpec, Problem> {
        let job = self.job.decode().map_err(|error| match error {
            SpecError::Field { field, problem } => (field, problem),
            other => ("job", other.to_string()),
        })?;
        require(job.name.is_empty(), "name", || "the job is named after the step".to_owned())?;
        require(job.input != Input::Attached, "input", || {
            "nobody is attached to a step; give its input as a file".to_owned()
        })?;
        require(job.scheduling.depends_on.is_empty(), "depends_on", || {
            "say what comes before by `needs`".to_owned()
        })?;
        let given = job.input != Input::Empty;
        require(!(given && self.input.is_some()), "input", || {
            "it comes from another step and from elsewhere; leave one out".to_owned()
        })?;
        require(!(self.for_each.is_some() && (given || self.input.is_some())), "for_each", || {
            "each item is the input of one task: leave `input` out".to_owned()
        })?;
        require(self.for_each.is_none() || job.count == 1, "count", || {
            "there are as many tasks as items: leave it out".to_owned()
        })?;
        Ok(job)
    }

    fn check_times(&self) -> Result<(), Problem> {
        let ms = self.timeout_ms.unwrap_or(1);
        require((1..=MAX_TIME_MS).contains(&ms), "timeout", || {
            "use more than zero and at most 366 days".to_owned()
        })?;
        let text = self.only_if.as_ref().map_or(0, |only_if| only_if.text.len());
        require(text <= MAX_CONDITION, "only_if", || {
            format!("{text} bytes to compare with; at most {MAX_CONDITION}")
        })?;
        require(self.needs.len() <= MAX_STEPS, "needs", || {
            format!("{} steps; at most {MAX_STEPS}", self.needs.len())
        })
    }

    /// Holds that there is room for what the last step is told of the others.
    fn check_outcomes(&self, job: &JobSpec) -> Result<(), Problem> {
        let outputs = self.mounts.iter().map(|mount| &mount.path);
        let mut paths = outputs.chain(job.mounts.iter().map(|file| &file.path));
        let taken = paths.find(|path| overlap(path, OUTCOMES_PATH));
        require(taken.is_none(), "mounts", || {
            format!(
                "`{}` is in the way of `{OUTCOMES_PATH}`, where the last step finds what became of the others: choose another path",
                taken.map_or("", String::as_str)
            )
        })?;
        require(job.mounts.len() < MAX_MOUNTED_FILES, "mounts", || {
            format!("{MAX_MOUNTED_FILES} files; the last step has one fewer, for `{OUTCOMES_PATH}`")
        })
    }

    fn check_paths(&self, job: &JobSpec) -> Result<(), Problem> {
        require(self.mounts.len() <= MAX_LIST, "mounts", || {
            format!("{} outputs; at most {MAX_LIST}", self.mounts.len())
        })?;
        for mount in &self.mounts {
            let path = &mount.path;
            crate::job::check_path(path).map_err(|problem| ("mounts", problem))?;
            let others = self.mounts.iter().filter(|other| !std::ptr::eq(*other, mount));
            let mut others =
                others.map(|other| &other.path).chain(job.mounts.iter().map(|file| &file.path));
            if let Some(other) = others.find(|other| overlap(path, other)) {
                return Err(("mounts", format!("`{path}` and `{other}` are in each other's way")));
            }
        }
        Ok(())
    }
}

/// Whether one path is the other or lies in it.
fn overlap(one: &str, other: &str) -> bool {
    let within = |inner: &str, outer: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    within(one, other) || within(other, one)
}

/// Whether a workflow or a step may be called that.
fn is_step_name(text: &str) -> bool {
    text.len() <= MAX_STEP_NAME && schedule::is_schedule_name(text)
}

fn not_a_name(text: &str) -> String {
    format!(
        "`{}` is not a name: use 1 to {MAX_STEP_NAME} letters, digits, `-`, `_` and `.`, beginning with a letter or digit",
        text.escape_default()
    )
}

fn require(
    holds: bool,
    field: &'static str,
    problem: impl FnOnce() -> String,
) -> Result<(), Problem> {
    if holds { Ok(()) } else { Err((field, problem())) }
}
