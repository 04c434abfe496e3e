//! The life of a replica on its node: ready or not, ended and started again, or too late.

use std::time::Duration;

use wrun_protocol::service::{Restart, RestartWhen, ServiceId};
use wrun_protocol::task::{Failure, Outcome, Usage};
use wrun_protocol::wire::service::Readied;
use wrun_protocol::wire::worker::{Assignment, TaskResult};
use wrun_protocol::{AttemptId, TaskId, Timestamp};

use crate::core::Core;
use crate::fact::{Fact, Next, RequeueCause};
use crate::state::apply::alone;
use crate::state::jobs::{NodeIx, Tasks};
use crate::state::nodes::node_id;
use crate::state::services::{Health, Revision, Service};

/// Longest reason of a replica that is not ready that is kept, in bytes.
const MAX_WHY: usize = 256;

/// A replica that ran for so many times the longest wait has not failed in a row.
const LONG_RUN: u64 = 10;

/// What a replica needs may take so long to be fetched and compiled on its node, before the
/// time begins in which it is to be ready.
const SET_UP: Duration = Duration::from_secs(300);

/// For so many heartbeats after a node is back, what it has to tell may be on the way.
const BEATS: u32 = 3;

/// A replica on a node that something becomes of when its time comes.
struct Late {
    attempt: AttemptId,
    node: NodeIx,
    due: Due,
}

enum Due {
    /// It was to be gone.
    Drained,
    /// It was to be ready.
    Ready,
}

impl Core {
    pub(crate) fn on_readied(&mut self, ix: NodeIx, attempt: AttemptId, mut state: Readied) {
        if !self.state.holds(ix, attempt.task, attempt.attempt) {
            return;
        }
        let Some(replica) = self.state.services.replica(attempt.task) else { return };
        let news = match (&replica.health, &state) {
            (Health::Ready, Readied::Ready)
            // It does not count as one that was ready by not being so.
            | (Health::Starting | Health::NotReady { .. }, Readied::NotReady { .. }) => false,
            (_, Readied::Ready) | (Health::Ready, Readied::NotReady { .. }) => true,
        };
        if !news {
            return;
        }
        if let Readied::NotReady { why } = &mut state {
            why.truncate(why.floor_char_boundary(MAX_WHY));
        }
        if state == Readied::Ready {
            self.on_proven(attempt.task.job);
        }
        self.append(Fact::ReplicaReadied { at: self.now, node: node_id(ix), attempt, state });
        self.job_changed(attempt.task.job);
    }

    /// An attempt of a replica has ended by itself.
    pub(crate) fn on_replica_ended(
        &mut self,
        ix: NodeIx,
        attempt: AttemptId,
        result: Box<TaskResult>,
    ) {
        // The worker withdrew: not the replica's fault.
        if result.outcome == Outcome::Failed(Failure::NodeLost) {
            return self.give_up(ix, &[alone(attempt)], RequeueCause::NodeLost);
        }
        self.asked_back.remove(&attempt.task);
        let next = self.after_end(ix, attempt.task, &result.outcome);
        let (at, node, job) = (self.now, node_id(ix), attempt.task.job);
        self.append(Fact::Ended { at, node, attempt, result, next });
        self.job_changed(job);
    }

    /// Attempts of replicas have ended well, with nothing to tell. `usage` is their sum.
    pub(crate) fn on_replicas_succeeded(&mut self, ix: NodeIx, run: Assignment, usage: Usage) {
        let mut usage = Some(usage);
        for index in run.tasks.indices() {
            let attempt = run.job.task(index).attempt(run.attempt);
            // A sum cannot be split: the first has it all.
            let usage = usage.take().unwrap_or_default();
            let (outcome, output, log) = (Outcome::Succeeded, None, None);
            let result = TaskResult { outcome, usage, output, log };
            self.on_replica_ended(ix, attempt, Box::new(result));
        }
    }

    fn after_end(&self, ix: NodeIx, task: TaskId, outcome: &Outcome) -> Next {
        let over = Next::Final { ends_job: None };
        let Some(revision) = self.state.services.revision(task.job) else { return over };
        let Some(replica) = revision.replicas.get(&task.index) else { return over };
        if replica.drain.is_some() || *outcome == Outcome::Failed(Failure::Cancelled) {
            // It was to go: what is not wanted any more is laid to sleep from the queue.
            let (not_before, failures) = (self.now, replica.failures);
            return Next::Restart { not_before, failures, late: false };
        }
        let restart = &revision.spec.restart;
        let again = match restart.when {
            _ if revision.spec.http().is_some() => true,
            RestartWhen::Always => true,
            RestartWhen::OnFailure => !outcome.is_success(),
            RestartWhen::Never => false,
        };
        if !again {
            return over;
        }
        let placed = self.state.nodes.get(ix).and_then(|node| node.tasks.get(task));
        let ran = placed.map_or(Duration::ZERO, |(_, since)| self.now.since(since));
        let start = revision.spec.http().map(|http| http.readiness.start_ms);
        let late = replica.health == Health::Starting
            && start.is_some_and(|ms| ran >= self.with_frozen(task, Duration::from_millis(ms)));
        let long = Duration::from_millis(restart.max_backoff_ms.saturating_mul(LONG_RUN));
        let failures = if ran >= long { 1 } else { replica.failures.saturating_add(1) };
        let wait = Duration::from_millis(wait_before(restart, failures));
        Next::Restart { not_before: self.now.after(wait), failures, late }
    }

