//! A core with nodes that have devices, and what is told to them.

use std::collections::BTreeMap;
use std::time::Duration;

use wrun_core::{Answer, Config, Core, Effect, Fact, Input, RequestId};
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::node::NodeInfo;
use wrun_protocol::policy::{Policy, Qos};
use wrun_protocol::scheduling::{Gpu, GpuRequest, Offer};
use wrun_protocol::task::Usage;
use wrun_protocol::wire::user::RequestError;
use wrun_protocol::wire::worker::{Assignment, ComponentKind, Grant, Report, ToWorker};
use wrun_protocol::{Digest, IndexRange, JobId, JobSpec, NodeId, Resources, SubmitId, Timestamp};

pub(crate) const GIB: u64 = 1 << 30;

pub(crate) struct Env {
    pub(crate) core: Core,
    pub(crate) now: Timestamp,
    submits: u8,
    pub(crate) facts: Vec<Fact>,
    /// What started since it was last asked for.
    pub(crate) starts: Vec<Start>,
    reports: BTreeMap<u64, u64>,
}

/// A task at its start: node, attempt, request and cards.
pub(crate) type Start = (u64, Assignment, Grant);

pub(crate) fn env() -> Env {
    with_config(Config::default())
}

/// Promises are always up to date, nothing waits on nodes, and none of these is ever lost.
pub(crate) fn timed() -> Env {
    with_config(Config {
        lease: Duration::from_secs(1_000_000),
        promise_interval: Duration::ZERO,
        rank_interval: Duration::ZERO,
        max_backlog: 0,
        ..Config::default()
    })
}

fn with_config(config: Config) -> Env {
    Env {
        core: Core::new(config),
        now: Timestamp(1000),
        submits: 0,
        facts: Vec::new(),
        starts: Vec::new(),
        reports: BTreeMap::new(),
    }
}

impl Env {
    pub(crate) fn handle(&mut self, input: Input) -> Vec<Effect> {
        self.core.handle(self.now, input);
        let effects: Vec<Effect> = std::iter::from_fn(|| self.core.poll_effect()).collect();
        for effect in &effects {
            if let Effect::Append(fact) = effect {
                self.facts.push(fact.clone());
            }
        }
        self.starts.extend(started(&effects));
        self.recovers();
        effects
    }

    /// What the facts alone make, and what a snapshot brings back, is the same state.
    fn recovers(&self) {
        let mut again = Core::new(Config::default());
        self.facts.iter().for_each(|fact| again.apply(fact));
        let snapshot = self.core.snapshot();
        assert!(again.snapshot() == snapshot, "the facts make another state");
        let restored = Core::restore(Config::default(), &snapshot).unwrap();
        assert!(restored.snapshot() == snapshot, "the snapshot brings back another state");
    }

    /// A node of that many CPUs and so much memory for each.
    pub(crate) fn node(&mut self, number: u64, cpus: u32, offer: Offer) -> Vec<Effect> {
        self.labelled(number, cpus, offer, &[])
    }

    pub(crate) fn labelled(
        &mut self,
        number: u64,
        cpus: u32,
        offer: Offer,
        labels: &[(&str, &str)],
    ) -> Vec<Effect> {
        let (hash, name) = ([number as u8; 32], format!("node-{number}"));
        let (request, expires) = (RequestId(0), self.now.after(Duration::from_secs(1)));
        self.handle(Input::CreateToken { request, hash, expires });
        self.handle(Input::Join { request, token_hash: hash, name: name.clone() });
        let memory = u64::from(cpus) * 4 * GIB;
        let capacity = Resources { cpu_milli: cpus * 1000, memory, scratch: 8 * GIB, slots: 64 };
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let (labels, version) = (labels.collect(), String::new());
        self.connect(number, NodeInfo { name, capacity, labels, version }, offer, 1)
    }

    pub(crate) fn connect(
        &mut self,
        number: u64,
        info: NodeInfo,
        offer: Offer,
        incarnation: u64,
    ) -> Vec<Effect> {
        let (node, attempts) = (NodeId(number), Vec::new());
        self.handle(Input::NodeConnected { node, info, offer, incarnation, attempts })
    }

    pub(crate) fn submit(&mut self, spec: &JobSpec) -> Vec<Effect> {
        self.submits += 1;
        let (id, spec) = (SubmitId([self.submits; 16]), EncodedSpec::encode(spec).unwrap());
        let (tenant, kind) = ("ann".parse().unwrap(), ComponentKind::Command);
        let (request, ended) = (RequestId(1), Vec::new());
        self.handle(Input::Submit { request, tenant, id, kind, spec, ended })
    }

    /// What starts when the job is submitted.
    pub(crate) fn starts(&mut self, spec: &JobSpec) -> Vec<Start> {
        started(&self.submit(spec))
    }

    pub(crate) fn refusal(&mut self, spec: &JobSpec) -> String {
        answer(&self.submit(spec)).unwrap_err().message
    }

    /// Goes on to that second, waking the core whenever it asks for it.
    pub(crate) fn at(&mut self, second: u64) -> &mut Self {
        while let Some(at) = self.core.poll_timeout().filter(|at| at.0 <= second * 1000) {
            self.now = self.now.max(at);
            self.handle(Input::Timeout);
        }
        self.now = Timestamp(second * 1000);
        self
    }

    /// Submits a job whose tasks may take so many seconds.
    pub(crate) fn limited(&mut self, mut spec: JobSpec, seconds: u64) -> JobId {
        spec.limits.wall_ms = Some(seconds * 1000);
        match answer(&self.submit(&spec)) {
            Ok(Answer::Submitted(job)) => job,
            other => panic!("{other:?}"),
        }
    }

