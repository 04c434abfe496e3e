//! A worker as the wire's contract describes it, without a sandbox: tasks run until the
//! world says that they end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use wrun_protocol::job::OnDisconnect;
use wrun_protocol::node::NodeInfo;
use wrun_protocol::task::{Content, Failure, Limit, Outcome, Usage};
use wrun_protocol::wire::service::Readied;
use wrun_protocol::wire::worker::{Assignment, FromWorker, Report, TaskResult, ToWorker};
use wrun_protocol::{AttemptId, IndexRange, JobId, JobSpec, NodeId, Resources, Timestamp};

use crate::random::Random;

pub(crate) struct Worker {
    pub(crate) node: NodeId,
    pub(crate) info: NodeInfo,
    pub(crate) incarnation: u64,
    pub(crate) connected: bool,
    /// Messages on the way to it and from it.
    pub(crate) inbox: VecDeque<ToWorker>,
    pub(crate) outbox: VecDeque<FromWorker>,
    jobs: BTreeMap<JobId, JobSpec>,
    queue: VecDeque<AttemptId>,
    pub(crate) running: Vec<AttemptId>,
    /// Those of them that are frozen: they do nothing, and hold no CPU.
    frozen: BTreeSet<AttemptId>,
    /// Of those with a time limit: how much was left, and when.
    left: BTreeMap<AttemptId, (u64, Timestamp)>,
    now: Timestamp,
    reports: VecDeque<(u64, Report)>,
    next_report: u64,
    sent: u64,
    beats: Vec<Timestamp>,
    lease_from: Timestamp,
    lease_ms: u64,
}

impl Worker {
    pub(crate) fn new(node: NodeId, info: NodeInfo, incarnation: u64) -> Self {
        Self {
            node,
            info,
            incarnation,
            connected: false,
            inbox: VecDeque::new(),
            outbox: VecDeque::new(),
            jobs: BTreeMap::new(),
            queue: VecDeque::new(),
            running: Vec::new(),
            frozen: BTreeSet::new(),
            left: BTreeMap::new(),
            now: Timestamp(0),
            reports: VecDeque::new(),
            next_report: 1,
            sent: 0,
            beats: Vec::new(),
            lease_from: Timestamp(0),
            lease_ms: 0,
        }
    }

    /// What it says in its hello.
    pub(crate) fn attempts(&self) -> Vec<Assignment> {
        self.running.iter().chain(&self.queue).map(alone).collect()
    }

    pub(crate) fn connect(&mut self, now: Timestamp) {
        self.connected = true;
        self.now = now;
        self.beats.clear();
        self.beats.push(now);
        self.lease_from = self.lease_from.max(now);
        self.sent = 0;
        self.send_reports();
    }

    pub(crate) fn disconnect(&mut self) {
        self.connected = false;
        self.inbox.clear();
        self.outbox.clear();
    }

    pub(crate) fn beat(&mut self, now: Timestamp) {
        if self.connected {
            self.outbox.push_back(FromWorker::Heartbeat { beat: self.beats.len() as u64 });
            self.beats.push(now);
        }
    }

    pub(crate) fn on_time(&mut self, now: Timestamp) {
        self.now = now;
        self.check_lease(now);
        let over = self
            .left
            .iter()
            .filter(|(attempt, (left, at))| at.0 + left <= now.0 && !self.frozen.contains(attempt));
        let over: Vec<AttemptId> = over.map(|(attempt, _)| *attempt).collect();
        for attempt in over {
            self.stop(alone(&attempt));
            self.fail(attempt, Failure::Limit { limit: Limit::WallTime, allowed: 1 });
        }
    }

    fn fail(&mut self, attempt: AttemptId, failure: Failure) {
        let (outcome, usage) = (Outcome::Failed(failure), Usage::default());
        let result = Box::new(TaskResult { outcome, usage, output: None, log: None });
        self.report(Report::Ended { attempt, result });
    }

