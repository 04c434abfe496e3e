//! Some tasks of a job, on their way to their end. Looks at them in order of index and goes
//! on where it stopped, so that each is looked at once after it has ended, however many
//! there are and however often the job changes.

use wrun_protocol::limits::MAX_PAGE;
use wrun_protocol::task::Outcome;
use wrun_protocol::wire::user::{
    JobProgress, JobState, Request, Response, TaskCounts, TaskDetail, TaskState,
};
use wrun_protocol::{IndexRange, JobId};

use crate::client::{Client, unexpected};
use crate::command::logs;
use crate::error::Error;
use crate::exit::Exit;
use crate::value::Indices;

/// The tasks, and how those ended that were looked at.
pub(super) struct Part {
    job: JobId,
    /// Those left to look at, the lowest indices last.
    left: Vec<IndexRange>,
    ended: TaskCounts,
    failure: Option<Outcome>,
}

impl Part {
    /// Refused where the job has no such tasks.
    pub(super) async fn of(client: &Client, job: JobId, indices: &Indices) -> Result<Self, Error> {
        let detail = logs::detail(client, job).await?;
        let count = crate::report::human::total(&detail.summary.tasks);
        let last = indices.0.last().map_or(0, |range| u64::from(range.end()));
        if last > count {
            let text = format!("job {job} has no task {}", last - 1);
            return Err(Error::new(Exit::NotFound, text)
                .todo(format!("its tasks are 0 to {}", count.saturating_sub(1))));
        }
        Ok(Self::new(job, indices))
    }

    fn new(job: JobId, indices: &Indices) -> Self {
        let left = indices.0.iter().rev().copied().collect();
        Self { job, left, ended: TaskCounts::default(), failure: None }
    }

    /// Looks on from where it stopped. How they ended, once all have.
    pub(super) async fn look(&mut self, client: &Client) -> Result<Option<JobProgress>, Error> {
        while let Some(next) = self.left.last() {
            let (job, from, limit) = (self.job, next.first, next.count.min(MAX_PAGE));
            let page = match client.ask(&Request::Tasks { job, from, limit, state: None }).await? {
                Response::Tasks(page) => page,
                other => return Err(unexpected(&other)),
            };
            if page.first().map(|task| task.index) != Some(from) {
                let text = format!("the server no longer knows task {from} of job {job}");
                return Err(Error::new(Exit::NotFound, text)
                    .todo("it has ended long ago: the history forgets after a while"));
            }
            for task in page {
                if !self.take(&task) {
                    return Ok(None);
                }
            }
        }
        Ok(Some(JobProgress {
            state: self.state(),
            tasks: self.ended,
            failure: self.failure.clone(),
        }))
    }

    /// Counts a task that has ended; `false` if it has not.
    fn take(&mut self, task: &TaskDetail) -> bool {
        match task.state {
            TaskState::Succeeded => self.ended.succeeded += 1,
            TaskState::Cancelled => self.ended.cancelled += 1,
            TaskState::Failed => {
                self.ended.failed += 1;
                self.failure = self.failure.take().or_else(|| task.outcome.clone());
            }
            TaskState::Pending
            | TaskState::Assigned
            | TaskState::Running
            | TaskState::Frozen
            | TaskState::Stopping => return false,
        }
        if let Some(range) = self.left.last_mut() {
            range.first += 1;
            range.count -= 1;
            if range.count == 0 {
                self.left.pop();
            }
        }
        true
    }

    /// What a job of these tasks alone would have come to.
    fn state(&self) -> JobState {
        match self.ended {
            TaskCounts { failed: 1.., .. } => JobState::Failed,
            TaskCounts { cancelled: 1.., .. } => JobState::Cancelled,
            _ => JobState::Succeeded,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(index: u32, state: TaskState) -> TaskDetail {
        TaskDetail {
            index,
            state,
            attempts: 1,
            node: None,
            node_name: None,
            started: None,
            ended: None,
            outcome: None,
            usage: wrun_protocol::task::Usage::default(),
            progress: None,
        }
    }

    #[test]
    fn it_goes_on_where_it_stopped() {
        let mut part = Part::new(JobId(1), &"7-8,3".parse().unwrap());
        assert!(!part.take(&task(3, TaskState::Running)));
        assert!(part.take(&task(3, TaskState::Succeeded)));
        assert!(part.take(&task(7, TaskState::Cancelled)));
        assert_eq!(part.left, [IndexRange { first: 8, count: 1 }]);
        assert_eq!(part.state(), JobState::Cancelled);
        assert!(part.take(&task(8, TaskState::Failed)));
        assert_eq!(part.left, []);
        assert_eq!(part.state(), JobState::Failed, "a failure counts for more");
    }
}
