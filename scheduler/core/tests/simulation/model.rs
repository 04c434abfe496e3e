//! What the journal says, read in the most naive way: one entry per task. Every fact is
//! checked against it before it counts.

use std::collections::{BTreeMap, BTreeSet};

use wrun_core::Prior;
use wrun_core::fact::{Fact, Next, Remembered};
use wrun_protocol::scheduling::{Dependency, DependsOn, Offer, Request};
use wrun_protocol::service::ServiceId;
use wrun_protocol::wire::policy::JobChange;
use wrun_protocol::wire::user::{JobState, TaskCounts};
use wrun_protocol::wire::worker::{Assignment, Grant};
use wrun_protocol::{IndexRange, JobId, NodeId, SubmitId, TaskId, TenantName};

use crate::world::{POOL, POOL_SLOTS};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Task {
    /// A replica that takes nothing.
    Asleep,
    Pending,
    Placed(NodeId),
    Succeeded,
    Failed,
    Cancelled,
}

#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) submit: SubmitId,
    pub(crate) tasks: Vec<(u32, Task)>,
    pub(crate) ended: Option<JobState>,
    pub(crate) max_running: Option<u32>,
    pub(crate) depends_on: Vec<Dependency>,
    pub(crate) tenant: TenantName,
    pub(crate) started: bool,
    /// Its own, then the alternatives.
    requests: Vec<Request>,
    gang: bool,
    /// Its tasks are replicas.
    pub(crate) service: bool,
    /// Tasks from here on have always slept.
    reach: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) jobs: BTreeMap<JobId, Job>,
    pub(crate) live: BTreeSet<JobId>,
    settled: BTreeMap<JobId, Vec<(Dependency, Option<IndexRange>)>>,
    retried: BTreeSet<TaskId>,
    offers: BTreeMap<NodeId, Offer>,
    /// What attempts were granted, also of tasks that have left their node since.
    grants: BTreeMap<TaskId, (u32, Grant, Request)>,
}

impl Model {
    pub(crate) fn of(facts: &[Fact]) -> Self {
        let mut model = Self::default();
        facts.iter().for_each(|fact| model.apply(fact));
        model
    }