    /// When the lease is over, tasks that must not run twice stop, and none starts.
    fn check_lease(&mut self, now: Timestamp) {
        if self.lease_ms == 0 || now.0 < self.lease_from.0 + self.lease_ms {
            return;
        }
        let withdrawn: Vec<AttemptId> = self
            .running
            .iter()
            .chain(&self.queue)
            .copied()
            .filter(|a| self.must_stop_alone(a))
            .collect();
        for attempt in withdrawn {
            self.stop(alone(&attempt));
            self.fail(attempt, Failure::NodeLost);
        }
    }

    pub(crate) fn on_message(&mut self, message: ToWorker) {
        match message {
            ToWorker::Welcome { lease_ms, stale, .. } => {
                self.lease_ms = lease_ms;
                stale.iter().for_each(|attempt| self.stop(alone(attempt)));
            }
            ToWorker::Job { job, spec, .. } => {
                self.jobs.insert(job, spec.decode().unwrap());
            }
            ToWorker::Assign(runs) => {
                for run in runs {
                    let attempts = run.tasks.indices();
                    self.queue.extend(attempts.map(|i| run.job.task(i).attempt(run.attempt)));
                }
            }
            ToWorker::AssignWith { tasks: run, .. } => {
                let attempts = run.tasks.indices();
                self.queue.extend(attempts.map(|i| run.job.task(i).attempt(run.attempt)));
            }
            // As one that has written something.
            ToWorker::Drain { attempt, .. }
                if attempt.attempt % 2 == 0 && self.running.contains(&attempt) =>
            {
                self.stop(alone(&attempt));
                self.fail(attempt, Failure::Cancelled);
            }
            ToWorker::Preempt { attempt, .. } | ToWorker::Drain { attempt, .. } => {
                self.stop(alone(&attempt));
                self.report(Report::Preempted { attempt, usage: Usage::default() });
            }
            ToWorker::Gang { .. }
            | ToWorker::Services { .. }
            | ToWorker::ServicesGone(_)
            | ToWorker::Nodes(_) => {}
            ToWorker::Resume { attempt, .. } | ToWorker::ResumeWith { attempt, .. } => {
                self.queue.push_back(attempt);
            }
            ToWorker::Stop(runs) => runs.into_iter().for_each(|run| self.stop(run)),
            ToWorker::Recall(runs) => {
                for run in runs {
                    let asked: Vec<AttemptId> = self
                        .queue
                        .iter()
                        .copied()
                        .filter(|attempt| within(&run, attempt))
                        .collect();
                    self.queue.retain(|attempt| !within(&run, attempt));
                    asked.iter().for_each(|attempt| self.report(Report::Returned(alone(attempt))));
                }
            }
            ToWorker::Acknowledge { report } => {
                self.reports.retain(|(number, _)| *number > report);
            }
            ToWorker::HeartbeatAck { beat } => self.lease_from = self.beats[beat as usize],
            ToWorker::Freeze { attempt, frozen: true } => {
                if self.running.contains(&attempt)
                    && self.frozen.insert(attempt)
                    && let Some((left, at)) = self.left.get_mut(&attempt)
                {
                    *left = left.saturating_sub(self.now.0 - at.0);
                }
            }
            ToWorker::Freeze { attempt, frozen: false } => {
                if self.frozen.remove(&attempt)
                    && let Some((_, at)) = self.left.get_mut(&attempt)
                {
                    *at = self.now;
                }
            }
            ToWorker::Forget(_) => {}
        }
    }

    fn stop(&mut self, run: Assignment) {
        self.queue.retain(|attempt| !within(&run, attempt));
        self.running.retain(|attempt| !within(&run, attempt));
        self.frozen.retain(|attempt| !within(&run, attempt));
        self.left.retain(|attempt, _| !within(&run, attempt));
    }

    /// Starts what fits, in order. Returns what it started.
    pub(crate) fn start_tasks(&mut self) -> Vec<AttemptId> {
        let mut started = Vec::new();
        while let Some(next) = self.queue.front() {
            let wanted = self.jobs[&next.task.job].resources;
            let used = self.used();
            let fits = used.checked_add(&wanted).is_some_and(|sum| self.info.capacity.covers(&sum));
            if !fits {
                break;
            }
            let next = self.queue.pop_front().unwrap();
            self.running.push(next);
            if let Some(limit) = self.jobs[&next.task.job].limits.wall_ms {
                self.left.insert(next, (limit, self.now));
            }
            started.push(next);
        }
        started
    }

