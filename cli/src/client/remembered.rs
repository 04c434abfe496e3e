//! Which tasks of a job did not run because their results were remembered.

use wrun_protocol::limits::MAX_PAGE;
use wrun_protocol::wire::user::{RememberedTasks, Request, Response};
use wrun_protocol::{JobId, JobSpec};

use super::{Client, unexpected};
use crate::error::Error;

/// All of them, in order; asks only where the job wants results to be remembered.
pub(crate) async fn fetch(
    client: &Client,
    job: JobId,
    spec: Option<&JobSpec>,
) -> Result<Vec<RememberedTasks>, Error> {
    let mut all = Vec::new();
    if !spec.is_some_and(|spec| spec.scheduling.cache) {
        return Ok(all);
    }
    let mut from = 0;
    loop {
        let page = match client.ask(&Request::Remembered { job, from }).await? {
            Response::Remembered(page) => page,
            other => return Err(unexpected(&other)),
        };
        let last = page.last().map(|of| of.tasks.end());
        let is_last = page.len() < MAX_PAGE as usize;
        all.extend(page);
        match last {
            Some(end) if !is_last => from = end,
            _ => return Ok(all),
        }
    }
}

/// How many tasks these are.
pub(crate) fn count(of: &[RememberedTasks]) -> u64 {
    of.iter().map(|of| u64::from(of.tasks.count)).sum()
}

/// From which jobs, in words: `job 3` or `jobs 3 and 4`.
pub(crate) fn origins(of: &[RememberedTasks]) -> String {
    let mut jobs: Vec<JobId> = of.iter().map(|of| of.from).collect();
    jobs.sort_unstable();
    jobs.dedup();
    match jobs.as_slice() {
        [] => String::new(),
        [one] => format!("job {one}"),
        [one, other] => format!("jobs {one} and {other}"),
        [first, .., last] => format!("{} jobs, {first} to {last}", jobs.len()),
    }
}

#[cfg(test)]
mod tests {
    use wrun_protocol::IndexRange;

    use super::*;

    #[test]
    fn origins_are_named_once_each() {
        let of = |jobs: &[u64]| {
            let tasks = IndexRange { first: 0, count: 2 };
            let of = jobs.iter().map(|job| RememberedTasks { tasks, from: JobId(*job) });
            of.collect::<Vec<_>>()
        };
        assert_eq!(origins(&of(&[3, 3])), "job 3");
        assert_eq!(origins(&of(&[4, 3, 4])), "jobs 3 and 4");
        assert_eq!(origins(&of(&[9, 3, 4])), "3 jobs, 3 to 9");
        assert_eq!(count(&of(&[4, 3, 4])), 6);
    }
}
