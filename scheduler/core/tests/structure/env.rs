//! A core with a few lines' worth of cluster around it. After every event the facts so far
//! are applied to a second core, which must come to the same state.

use std::collections::BTreeMap;
use std::time::Duration;

use wrun_core::{
    Answer, Config, Core, Effect, EndedJob, Fact, Input, Prior, Remembered, RequestId,
};
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::node::NodeInfo;
use wrun_protocol::scheduling::Offer;
use wrun_protocol::task::{Failure, Outcome, Usage};
use wrun_protocol::wire::policy::TaskSet;
use wrun_protocol::wire::user::RequestError;
use wrun_protocol::wire::worker::{Assignment, ComponentKind, Report, TaskResult, ToWorker};
use wrun_protocol::{Digest, IndexRange, JobId, JobSpec, NodeId, Resources, SubmitId, Timestamp};

pub(crate) struct Env {
    pub(crate) core: Core,
    shadow: Core,
    pub(crate) journal: Vec<Fact>,
    pub(crate) now: Timestamp,
    submits: u8,
    /// Number of the next report, by node.
    reports: BTreeMap<u64, u64>,
}

pub(crate) fn env() -> Env {
    Env {
        core: Core::new(config()),
        shadow: Core::new(config()),
        journal: Vec::new(),
        now: Timestamp(1000),
        submits: 0,
        reports: BTreeMap::new(),
    }
}

/// Without backlogs: tasks are placed where there is room, and wait in the queue otherwise.
fn config() -> Config {
    Config { max_backlog: 0, ..Config::default() }
}

impl Env {
    pub(crate) fn handle(&mut self, input: Input) -> Vec<Effect> {
        self.core.handle(self.now, input);
        let effects: Vec<Effect> = std::iter::from_fn(|| self.core.poll_effect()).collect();
        for effect in &effects {
            if let Effect::Append(fact) = effect {
                self.shadow.apply(fact);
                self.journal.push(fact.clone());
            }
        }
        let snapshot = self.core.snapshot();
        assert!(snapshot == self.shadow.snapshot(), "applying the facts gives another state");
        let restored = Core::restore(config(), &snapshot).unwrap().snapshot();
        assert!(restored == snapshot, "a restored snapshot gives another state");
        effects
    }

    /// A node of so many CPUs joins and connects.
    pub(crate) fn node(&mut self, number: u64, cpus: u32) -> Vec<Effect> {
        let (hash, name) = ([number as u8; 32], format!("node-{number}"));
        let expires = self.now.after(Duration::from_secs(1));
        self.handle(Input::CreateToken { request: RequestId(0), hash, expires });
        self.handle(Input::Join { request: RequestId(0), token_hash: hash, name });
        let info = Self::info(number, cpus);
        let (node, attempts) = (NodeId(number), Vec::new());
        self.handle(Input::NodeConnected {
            node,
            info,
            offer: Offer::default(),
            incarnation: 1,
            attempts,
        })
    }

    /// What a node of so many CPUs says of itself.
    pub(crate) fn info(number: u64, cpus: u32) -> NodeInfo {
        let capacity =
            Resources { cpu_milli: cpus * 1000, memory: 8 << 30, scratch: 8 << 30, slots: 64 };
        let name = format!("node-{number}");
        NodeInfo { name, capacity, labels: BTreeMap::new(), version: String::new() }
    }

    /// Time passes in which every node says that it lives.
    pub(crate) fn wait(&mut self, ms: u64) {
        let until = self.now.0 + ms;
        while self.now.0 < until {
            self.now.0 = until.min(self.now.0 + 5000);
            for node in self.core.nodes() {
                self.handle(Input::Heartbeat { node: node.id, beat: 1 });
            }
        }
    }

    /// The node is back and says that it still has these.
    pub(crate) fn reconnect(&mut self, number: u64, attempts: Vec<Assignment>) -> Vec<Effect> {
        let node = NodeId(number);
        let info = self.core.node_info(node).unwrap().clone();
        self.handle(Input::NodeConnected {
            node,
            info,
            offer: Offer::default(),
            incarnation: 1,
            attempts,
        })
    }

    pub(crate) fn submit(&mut self, spec: &JobSpec) -> Vec<Effect> {
        self.submit_after(spec, Vec::new())
    }

    /// Submits, with what the history says of jobs that it depends on.
    pub(crate) fn submit_after(&mut self, spec: &JobSpec, ended: Vec<Prior>) -> Vec<Effect> {
        self.submit_as("ann", spec, ended)
    }

    pub(crate) fn submit_as(
        &mut self,
        tenant: &str,
        spec: &JobSpec,
        ended: Vec<Prior>,
    ) -> Vec<Effect> {
        self.submits += 1;
        let (id, spec) = (SubmitId([self.submits; 16]), EncodedSpec::encode(spec).unwrap());
        let (request, kind) = (RequestId(1), ComponentKind::Command);
        let tenant = tenant.parse().unwrap();
        self.handle(Input::Submit { request, tenant, id, kind, spec, ended })
    }

    /// Submits under an id, with results that are known from before.
    pub(crate) fn submit_known(
        &mut self,
        submission: u8,
        spec: &JobSpec,
        known: Vec<Remembered>,
    ) -> Vec<Effect> {
        let (id, spec) = (SubmitId([submission; 16]), EncodedSpec::encode(spec).unwrap());
        let (request, kind) = (RequestId(1), ComponentKind::Command);
        let tenant = "ann".parse().unwrap();
        self.handle(Input::SubmitKnown { request, tenant, id, kind, spec, known })
    }