    fn used(&self) -> Resources {
        self.running.iter().fold(Resources::default(), |sum, attempt| {
            let mut holds = self.jobs[&attempt.task.job].resources;
            if self.frozen.contains(attempt) {
                holds.cpu_milli = 0;
            }
            sum.checked_add(&holds).unwrap()
        })
    }

    pub(crate) fn must_stop_alone(&self, attempt: &AttemptId) -> bool {
        self.jobs[&attempt.task.job].on_disconnect == OnDisconnect::Stop
    }

    /// Something happens to a random running task.
    pub(crate) fn progress(&mut self, random: &mut Random, faulty: bool) {
        if self.running.is_empty() {
            return;
        }
        let at = random.below(self.running.len());
        let attempt = self.running[at];
        if self.frozen.contains(&attempt) {
            return;
        }
        if self.jobs[&attempt.task.job].service.is_some() {
            return self.progress_replica(attempt, random, faulty);
        }
        let usage = Usage { wall_us: random.pick(&[10, 200, 400_000]), ..Usage::default() };
        let result = |outcome| Box::new(TaskResult { outcome, usage, output: None, log: None });
        match random.below(if faulty { 10 } else { 6 }) {
            9 => self.report(Report::Started(alone(&attempt))),
            8 => {
                let content = Content::Inline(vec![attempt.attempt as u8].into());
                self.report(Report::Checkpoint { attempt, content });
            }
            kind => {
                self.stop(alone(&attempt));
                self.report(match kind {
                    7 => {
                        let outcome = Outcome::Failed(Failure::Exit { code: 1 });
                        Report::Ended { attempt, result: result(outcome) }
                    }
                    6 => Report::Ended { attempt, result: result(Outcome::Succeeded) },
                    _ => Report::Succeeded { tasks: alone(&attempt), usage },
                });
            }
        }
    }

    fn progress_replica(&mut self, attempt: AttemptId, random: &mut Random, faulty: bool) {
        let (state, usage) = (Readied::Ready, Usage::default());
        match random.below(if faulty { 8 } else { 1 }) {
            0..=3 => self.report(Report::Readied { attempt, state }),
            4 => {
                let state = Readied::NotReady { why: "503".to_owned() };
                self.report(Report::Readied { attempt, state });
            }
            5 => self.report(Report::Started(alone(&attempt))),
            6 => {
                self.stop(alone(&attempt));
                self.report(Report::Succeeded { tasks: alone(&attempt), usage });
            }
            _ => {
                self.stop(alone(&attempt));
                self.fail(attempt, Failure::Exit { code: 1 });
            }
        }
    }

    /// Hands back all that has not started, as a worker that drains does.
    pub(crate) fn hand_back(&mut self) {
        while let Some(attempt) = self.queue.pop_front() {
            self.report(Report::Returned(alone(&attempt)));
        }
    }

    fn report(&mut self, report: Report) {
        self.reports.push_back((self.next_report, report));
        self.next_report += 1;
    }

    /// Sends what was not sent on this session, or all of it again.
    pub(crate) fn send_reports(&mut self) {
        let fresh: Vec<_> =
            self.reports.iter().filter(|(number, _)| *number > self.sent).cloned().collect();
        let Some((first, _)) = fresh.first() else { return };
        let first = *first;
        self.sent = self.next_report - 1;
        let reports = fresh.into_iter().map(|(_, report)| report).collect();
        self.outbox.push_back(FromWorker::Reports { first, reports });
    }

    pub(crate) fn repeat_reports(&mut self) {
        self.sent = 0;
        self.send_reports();
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.running.is_empty() && self.reports.is_empty()
    }
}

fn alone(attempt: &AttemptId) -> Assignment {
    let tasks = IndexRange::one(attempt.task.index);
    Assignment { job: attempt.task.job, attempt: attempt.attempt, tasks }
}

fn within(run: &Assignment, attempt: &AttemptId) -> bool {
    (run.job, run.attempt) == (attempt.task.job, attempt.attempt)
        && run.tasks.contains(attempt.task.index)
}