    /// A time of a task on its node, and what it was frozen for.
    fn with_frozen(&self, task: TaskId, time: Duration) -> Duration {
        time.saturating_add(Duration::from_millis(self.state.frozen.lost_ms(task, self.now)))
    }

    /// Ends what should have been ready, or gone, by now.
    pub(super) fn end_late_replicas(&mut self, id: &ServiceId) {
        let Some(service) = self.state.services.get(id) else { return };
        let late: Vec<Late> = service
            .revisions
            .values()
            .flat_map(|revision| self.deadlines(revision))
            .filter(|(at, _)| *at <= self.now)
            .map(|(_, late)| late)
            .collect();
        for Late { attempt, node, due } in late {
            match due {
                Due::Drained => {
                    let run = alone(attempt);
                    self.lay_to_sleep(attempt.task.job, vec![run], vec![(node, run)]);
                }
                Due::Ready => self.fail_unready(node, attempt),
            }
        }
    }

    /// When something becomes of replicas on nodes, if nothing happens before. Of those whose
    /// nodes are not connected nothing can be said.
    ///
    /// A node does by itself what is due, and knows more of why: it has the lease's margin to
    /// tell so before it is done here.
    fn deadlines<'a>(
        &'a self,
        revision: &'a Revision,
    ) -> impl Iterator<Item = (Timestamp, Late)> + 'a {
        let placed = match self.state.jobs.get(revision.job).map(|job| &job.tasks) {
            Some(Tasks::Many(array)) => Some(&array.placed),
            _ => None,
        };
        let readiness = revision.spec.http().map(|http| &http.readiness);
        // Its node asks at intervals, and each time waits for the answer.
        let start = readiness.map(|of| {
            let ms = of.start_ms.saturating_add(of.interval_ms).saturating_add(of.timeout_ms);
            Duration::from_millis(ms)
        });
        let margin = self.config.lease_margin;
        let replicas = revision.replicas.iter();
        replicas.filter_map(move |(index, replica)| {
            let waits = start.filter(|_| replica.health == Health::Starting);
            if replica.drain.is_none() && waits.is_none() {
                return None;
            }
            let task = revision.job.task(*index);
            let (attempt, spot) = placed?.get(task)?;
            let node = self.state.nodes.get(spot.node).filter(|node| node.session.connected)?;
            let (_, since) = node.tasks.get(task)?;
            let (at, due) = match (replica.drain, waits) {
                (Some(until), _) => (until.after(margin), Due::Drained),
                (None, Some(start)) => {
                    let from = replica.started.unwrap_or_else(|| since.after(SET_UP));
                    let by = from.after(self.with_frozen(task, start));
                    (by.after(margin), Due::Ready)
                }
                (None, None) => return None,
            };
            // What it has to report comes soon after it is back.
            let at = at.max(node.session.since.after(self.config.heartbeat * BEATS));
            Some((at, Late { attempt: task.attempt(attempt), node: spot.node, due }))
        })
    }

    /// When to look at the service, if nothing happens before.
    pub(super) fn next_look(&self, service: &Service) -> Option<Timestamp> {
        let revisions = service.revisions.values();
        let deadlines = revisions.flat_map(|revision| self.deadlines(revision));
        deadlines.map(|(at, _)| at).min()
    }

    fn fail_unready(&mut self, ix: NodeIx, attempt: AttemptId) {
        let revision = self.state.services.revision(attempt.task.job);
        let start = revision.and_then(|of| of.spec.http()).map(|http| http.readiness.start_ms);
        let message = format!(
            "it was not ready within {} s: see its log, or raise `readiness.start`",
            start.unwrap_or_default().div_ceil(1000)
        );
        let outcome = Outcome::Failed(Failure::Setup { message });
        let result = TaskResult { outcome, usage: Usage::default(), output: None, log: None };
        self.on_replica_ended(ix, attempt, Box::new(result));
        self.send_stops(vec![(ix, alone(attempt))]);
    }

    /// Replicas of the revision that get requests.
    pub(crate) fn ready_replicas<'a>(
        &'a self,
        revision: &'a Revision,
    ) -> impl Iterator<Item = (u32, u32, NodeIx)> + 'a {
        let placed = match self.state.jobs.get(revision.job).map(|job| &job.tasks) {
            Some(Tasks::Many(array)) => Some(&array.placed),
            _ => None,
        };
        let ready = revision.replicas.iter().filter(|(_, replica)| replica.is_ready());
        ready.filter_map(move |(index, _)| {
            let task = revision.job.task(*index);
            let (attempt, spot) = placed?.get(task)?;
            (!self.stands(task)).then_some((*index, attempt, spot.node))
        })
    }

    /// Whether a replica was stopped for others.
    pub(super) fn stands(&self, task: TaskId) -> bool {
        self.state.frozen.holds(task) || self.state.noticed.contains_key(&task)
    }
}

/// How long a replica waits that has failed so often in a row, in milliseconds.
fn wait_before(restart: &Restart, failures: u32) -> u64 {
    let doublings = failures.saturating_sub(1).min(63);
    restart.backoff_ms.saturating_mul(1 << doublings).min(restart.max_backoff_ms)
}
