//! What tenants hold and have used, read from the journal in the most naive way: one entry
//! per placed task, with the instant of the fact that placed it.

use std::collections::BTreeMap;

use crate::model::placements;
use wrun_core::Fact;
use wrun_protocol::wire::policy::JobChange;
use wrun_protocol::wire::worker::Assignment;
use wrun_protocol::{AttemptId, JobId, TaskId, TenantName, Timestamp};

#[derive(Debug)]
struct Job {
    tenant: TenantName,
    qos: Option<String>,
    cpu_milli: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    jobs: BTreeMap<JobId, Job>,
    placed: BTreeMap<TaskId, Timestamp>,
    /// Thousandths of CPU by milliseconds, of what is placed no more.
    used: BTreeMap<TenantName, u128>,
}

impl Ledger {
    pub(crate) fn of(facts: &[Fact]) -> Self {
        let mut ledger = Self::default();
        facts.iter().for_each(|fact| ledger.apply(fact));
        ledger
    }

    pub(crate) fn apply(&mut self, fact: &Fact) {
        let at = fact.at();
        // The alternatives of these jobs take as much CPU as their own request.
        for (_, run, _) in placements(fact) {
            each(&[run], |task| assert_eq!(self.placed.insert(task, at), None));
        }
        match fact {
            Fact::JobSubmitted { job, tenant, spec, .. } => {
                let spec = spec.decode().unwrap();
                let (qos, cpu_milli) = (spec.scheduling.qos, spec.resources.cpu_milli);
                self.jobs.insert(*job, Job { tenant: tenant.clone(), qos, cpu_milli });
            }
            Fact::JobChanged { job, change: JobChange::Qos(qos), .. } => {
                self.jobs.get_mut(job).unwrap().qos.clone_from(qos);
            }
            Fact::Requeued { tasks, .. } => each(tasks, |task| self.leave(task, at)),
            Fact::Succeeded { tasks, .. } => {
                tasks.iter().for_each(|run| each(&[run.tasks], |task| self.leave(task, at)));
            }
            Fact::Ended { attempt: AttemptId { task, .. }, .. } => self.leave(*task, at),
            Fact::JobCancelled { job, .. } => {
                let placed = self.placed.range(job.task(0)..=job.task(u32::MAX));
                let placed: Vec<TaskId> = placed.map(|(task, _)| *task).collect();
                placed.into_iter().for_each(|task| self.leave(task, at));
            }
            Fact::TasksCancelled { job, tasks, .. } => {
                let indices = tasks.iter().flat_map(|tasks| tasks.indices());
                indices.for_each(|index| self.leave(job.task(index), at));
            }
            _ => {}
        }
    }

    fn leave(&mut self, task: TaskId, at: Timestamp) {
        let Some(since) = self.placed.remove(&task) else { return };
        let job = &self.jobs[&task.job];
        let used = u128::from(job.cpu_milli) * at.since(since).as_millis();
        *self.used.entry(job.tenant.clone()).or_default() += used;
    }

    /// Thousandths of CPU by milliseconds that the tenant was allocated until now.
    pub(crate) fn used(&self, tenant: &TenantName, now: Timestamp) -> u128 {
        let mut used = self.used.get(tenant).copied().unwrap_or(0);
        for (task, since) in &self.placed {
            let job = &self.jobs[&task.job];
            if job.tenant == *tenant {
                used += u128::from(job.cpu_milli) * now.since(*since).as_millis();
            }
        }
        used
    }

    /// How many tasks are placed of tenants and classes, and what CPU they ask for.
    pub(crate) fn placed(&self, of: impl Fn(&str, Option<&str>) -> bool) -> (u64, u64) {
        let jobs = self.placed.keys().map(|task| &self.jobs[&task.job]);
        let jobs = jobs.filter(|job| of(job.tenant.as_str(), job.qos.as_deref()));
        jobs.fold((0, 0), |(tasks, cpu), job| (tasks + 1, cpu + u64::from(job.cpu_milli)))
    }
}

fn each(runs: &[Assignment], mut with: impl FnMut(TaskId)) {
    for run in runs {
        run.tasks.indices().for_each(|index| with(run.job.task(index)));
    }
}
