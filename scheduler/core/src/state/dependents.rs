//! Jobs that wait for others: what each still waits for, and what is known of those it
//! waits for. A job that nobody waits for, and that waits for none, costs nothing here.
//!
//! Facts say what was settled. That something has come about which may settle more is
//! noted in [`Dependents::due`], for those who decide.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use wrun_protocol::scheduling::{Dependency, DependsOn};
use wrun_protocol::wire::user::JobState;
use wrun_protocol::wire::worker::Assignment;
use wrun_protocol::{IndexRange, JobId, JobSpec};

use super::State;
use super::jobs::{Gates, Job, Over, Tasks};
use super::span::Spans;

/// Who waits for whom.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Dependents {
    waits: BTreeMap<JobId, Waits>,
    watched: BTreeMap<JobId, Watched>,
    /// Settled before the waiting job came in: a submission's facts precede it, so that
    /// none can be lost after it. What is left of a submission that was itself lost is
    /// true of whoever gets its number.
    ahead: BTreeMap<JobId, Vec<Settled>>,
    /// Jobs of which something became known since their dependents were looked at.
    #[serde(skip)]
    pub(crate) due: BTreeMap<JobId, News>,
}

/// What a job waits for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Waits {
    /// With all its tasks.
    pub(crate) whole: BTreeSet<Dependency>,
    /// With these tasks, for those of the same index of another job.
    pub(crate) each: BTreeMap<JobId, Spans<()>>,
    /// This will never be: the job is about to be cancelled.
    pub(crate) never: Option<Dependency>,
}

/// A job that others wait for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Watched {
    pub(crate) by: BTreeSet<JobId>,
    /// Some wait for its single tasks.
    each: bool,
    pub(crate) ended: Option<Ending>,
}

/// How a job ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ending {
    pub(crate) state: JobState,
    /// Whether a task of it was ever placed.
    pub(crate) started: bool,
    /// Its tasks that did not end well, where somebody waits for single ones.
    pub(crate) unsuccessful: Spans<()>,
}

/// A dependency was met, or never will be.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Settled {
    pub(crate) on: Dependency,
    pub(crate) tasks: Option<IndexRange>,
    pub(crate) met: bool,
}

/// What became known of a job.
#[derive(Clone, Debug, Default)]
pub(crate) struct News {
    /// It started or ended.
    pub(crate) whole: bool,
    /// These of its tasks ended.
    pub(crate) tasks: Vec<IndexRange>,
}

impl Dependents {
    /// Whether nobody waits for anybody.
    pub(crate) fn is_empty(&self) -> bool {
        self.waits.is_empty() && self.watched.is_empty() && self.ahead.is_empty()
    }

    /// What a job still waits for, if for anything.
    pub(crate) fn waits(&self, job: JobId) -> Option<&Waits> {
        self.waits.get(&job)
    }

    /// Others wait for this job.
    pub(crate) fn watched(&self, job: JobId) -> Option<&Watched> {
        self.watched.get(&job)
    }

    /// Has every dependency looked at anew, as after a restart.
    pub(crate) fn doubt_all(&mut self) {
        let all = IndexRange { first: 0, count: u32::MAX };
        let news = || News { whole: true, tasks: vec![all] };
        self.due = self.watched.keys().map(|job| (*job, news())).collect();
    }

    /// Dependents of the job are to be looked at as a whole.
    pub(crate) fn doubt(&mut self, job: JobId) {
        if self.watched.contains_key(&job) {
            let all = IndexRange { first: 0, count: u32::MAX };
            self.due.insert(job, News { whole: true, tasks: vec![all] });
        }
    }

    /// The job's first task was placed.
    pub(super) fn on_started(&mut self, job: JobId) {
        if self.watched.contains_key(&job) {
            self.due.entry(job).or_default().whole = true;
        }
    }

    /// A workflow has ended.
    pub(super) fn on_workflow_ended(&mut self, id: JobId, state: JobState, started: bool) {
        if let Some(watched) = self.watched.get_mut(&id) {
            watched.ended = Some(Ending { state, started, unsuccessful: Spans::default() });
            self.doubt(id);
        }
    }

