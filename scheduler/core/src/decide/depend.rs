//! Jobs that wait for others: whether that can be, when it has come about, and what
//! becomes of a job whose wait would never end.

use std::collections::BTreeSet;

use wrun_protocol::scheduling::{Dependency, DependsOn};
use wrun_protocol::wire::user::{ErrorCode, JobState, RequestError};
use wrun_protocol::{IndexRange, JobId, JobSpec};

use super::array::joined;
use crate::core::Core;
use crate::fact::Fact;
use crate::input::Prior;
use crate::state::dependents::{News, Settled};
use crate::state::groups::TenantIx;
use crate::state::jobs::{Job, Over, Tasks};

impl Core {
    /// Checks what a new job wants to wait for. Returns what is settled already, for jobs
    /// that have ended; those that live are looked at once the job is in.
    pub(crate) fn check_dependencies(
        &self,
        tenant: Option<TenantIx>,
        spec: &JobSpec,
        ended: &[Prior],
    ) -> Result<Vec<Settled>, RequestError> {
        let mut settled = Vec::new();
        let wanted: BTreeSet<&Dependency> = spec.scheduling.depends_on.iter().collect();
        for on in wanted {
            let live = self.state.jobs.get(on.job).filter(|job| {
                let group = self.state.groups.get(job.group);
                tenant.is_some() && group.map(|group| group.key.tenant) == tenant
            });
            if self.is_workflow_of(on.job, tenant) {
                check_not_each(on)?;
                continue;
            }
            match (live, ended.iter().find(|prior| prior.job == on.job)) {
                (Some(job), _) => check_lengths(on, spec.count, job.count())?,
                (None, Some(prior)) => settle_prior(on, spec.count, prior, &mut settled)?,
                (None, None) => return Err(self.unknown_dependency(on)),
            }
        }
        Ok(settled)
    }

    fn is_workflow_of(&self, job: JobId, tenant: Option<TenantIx>) -> bool {
        let flow = self.state.workflows.get(job);
        flow.is_some_and(|flow| Some(flow.tenant) == tenant)
    }

    fn unknown_dependency(&self, on: &Dependency) -> RequestError {
        let live = self.job_tenant(on.job).is_some();
        let known = on.job.0 < self.state.next_job;
        if live || !known || on.job.0 == 0 {
            let text = format!("depends_on: there is no job {}", on.job);
            return RequestError::new(ErrorCode::NotFound, text);
        }
        RequestError::new(
            ErrorCode::Unavailable,
            format!("depends_on: job {} ended just now: submit again", on.job),
        )
    }

    /// Looks at what waits for jobs of which something became known, until nothing follows
    /// from anything any more.
    pub(crate) fn settle_dependents(&mut self) {
        while let Some((on, news)) = self.state.dependents.due.pop_first() {
            let Some(watched) = self.state.dependents.watched(on) else { continue };
            for job in watched.by.clone() {
                if news.whole {
                    self.settle_whole(job, on);
                }
                self.settle_each(job, on, &news);
            }
        }
    }

    /// Settles what concerns all tasks of `job`.
    fn settle_whole(&mut self, job: JobId, on: JobId) {
        let Some(waits) = self.state.dependents.waits(job) else { return };
        let mut never = waits.never.is_some();
        let wanted: Vec<Dependency> =
            waits.whole.iter().copied().filter(|wanted| wanted.job == on).collect();
        for on in wanted {
            if never {
                break;
            }
            let Some(met) = self.is_met(on) else { continue };
            never = !met;
            self.append(Fact::DependencySettled { at: self.now, job, on, tasks: None, met });
            self.job_changed(job);
        }
        if never {
            self.cancel_job(job);
        }
    }

    /// Whether it has come about; `None` while it may yet.
    fn is_met(&self, wanted: Dependency) -> Option<bool> {
        let ended = self.state.dependents.watched(wanted.job)?.ended.as_ref();
        match ended {
            Some(ended) => Some(holds(wanted.on, ended.state, ended.started)),
            None => {
                let job = self.state.jobs.get(wanted.job).map(|job| job.started.0 > 0);
                let flow = || self.state.workflows.get(wanted.job);
                let started = job.or_else(|| Some(flow()?.started.is_some()))?;
                (wanted.on == DependsOn::Start && started).then_some(true)
            }
        }
    }

    /// Settles what concerns single tasks of `job`.
    fn settle_each(&mut self, job: JobId, on: JobId, news: &News) {
        let Some(waits) = self.state.dependents.waits(job) else { return };
        let Some(unmet) = waits.each.get(&on) else { return };
        let looked_at = news.tasks.iter().flat_map(|tasks| unmet.within(job, *tasks));
        let looked_at: Vec<IndexRange> = looked_at.map(|(run, ())| run.tasks).collect();
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for tasks in looked_at {
            self.judge(on, tasks, &mut good, &mut bad);
        }
        let (at, on) = (self.now, Dependency { job: on, on: DependsOn::EachSuccess });
        for tasks in good {
            let tasks = Some(tasks);
            self.append(Fact::DependencySettled { at, job, on, tasks, met: true });
        }
        if !bad.is_empty() {
            self.cancel_for(job, &bad);
        }
        for tasks in bad {
            if self.state.jobs.get(job).is_some() {
                let tasks = Some(tasks);
                self.append(Fact::DependencySettled { at, job, on, tasks, met: false });
            }
        }
        self.job_changed(job);
    }