    pub(crate) fn apply(&mut self, fact: &Fact) {
        self.place(fact);
        match fact {
            Fact::JobSubmitted { job, id, spec, tenant, .. }
            | Fact::ServiceDeployed { job, id, spec, service: ServiceId { tenant, .. }, .. } => {
                let spec = spec.decode().unwrap();
                let service = spec.service.is_some();
                let first = if service { Task::Asleep } else { Task::Pending };
                let tasks = vec![(0, first); spec.count as usize];
                let (max_running, tenant) = (spec.scheduling.max_running, tenant.clone());
                let own =
                    Request { resources: spec.resources, devices: spec.scheduling.devices.clone() };
                let mut requests = vec![own];
                requests.extend(spec.scheduling.alternatives);
                let gang = spec.scheduling.gang;
                let depends_on = spec.scheduling.depends_on;
                let fresh = Job {
                    submit: *id,
                    tasks,
                    ended: None,
                    max_running,
                    depends_on,
                    tenant,
                    started: false,
                    requests,
                    gang,
                    service,
                    reach: if service { 0 } else { spec.count as usize },
                };
                assert!(self.jobs.insert(*job, fresh).is_none(), "job number used twice: {fact:?}");
                self.live.insert(*job);
            }
            // What was placed before the change is not bound by it.
            Fact::JobChanged { job, change: JobChange::MaxRunning(_), .. } => {
                self.jobs.get_mut(job).unwrap().max_running = None;
            }
            Fact::NodeOffered { node, offer, .. } => {
                self.offers.insert(*node, offer.clone());
            }
            Fact::Frozen { node, tasks, .. } => self.each(tasks, fact, |last, task, attempt| {
                assert_eq!((*last, *task), (attempt, Task::Placed(*node)));
            }),
            Fact::Noticed { node, attempt, .. } => {
                let job = &self.jobs[&attempt.task.job];
                let task = job.tasks[attempt.task.index as usize];
                assert_eq!(task, (attempt.attempt, Task::Placed(*node)), "{fact:?}");
            }
            Fact::DependencySettled { job, on, tasks, met, .. } => {
                self.settled.entry(*job).or_default().push((*on, *tasks));
                let indices = tasks.map(|tasks| tasks.indices());
                let found = match indices {
                    None => self.is_met(on, None),
                    Some(indices) => {
                        let each: BTreeSet<_> =
                            indices.map(|index| self.is_met(on, Some(index))).collect();
                        assert_eq!(each.len(), 1, "not alike: {fact:?}");
                        each.into_iter().next().unwrap()
                    }
                };
                assert_eq!(found, Some(*met), "{fact:?}");
            }
            Fact::Started { node, tasks, .. } => self.each(tasks, fact, |last, task, attempt| {
                assert_eq!((*last, *task), (attempt, Task::Placed(*node)));
            }),
            Fact::Succeeded { node, tasks, .. } => {
                for success in tasks {
                    self.each(&[success.tasks], fact, |last, task, attempt| {
                        assert_eq!((*last, *task), (attempt, Task::Placed(*node)));
                        *task = Task::Succeeded;
                    });
                    self.settle(success.tasks.job, success.ends_job);
                }
            }
            Fact::Ended { node, attempt, result, next, .. } => {
                let (id, success) = (attempt.task, result.outcome.is_success());
                let entry = &mut self.jobs.get_mut(&id.job).unwrap().tasks[id.index as usize];
                assert_eq!(*entry, (attempt.attempt, Task::Placed(*node)), "{fact:?}");
                entry.1 = match next {
                    Next::Retry { .. } | Next::Restart { .. } => Task::Pending,
                    Next::Final { .. } if success => Task::Succeeded,
                    Next::Final { .. } => Task::Failed,
                };
                if let Next::Final { ends_job } = next {
                    self.settle(id.job, *ends_job);
                }
            }
            Fact::Requeued { node, tasks, .. } => self.each(tasks, fact, |last, task, attempt| {
                assert_eq!((*last, *task), (attempt, Task::Placed(*node)));
                *task = Task::Pending;
            }),
            Fact::TasksCancelled { job, tasks, ends_job, .. } => {
                let open = &mut self.jobs.get_mut(job).unwrap().tasks;
                for index in tasks.iter().flat_map(|tasks| tasks.indices()) {
                    let (_, task) = &mut open[index as usize];
                    assert!(matches!(task, Task::Pending | Task::Placed(_)), "{fact:?}");
                    *task = Task::Cancelled;
                }
                self.settle(*job, *ends_job);
            }
            Fact::ReplicasWoken { job, replicas, .. } => {
                let job = self.jobs.get_mut(job).unwrap();
                for index in replicas.iter().flat_map(|replicas| replicas.indices()) {
                    let (_, task) = &mut job.tasks[index as usize];
                    assert_eq!(*task, Task::Asleep, "{fact:?}");
                    *task = Task::Pending;
                    job.reach = job.reach.max(index as usize + 1);
                }
            }
            Fact::ReplicasSlept { job, replicas, .. } => {
                let all = &mut self.jobs.get_mut(job).unwrap().tasks;
                for index in replicas.iter().flat_map(|replicas| replicas.indices()) {
                    let (_, task) = &mut all[index as usize];
                    assert_ne!(*task, Task::Asleep, "{fact:?}");
                    *task = Task::Asleep;
                }
            }
            Fact::ReplicaReadied { node, attempt, .. }
            | Fact::ReplicaDraining { node, attempt, .. } => {
                let job = &self.jobs[&attempt.task.job];
                let task = job.tasks[attempt.task.index as usize];
                assert_eq!(task, (attempt.attempt, Task::Placed(*node)), "{fact:?}");
            }
            Fact::Remembered { job, tasks, ends_job, .. } => {
                let open = &mut self.jobs.get_mut(job).unwrap().tasks;
                for Remembered { index, .. } in tasks {
                    let (_, task) = &mut open[*index as usize];
                    assert_eq!(*task, Task::Pending, "{fact:?}");
                    *task = Task::Succeeded;
                }
                self.settle(*job, *ends_job);
            }
            Fact::TasksRetried { tasks, .. } => {
                for run in tasks {
                    // A gang begins anew as a whole, with what had ended well.
                    let gang = self.jobs[&run.job].gang;
                    self.each(&[*run], fact, |last, task, attempt| {
                        let again = matches!(task, Task::Failed | Task::Cancelled);
                        assert!(again || (gang && *task == Task::Succeeded), "{fact:?}");
                        assert_eq!(*last, attempt);
                        *task = Task::Pending;
                    });
                    self.retried.extend(run.tasks.indices().map(|index| run.job.task(index)));
                }
            }
            Fact::JobCancelled { job, .. } => {
                let cancelled = self.jobs.get_mut(job).unwrap();
                let placed = |(_, task): &(u32, Task)| matches!(task, Task::Placed(_));
                let gone = !cancelled.service || !cancelled.tasks.iter().any(placed);
                assert!(gone, "a revision goes with its replicas: {fact:?}");
                assert_eq!(cancelled.ended.replace(JobState::Cancelled), None);
                self.live.remove(job);
            }
            _ => {}
        }
    }