    /// Tasks of a job ended.
    pub(super) fn on_tasks_ended(&mut self, job: JobId, tasks: IndexRange) {
        if self.watched.get(&job).is_some_and(|watched| watched.each) {
            self.due.entry(job).or_default().tasks.push(tasks);
        }
    }

    fn watch(&mut self, on: Dependency, by: JobId) {
        let watched = self.watched.entry(on.job).or_default();
        watched.by.insert(by);
        watched.each |= on.on == DependsOn::EachSuccess;
    }

    /// `by` waits for nothing of `job` any more.
    fn unwatch(&mut self, job: JobId, by: JobId) {
        if self.waits.get(&by).is_some_and(|waits| waits.is_for(job)) {
            return;
        }
        if let Some(watched) = self.watched.get_mut(&job) {
            watched.by.remove(&by);
            if watched.by.is_empty() {
                self.watched.remove(&job);
                self.due.remove(&job);
            }
        }
    }
}

impl Waits {
    fn is_for(&self, job: JobId) -> bool {
        self.each.contains_key(&job) || self.whole.iter().any(|on| on.job == job)
    }

    fn is_over(&self) -> bool {
        self.whole.is_empty() && self.each.is_empty()
    }

    /// One of those that it waits for.
    pub(crate) fn first(&self) -> Option<Dependency> {
        let each = self.each.keys().next();
        let each = each.map(|job| Dependency { job: *job, on: DependsOn::EachSuccess });
        self.whole.first().copied().or(each)
    }

    fn jobs(&self) -> BTreeSet<JobId> {
        self.whole.iter().map(|on| on.job).chain(self.each.keys().copied()).collect()
    }
}

impl State {
    /// A job comes in, and waits for what was not settled before.
    pub(super) fn enter_dependencies(&mut self, id: JobId, job: &mut Job, spec: &JobSpec) {
        let ahead = self.dependents.ahead.remove(&id).unwrap_or_default();
        let depends_on: BTreeSet<Dependency> = spec.scheduling.depends_on.iter().copied().collect();
        let mut waits = Waits::default();
        for on in depends_on {
            let settled: Vec<&Settled> = ahead.iter().filter(|settled| settled.on == on).collect();
            if settled.iter().any(|settled| settled.tasks.is_none() && settled.met) {
                continue;
            }
            match (on.on, &mut job.tasks) {
                (DependsOn::EachSuccess, Tasks::Many(_)) => {
                    let mut unmet = every_task(id, spec.count);
                    for tasks in settled.iter().filter(|s| s.met).filter_map(|s| s.tasks) {
                        unmet.take_all(id, tasks, |_, ()| ());
                    }
                    waits.each.insert(on.job, unmet);
                }
                _ => {
                    waits.whole.insert(on);
                }
            }
            self.dependents.watch(on, id);
            if self.jobs.get(on.job).is_none() && self.workflows.get(on.job).is_none() {
                self.enter_ended(on.job, &settled);
            }
        }
        if waits.is_over() {
            return;
        }
        job.gates.set(Gates::DEPENDENCY, !waits.whole.is_empty());
        if let Tasks::Many(array) = &mut job.tasks {
            for (run, ()) in waits.each.values().flat_map(Spans::iter) {
                array.ready.take(run, |run, ()| array.waiting.insert(run, ()));
            }
        }
        self.dependents.waits.insert(id, waits);
    }

    /// A job had ended before one came in that waits for its single tasks, some of which
    /// did not end well.
    fn enter_ended(&mut self, id: JobId, settled: &[&Settled]) {
        let mut unsuccessful = Spans::default();
        for tasks in settled.iter().filter(|s| !s.met).filter_map(|s| s.tasks) {
            unsuccessful.insert(Assignment { job: id, attempt: 0, tasks }, ());
        }
        if let Some(watched) = self.dependents.watched.get_mut(&id) {
            watched.ended = Some(Ending { state: JobState::Failed, started: true, unsuccessful });
        }
        self.dependents.doubt(id);
    }