    /// Which of `tasks` of a job ended well, and which otherwise.
    fn judge(
        &self,
        on: JobId,
        tasks: IndexRange,
        good: &mut Vec<IndexRange>,
        bad: &mut Vec<IndexRange>,
    ) {
        let ended = self.state.dependents.watched(on).and_then(|watched| watched.ended.as_ref());
        let mut apart: Vec<IndexRange> = Vec::new();
        if let Some(ended) = ended {
            let runs = ended.unsuccessful.within(on, tasks).into_iter();
            bad.extend(runs.map(|(run, ())| run.tasks));
            apart.extend(&*bad);
        } else if let Some(Tasks::Many(array)) = self.state.jobs.get(on).map(|job| &job.tasks) {
            let over = array.over.within(on, tasks).into_iter();
            bad.extend(over.filter(|(_, over)| *over != Over::Succeeded).map(|(run, _)| run.tasks));
            apart.extend(&*bad);
            apart.extend(array.live_within(on, tasks).iter().map(|run| run.tasks));
        }
        apart.sort_unstable_by_key(|range| range.first);
        let mut from = tasks.first;
        for range in apart.iter().chain([&IndexRange { first: tasks.end(), count: 0 }]) {
            if from < range.first.min(tasks.end()) {
                good.push(IndexRange { first: from, count: range.first - from });
            }
            from = from.max(range.end());
        }
    }

    /// Cancels tasks that would wait for ever.
    fn cancel_for(&mut self, id: JobId, tasks: &[IndexRange]) {
        let Some(Tasks::Many(array)) = self.state.jobs.get(id).map(|job| &job.tasks) else {
            return;
        };
        let live = tasks.iter().flat_map(|tasks| array.live_within(id, *tasks)).collect();
        let live = joined(live);
        if !live.is_empty() {
            self.cancel_live(id, live);
        }
    }
}

impl Job {
    fn count(&self) -> u32 {
        match &self.tasks {
            Tasks::One(_) => 1,
            Tasks::Many(array) => array.count,
        }
    }
}

/// What follows for a new job from one that has ended.
fn settle_prior(
    on: &Dependency,
    count: u32,
    prior: &Prior,
    settled: &mut Vec<Settled>,
) -> Result<(), RequestError> {
    check_lengths(on, count, prior.count)?;
    if holds(on.on, prior.state, prior.started) {
        settled.push(Settled { on: *on, tasks: None, met: true });
        return Ok(());
    }
    if on.on != DependsOn::EachSuccess || prior.succeeded.is_empty() {
        return Err(RequestError::new(
            ErrorCode::Unsatisfiable,
            format!("depends_on: {on} will never be: that job has {}", prior.state.past()),
        ));
    }
    let mut from = 0;
    for tasks in prior.succeeded.iter().chain([&IndexRange { first: count, count: 0 }]) {
        if from < tasks.first {
            let failed = Some(IndexRange { first: from, count: tasks.first - from });
            settled.push(Settled { on: *on, tasks: failed, met: false });
        }
        if tasks.count > 0 {
            settled.push(Settled { on: *on, tasks: Some(*tasks), met: true });
        }
        from = tasks.end();
    }
    Ok(())
}

fn check_lengths(on: &Dependency, count: u32, other: u32) -> Result<(), RequestError> {
    if on.on != DependsOn::EachSuccess || count == other {
        return Ok(());
    }
    Err(RequestError::new(
        ErrorCode::InvalidInput,
        format!(
            "depends_on: job {} has {other} tasks and this one {count}: to wait task by task, both need the same number",
            on.job
        ),
    ))
}

fn check_not_each(on: &Dependency) -> Result<(), RequestError> {
    if on.on != DependsOn::EachSuccess {
        return Ok(());
    }
    let text = format!(
        "depends_on: job {} is a workflow, of whose steps none is its tasks: wait for the job of a step, or for all of it",
        on.job
    );
    Err(RequestError::new(ErrorCode::InvalidInput, text))
}

/// Whether what is wanted of a job that has ended did come about.
fn holds(wanted: DependsOn, state: JobState, started: bool) -> bool {
    match wanted {
        DependsOn::Start => started,
        DependsOn::Success | DependsOn::EachSuccess => state == JobState::Succeeded,
        DependsOn::Failure => matches!(state, JobState::Failed | JobState::Cancelled),
        DependsOn::End => true,
    }
}
