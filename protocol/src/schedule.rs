//! Jobs that are submitted again and again, at times that a cron expression gives.

use serde::{Deserialize, Serialize};

use crate::cron::Cron;
use crate::job::{EncodedSpec, Input, SpecError};
use crate::{JobSpec, Timestamp};

/// Longest name of a schedule, in bytes.
pub const MAX_SCHEDULE_NAME: usize = 64;

/// A job that is submitted by the cluster whenever it is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Its name, unique within its tenant.
    pub name: String,
    /// When it is due.
    pub cron: Cron,
    /// What becomes of a run while an earlier one has not ended.
    pub overlap: Overlap,
    /// What becomes of runs that were due while no server ran.
    pub missed: Missed,
    /// Not due after this instant.
    pub until: Option<Timestamp>,
    /// The job, which is the same each time.
    pub spec: EncodedSpec,
}

/// What becomes of a run that is due while an earlier one has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// It is left out.
    #[default]
    Skip,
    /// It is submitted, and waits for the end of the earlier one.
    Queue,
    /// The earlier one is cancelled.
    Replace,
}

/// What becomes of runs that were due while no server ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missed {
    /// They are left out.
    #[default]
    Skip,
    /// The latest of them is made up for.
    Once,
    /// Each of them is made up for, oldest first; at most [`MAX_RUNS`], the latest.
    All,
}

/// Most runs of a schedule that have not ended, and most that are made up for at once.
pub const MAX_RUNS: usize = 100;

/// Why a schedule is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The name cannot be one.
    #[error(
        "`{0}` is not a schedule's name: use 1 to {MAX_SCHEDULE_NAME} letters, digits, `-`, `_` and `.`, beginning with a letter or digit"
    )]
    Name(String),
    /// The job cannot be one.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The job makes sense only once.
    #[error("`{field}` cannot be used in a schedule, whose job runs again and again: {instead}")]
    Once {
        /// The field of the job.
        field: &'static str,
        /// What to do.
        instead: &'static str,
    },
}

impl Schedule {
    /// Checks it in itself, and returns its job.
    ///
    /// # Errors
    /// Says what to write instead.
    pub fn check(&self) -> Result<JobSpec, ScheduleError> {
        if !is_schedule_name(&self.name) {
            return Err(ScheduleError::Name(self.name.clone()));
        }
        let spec = self.spec.decode()?;
        let once = |field, instead| Err(ScheduleError::Once { field, instead });
        if spec.input == Input::Attached {
            return once("input", "nobody is attached to it; give its input as a file");
        }
        if spec.scheduling.begin.is_some() {
            return once("begin", "say when it runs by the cron expression");
        }
        if spec.scheduling.deadline.is_some() {
            return once("deadline", "give the schedule an end, and the job a time limit");
        }
        if !spec.scheduling.depends_on.is_empty() {
            return once("depends_on", "let its runs wait for each other by the overlap policy");
        }
        Ok(spec)
    }
}

/// Whether a schedule may be called that.
pub fn is_schedule_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.len() <= MAX_SCHEDULE_NAME
        && text.bytes().all(allowed)
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduling::{Dependency, DependsOn};
    use crate::{Digest, JobId};

    fn schedule(change: impl FnOnce(&mut JobSpec)) -> Schedule {
        let mut spec = JobSpec::new(Digest([1; 32]));
        change(&mut spec);
        Schedule {
            name: "nightly".to_owned(),
            cron: "@daily".parse().unwrap(),
            overlap: Overlap::default(),
            missed: Missed::default(),
            until: None,
            spec: EncodedSpec::encode(&spec).unwrap(),
        }
    }

    #[test]
    fn a_schedule_is_named_in_one_word() {
        for name in ["nightly", "7", "a.b_c-D", &"x".repeat(MAX_SCHEDULE_NAME)] {
            assert!(is_schedule_name(name), "{name}");
        }
        for name in ["", "-x", "a b", "a/b", "ä", &"x".repeat(MAX_SCHEDULE_NAME + 1)] {
            assert!(!is_schedule_name(name), "{name}");
            let unnamed = Schedule { name: name.to_owned(), ..schedule(|_| ()) };
            assert_eq!(unnamed.check(), Err(ScheduleError::Name(name.to_owned())));
        }
    }

    #[test]
    fn a_job_that_makes_sense_only_once_is_refused() {
        let dependency = Dependency { job: JobId(1), on: DependsOn::End };
        let refused = |schedule: Schedule| match schedule.check() {
            Err(ScheduleError::Once { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(schedule(|spec| spec.input = Input::Attached)), "input");
        assert_eq!(refused(schedule(|spec| spec.scheduling.begin = Some(Timestamp(1)))), "begin");
        let dated = schedule(|spec| spec.scheduling.deadline = Some(Timestamp(1)));
        assert_eq!(refused(dated), "deadline");
        let waits = schedule(|spec| spec.scheduling.depends_on = vec![dependency]);
        assert_eq!(refused(waits), "depends_on");
        assert!(schedule(|_| ()).check().is_ok());
    }
}