    /// What a job waits for has come about, or never will.
    pub(super) fn settle(&mut self, id: JobId, settled: Settled) {
        if self.jobs.get(id).is_none() {
            if id.0 >= self.next_job {
                self.dependents.ahead.entry(id).or_default().push(settled);
            }
            return;
        }
        let Some(waits) = self.dependents.waits.get_mut(&id) else { return };
        let Settled { on, tasks, met } = settled;
        match tasks {
            None if !met => {
                waits.never = Some(on);
                return;
            }
            None => {
                waits.whole.remove(&on);
                if on.on == DependsOn::EachSuccess {
                    waits.each.remove(&on.job);
                }
            }
            Some(tasks) => {
                if let Some(unmet) = waits.each.get_mut(&on.job) {
                    unmet.take_all(id, tasks, |_, ()| ());
                    if unmet.count() == 0 {
                        waits.each.remove(&on.job);
                    }
                }
            }
        }
        let all = IndexRange { first: 0, count: u32::MAX };
        self.release(id, tasks.unwrap_or(all));
        if self.dependents.waits.get(&id).is_some_and(Waits::is_over) {
            self.dependents.waits.remove(&id);
        }
        self.dependents.unwatch(on.job, id);
    }

    /// Lets those of `tasks` be placed that wait for nothing any more.
    fn release(&mut self, id: JobId, tasks: IndexRange) {
        let Some(waits) = self.dependents.waits.get(&id) else { return };
        let Some(job) = self.jobs.get_mut(id) else { return };
        let was_ready = job.ready_tasks();
        job.gates.set(Gates::DEPENDENCY, !waits.whole.is_empty());
        if let Tasks::Many(array) = &mut job.tasks {
            let mut free = Spans::default();
            array.waiting.take_all(id, tasks, |run, ()| free.insert(run, ()));
            for unmet in waits.each.values() {
                for (run, ()) in unmet.within(id, tasks) {
                    free.take_all(id, run.tasks, |run, ()| array.waiting.insert(run, ()));
                }
            }
            // What is remembered of them is looked up first.
            let wants = |spec: JobSpec| spec.scheduling.cache;
            let looks = free.count() > 0 && job.spec.encoded().decode().is_ok_and(wants);
            let to = if looks { &mut array.waiting } else { &mut array.ready };
            free.iter().for_each(|(run, ())| to.insert(run, ()));
        }
        self.groups.set_ready(job.group, id, was_ready, job.ready_tasks());
        self.doubt_results(id);
    }

    /// A job is about to be dropped: those that wait for it will be told, and it waits for
    /// none itself.
    pub(super) fn leave_dependencies(&mut self, id: JobId, state: JobState) {
        if let Some(waits) = self.dependents.waits.remove(&id) {
            waits.jobs().into_iter().for_each(|on| self.dependents.unwatch(on, id));
        }
        let Some(watched) = self.dependents.watched.get_mut(&id) else { return };
        let Some(job) = self.jobs.get(id) else { return };
        let mut unsuccessful = Spans::default();
        if watched.each
            && let Tasks::Many(array) = &job.tasks
        {
            let bad = array.over.iter().filter(|(_, over)| *over != Over::Succeeded);
            let all = IndexRange { first: 0, count: u32::MAX };
            let live = array.live_within(id, all).into_iter();
            for run in bad.map(|(run, _)| run).chain(live) {
                unsuccessful.insert(Assignment { attempt: 0, ..run }, ());
            }
        }
        watched.ended = Some(Ending { state, started: job.started.0 > 0, unsuccessful });
        self.dependents.doubt(id);
    }
}

fn every_task(job: JobId, count: u32) -> Spans<()> {
    let mut tasks = Spans::default();
    let range = IndexRange { first: 0, count };
    tasks.insert(Assignment { job, attempt: 0, tasks: range }, ());
    tasks
}