    /// What a restart makes of these facts, before it begins to decide.
    pub(crate) fn recovered(journal: &[Fact]) -> Core {
        let mut core = Core::new(config());
        journal.iter().for_each(|fact| core.apply(fact));
        core
    }

    pub(crate) fn report(&mut self, node: u64, report: Report) -> Vec<Effect> {
        let first = self.reports.entry(node).or_insert(1);
        let (first, node) = (std::mem::replace(first, *first + 1), NodeId(node));
        self.handle(Input::Reports { node, first, reports: vec![report] })
    }

    pub(crate) fn succeed(&mut self, node: u64, tasks: Assignment) -> Vec<Effect> {
        let usage = Usage { wall_us: 10_000_000, ..Usage::default() };
        self.report(node, Report::Succeeded { tasks, usage })
    }

    pub(crate) fn fail(&mut self, node: u64, job: u64, index: u32, attempt: u32) -> Vec<Effect> {
        let outcome = Outcome::Failed(Failure::Exit { code: 3 });
        let result = TaskResult { outcome, usage: Usage::default(), output: None, log: None };
        let attempt = JobId(job).task(index).attempt(attempt);
        self.report(node, Report::Ended { attempt, result: Box::new(result) })
    }

    pub(crate) fn cancel(&mut self, job: u64, tasks: TaskSet) -> Vec<Effect> {
        self.handle(Input::CancelTasks { request: RequestId(1), job: JobId(job), tasks })
    }

    pub(crate) fn retry(&mut self, job: u64, tasks: TaskSet) -> Vec<Effect> {
        self.handle(Input::Retry { request: RequestId(1), job: JobId(job), tasks })
    }

    pub(crate) fn requeue(&mut self, job: u64, tasks: TaskSet) -> Vec<Effect> {
        self.handle(Input::Requeue { request: RequestId(1), job: JobId(job), tasks })
    }

    /// Pending, running, succeeded, failed, cancelled.
    pub(crate) fn counts(&self, job: u64) -> [u32; 5] {
        let counts = self.core.job_summary(JobId(job)).expect("a live job").tasks;
        [counts.pending, counts.running, counts.succeeded, counts.failed, counts.cancelled]
    }

    pub(crate) fn is_live(&self, job: u64) -> bool {
        self.core.job_tenant(JobId(job)).is_some()
    }
}

/// A job of so many tasks, each of one CPU.
pub(crate) fn job(count: u32) -> JobSpec {
    JobSpec { count, ..JobSpec::new(Digest([7; 32])) }
}

pub(crate) fn run(job: u64, attempt: u32, first: u32, count: u32) -> Assignment {
    Assignment { job: JobId(job), attempt, tasks: IndexRange { first, count } }
}

pub(crate) fn ranges(of: &[(u32, u32)]) -> TaskSet {
    TaskSet::Ranges(of.iter().map(|(first, count)| range(*first, *count)).collect())
}

pub(crate) fn range(first: u32, count: u32) -> IndexRange {
    IndexRange { first, count }
}

/// What nodes were told to run.
pub(crate) fn assigned(effects: &[Effect]) -> Vec<(u64, Assignment)> {
    sent(effects, |message| match message {
        ToWorker::Assign(tasks) => tasks.clone(),
        ToWorker::AssignWith { tasks, .. } => vec![*tasks],
        _ => Vec::new(),
    })
}

/// What nodes were told to stop.
pub(crate) fn stopped(effects: &[Effect]) -> Vec<(u64, Assignment)> {
    sent(effects, |message| match message {
        ToWorker::Stop(tasks) => tasks.clone(),
        _ => Vec::new(),
    })
}

/// Nodes and indices of tasks that were told to stop and come back.
pub(crate) fn told_to_stop(effects: &[Effect]) -> Vec<(u64, u32)> {
    let told = effects.iter().filter_map(|effect| match effect {
        Effect::Send { node, message: ToWorker::Preempt { attempt, .. } } => {
            Some((node.0, attempt.task.index))
        }
        _ => None,
    });
    told.collect()
}

fn sent(effects: &[Effect], of: impl Fn(&ToWorker) -> Vec<Assignment>) -> Vec<(u64, Assignment)> {
    let mut runs = Vec::new();
    for effect in effects {
        if let Effect::Send { node, message } = effect {
            runs.extend(of(message).into_iter().map(|tasks| (node.0, tasks)));
        }
    }
    runs
}

pub(crate) fn facts(effects: &[Effect]) -> Vec<Fact> {
    let facts = effects.iter().filter_map(|effect| match effect {
        Effect::Append(fact) => Some(fact.clone()),
        _ => None,
    });
    facts.collect()
}

/// What the history is told of jobs that ended.
pub(crate) fn ended(effects: &[Effect]) -> Vec<EndedJob> {
    let ended = effects.iter().filter_map(|effect| match effect {
        Effect::Ended(job) => Some((**job).clone()),
        _ => None,
    });
    ended.collect()
}

pub(crate) fn answer(effects: &[Effect]) -> Result<Answer, RequestError> {
    let reply = effects.iter().find_map(|effect| match effect {
        Effect::Reply { answer, .. } => Some(answer.clone()),
        _ => None,
    });
    reply.expect("a reply")
}