    fn place(&mut self, fact: &Fact) {
        let placed = placements(fact);
        for (node, run, grant) in &placed {
            self.check_dependencies(run);
            self.each(&[*run], fact, |last, task, attempt| {
                assert_eq!(*task, Task::Pending, "placed, but not pending");
                assert!(attempt > *last, "attempt {attempt} after {last}");
                (*last, *task) = (attempt, Task::Placed(*node));
            });
            let job = self.jobs.get_mut(&run.job).unwrap();
            job.started = true;
            assert_eq!(job.gang, matches!(fact, Fact::GangPlaced { .. }), "{fact:?}");
            let Some(grant) = grant else { continue };
            let request = job.requests[grant.request as usize].clone();
            for index in run.tasks.indices() {
                let granted = (run.attempt, grant.clone(), request.clone());
                self.grants.insert(run.job.task(index), granted);
            }
        }
        if let (Fact::GangPlaced { .. }, Some((_, run, _))) = (fact, placed.first()) {
            let job = &self.jobs[&run.job];
            let whole = |task: &(u32, Task)| matches!(task, (last, Task::Placed(_)) if *last == run.attempt);
            assert!(job.tasks.iter().all(whole), "not the whole gang: {fact:?}");
        }
    }

    /// No card, no resource by name and no pool is over its capacity.
    pub(crate) fn check_devices(&self) {
        let mut taken: BTreeMap<(NodeId, String), u64> = BTreeMap::new();
        let mut slots = 0;
        for (task, (attempt, grant, request)) in &self.grants {
            let job = &self.jobs[&task.job];
            let (last, state) = job.tasks[task.index as usize];
            let Task::Placed(node) = state else { continue };
            if last != *attempt || job.ended.is_some() {
                continue;
            }
            let offer = self.offers.get(&node).cloned().unwrap_or_default();
            let mut take = |what: String, amount: u64, most: u64| {
                let sum = taken.entry((node, what.clone())).or_default();
                *sum += amount;
                assert!(*sum <= most, "{what} of node {node}: {sum} of {most} are taken");
            };
            if let Some(gpu) = &request.devices.gpu {
                assert_eq!(grant.gpus.len(), gpu.milli.div_ceil(1000) as usize, "cards of {task}");
                for card in &grant.gpus {
                    let of = &offer.gpus[usize::from(*card)];
                    assert!(gpu.models.is_empty() || gpu.models.contains(&of.model));
                    take(format!("card {card}"), gpu.milli.min(1000).into(), 1000);
                    take(format!("memory of card {card}"), gpu.memory, of.memory);
                }
            }
            for (name, amount) in &request.devices.named {
                take(name.clone(), *amount, offer.named.get(name).copied().unwrap_or_default());
            }
            slots += request.devices.pools.get(POOL).copied().unwrap_or_default();
        }
        assert!(slots <= POOL_SLOTS, "{slots} slots of the pool are taken");
    }

    fn each(
        &mut self,
        runs: &[Assignment],
        fact: &Fact,
        mut with: impl FnMut(&mut u32, &mut Task, u32),
    ) {
        for run in runs {
            let job = self.jobs.get_mut(&run.job).unwrap_or_else(|| panic!("no job: {fact:?}"));
            assert_eq!(job.ended, None, "a fact of a job that has ended: {fact:?}");
            for index in run.tasks.indices() {
                let (last, task) = &mut job.tasks[index as usize];
                with(last, task, run.attempt);
            }
        }
    }