    /// Whether all tasks of a job are placed.
    pub(crate) fn runs(&self, job: JobId) -> bool {
        self.core.job_summary(job).is_some_and(|job| job.tasks.pending == 0)
    }

    /// All of a job's tasks succeed.
    pub(crate) fn finish(&mut self, job: JobId) {
        for task in self.core.tasks(job, 0, 100, None) {
            let (node, attempt) = (task.node.unwrap().0, task.attempts);
            self.end(node, Assignment { attempt, ..run_of(job, task.index) });
        }
    }

    /// A task succeeds; what starts in its place.
    pub(crate) fn end(&mut self, node: u64, tasks: Assignment) -> Vec<Start> {
        let reported = self.reports.entry(node).or_default();
        *reported += 1;
        let (first, node) = (*reported, NodeId(node));
        let usage = Usage { wall_us: 60_000_000, ..Usage::default() };
        let reports = vec![Report::Succeeded { tasks, usage }];
        started(&self.handle(Input::Reports { node, first, reports }))
    }

    pub(crate) fn reserve(&mut self, reservation: wrun_protocol::reservation::Reservation) {
        let reservation = Box::new(reservation);
        let effects = self.handle(Input::Reserve { request: RequestId(0), reservation });
        assert_eq!(answer(&effects), Ok(Answer::Done));
    }

    /// Class `urgent` may pre-empt class `bulk`; who is stopped has 30 s.
    pub(crate) fn classes(&mut self) {
        let class = |name: &str, preempts: &[&str]| Qos {
            name: name.to_owned(),
            preempts: preempts.iter().map(|name| (*name).to_owned()).collect(),
            ..Qos::default()
        };
        let qos = vec![class("bulk", &[]), class("urgent", &["bulk"])];
        let mut policy = Policy { qos, ..Policy::default() };
        policy.preemption.notice_ms = 30_000;
        self.handle(Input::SetPolicy { request: RequestId(0), policy: Box::new(policy) });
    }

    /// A worker's report.
    pub(crate) fn report(&mut self, node: u64, report: Report) -> Vec<Effect> {
        let reported = self.reports.entry(node).or_default();
        *reported += 1;
        let (first, node) = (*reported, NodeId(node));
        self.handle(Input::Reports { node, first, reports: vec![report] })
    }

    /// An attempt stopped as it was told.
    pub(crate) fn stopped(&mut self, node: u64, job: u64, index: u32) -> Vec<Effect> {
        let attempt = JobId(job).task(index).attempt(1);
        self.report(node, Report::Preempted { attempt, usage: Usage::default() })
    }

    pub(crate) fn pools(&mut self, pools: &[(&str, u32)]) {
        let pools = pools.iter().map(|(name, slots)| ((*name).to_owned(), *slots)).collect();
        let policy = Box::new(Policy { pools, ..Policy::default() });
        self.handle(Input::SetPolicy { request: RequestId(0), policy });
    }
}

fn run_of(job: JobId, index: u32) -> Assignment {
    Assignment { job, attempt: 1, tasks: IndexRange::one(index) }
}

pub(crate) fn started(effects: &[Effect]) -> Vec<Start> {
    let mut starts = Vec::new();
    for effect in effects {
        match effect {
            Effect::Send { node, message: ToWorker::Assign(tasks) } => {
                starts.extend(tasks.iter().map(|tasks| (node.0, *tasks, Grant::default())));
            }
            Effect::Send { node, message: ToWorker::AssignWith { tasks, grant } } => {
                starts.push((node.0, *tasks, grant.clone()));
            }
            Effect::Send { node, message: ToWorker::ResumeWith { attempt, grant, .. } } => {
                let run = run_of(attempt.task.job, attempt.task.index);
                let run = Assignment { attempt: attempt.attempt, ..run };
                starts.push((node.0, run, grant.clone()));
            }
            _ => {}
        }
    }
    starts
}

pub(crate) fn answer(effects: &[Effect]) -> Result<Answer, RequestError> {
    let reply = effects.iter().find_map(|effect| match effect {
        Effect::Reply { answer, .. } => Some(answer.clone()),
        _ => None,
    });
    reply.expect("a reply")
}

pub(crate) fn job(count: u32) -> JobSpec {
    let mut spec = JobSpec { count, ..JobSpec::new(Digest([7; 32])) };
    spec.resources = Resources { cpu_milli: 1000, memory: GIB, scratch: 0, slots: 1 };
    spec
}

/// A job whose tasks take so much of a card each.
pub(crate) fn gpu_job(count: u32, milli: u32) -> JobSpec {
    let mut spec = job(count);
    spec.scheduling.devices.gpu = Some(gpu(milli));
    spec
}

pub(crate) fn gpu(milli: u32) -> GpuRequest {
    GpuRequest { milli, memory: 0, models: Vec::new() }
}

/// Cards of one model with 16 GiB each.
pub(crate) fn cards(count: usize, model: &str) -> Offer {
    let gpus = vec![Gpu { model: model.to_owned(), memory: 16 * GIB }; count];
    Offer { gpus, ..Offer::default() }
}

pub(crate) fn task(job: u64, index: u32) -> Assignment {
    Assignment { job: JobId(job), attempt: 1, tasks: IndexRange::one(index) }
}

pub(crate) fn with(request: u8, gpus: &[u16]) -> Grant {
    Grant { request, gpus: gpus.to_vec() }
}