    /// Whether what a job waits for has come about; `None` while it may yet.
    fn is_met(&self, on: &Dependency, index: Option<u32>) -> Option<bool> {
        let job = &self.jobs[&on.job];
        if let (DependsOn::EachSuccess, Some(index)) = (on.on, index) {
            return match job.tasks[index as usize].1 {
                Task::Succeeded => Some(true),
                Task::Failed | Task::Cancelled => Some(false),
                Task::Pending | Task::Placed(_) | Task::Asleep => job.ended.map(|_| false),
            };
        }
        let Some(state) = job.ended else {
            return (on.on == DependsOn::Start && job.started).then_some(true);
        };
        Some(match on.on {
            DependsOn::Start => job.started,
            DependsOn::Success | DependsOn::EachSuccess => state == JobState::Succeeded,
            DependsOn::Failure => state != JobState::Succeeded,
            DependsOn::End => true,
        })
    }

    /// Nothing is placed before all that it depends on was settled, other than what was
    /// cancelled for it, and retried at a user's wish.
    fn check_dependencies(&self, run: &Assignment) {
        let none = Vec::new();
        let settled = self.settled.get(&run.job).unwrap_or(&none);
        for on in &self.jobs[&run.job].depends_on {
            for index in run.tasks.indices() {
                let covers = |tasks: &Option<IndexRange>| tasks.is_none_or(|t| t.contains(index));
                let is_settled = settled.iter().any(|(of, tasks)| of == on && covers(tasks));
                let retried = self.retried.contains(&run.job.task(index));
                assert!(is_settled || retried, "{run:?} is placed before {on}");
            }
        }
    }

    /// All of a gang was placed as often: its tasks know each other by the attempt.
    pub(crate) fn check_gangs(&self) {
        for id in &self.live {
            let job = &self.jobs[id];
            if !job.gang {
                continue;
            }
            let alike = job.tasks.windows(2).all(|pair| pair[0].0 == pair[1].0);
            assert!(alike, "gang {id} is torn: {:?}", job.tasks);
        }
    }

    /// What a history of these facts tells of a job that has ended.
    pub(crate) fn prior(&self, id: JobId) -> Option<Prior> {
        let job = self.jobs.get(&id)?;
        let succeeded = job.tasks.iter().zip(0..);
        let succeeded = succeeded.filter(|((_, task), _)| *task == Task::Succeeded);
        Some(Prior {
            job: id,
            state: job.ended?,
            started: job.started,
            count: job.tasks.len() as u32,
            succeeded: succeeded.map(|(_, index)| IndexRange::one(index)).collect(),
        })
    }

    /// A task ended: the fact says so exactly when it was the last.
    fn settle(&mut self, id: JobId, said: Option<JobState>) {
        let job = self.jobs.get_mut(&id).unwrap();
        let open =
            job.tasks.iter().any(|(_, task)| matches!(task, Task::Pending | Task::Placed(_)));
        let failed = job.tasks.iter().any(|(_, task)| *task == Task::Failed);
        let cancelled = job.tasks.iter().any(|(_, task)| *task == Task::Cancelled);
        let state = match (failed, cancelled) {
            (true, _) => JobState::Failed,
            (false, true) => JobState::Cancelled,
            (false, false) => JobState::Succeeded,
        };
        let expected = (!open && !job.service).then_some(state);
        assert_eq!(said, expected, "what the fact says of the end of job {id}");
        job.ended = expected;
        if expected.is_some() {
            self.live.remove(&id);
        }
    }

    pub(crate) fn counts(&self, id: JobId) -> TaskCounts {
        let mut counts = TaskCounts::default();
        let job = &self.jobs[&id];
        for (_, task) in &job.tasks[..job.reach] {
            match task {
                Task::Asleep => {}
                Task::Pending => counts.pending += 1,
                Task::Placed(_) => counts.running += 1,
                // A replica that has come to its end may be started once more.
                _ if job.service => {}
                Task::Succeeded => counts.succeeded += 1,
                Task::Failed => counts.failed += 1,
                Task::Cancelled => counts.cancelled += 1,
            }
        }
        counts
    }
}

/// What a fact places: which tasks, where, and what each is told to hold.
pub(crate) fn placements(fact: &Fact) -> Vec<(NodeId, Assignment, Option<Grant>)> {
    match fact {
        Fact::Placed { node, tasks, .. } => tasks.iter().map(|run| (*node, *run, None)).collect(),
        Fact::PlacedWith { node, tasks, .. } => {
            tasks.iter().map(|(run, grant)| (*node, *run, Some(grant.clone()))).collect()
        }
        Fact::GangPlaced { parts, .. } => parts.clone(),
        _ => Vec::new(),
    }
}
