//! A core with a small cluster around it, on which tasks run for as long as they are said
//! to. After every event the facts so far are applied to a second core, which must come to
//! the same state.

use std::collections::BTreeMap;
use std::time::Duration;

use wrun_core::{Answer, Config, Core, Effect, Fact, Input, RequestId};
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::node::NodeInfo;
use wrun_protocol::policy::Policy;
use wrun_protocol::scheduling::Offer;
use wrun_protocol::task::Usage;
use wrun_protocol::wire::user::RequestError;
use wrun_protocol::wire::worker::{Assignment, ComponentKind, Report, ToWorker};
use wrun_protocol::{Digest, JobId, JobSpec, NodeId, Resources, SubmitId, Timestamp};

/// When every test begins.
pub(crate) const BEGIN: Timestamp = Timestamp(1_000_000_000);

pub(crate) struct Env {
    pub(crate) core: Core,
    shadow: Core,
    pub(crate) now: Timestamp,
    submits: u64,
    /// Number of the next report, by node.
    reports: BTreeMap<u64, u64>,
    /// How long the tasks of each job run, in seconds.
    runs: BTreeMap<JobId, u64>,
    /// Placed runs of tasks, by their end.
    ends: BTreeMap<(Timestamp, u64), (NodeId, Assignment)>,
    /// When tasks were placed: seconds since the begin, job and count.
    pub(crate) starts: Vec<(u64, u64, u32)>,
}

pub(crate) fn env() -> Env {
    Env::with(Policy::default())
}

/// Without backlogs, with ranks that are always up to date, and no node is ever lost.
pub(crate) fn config() -> Config {
    let (lease, rank_interval) = (Duration::from_secs(1 << 30), Duration::ZERO);
    Config { max_backlog: 0, rank_interval, lease, ..Config::default() }
}

impl Env {
    pub(crate) fn with(policy: Policy) -> Self {
        Self::configured(policy, config())
    }

    /// The same with other settings than those of [`config`].
    pub(crate) fn configured(policy: Policy, settings: Config) -> Self {
        let mut env = Self {
            core: Core::new(settings),
            shadow: Core::new(config()),
            now: BEGIN,
            submits: 0,
            reports: BTreeMap::new(),
            runs: BTreeMap::new(),
            ends: BTreeMap::new(),
            starts: Vec::new(),
        };
        if policy != Policy::default() {
            assert_eq!(env.set_policy(policy), Ok(Answer::Done));
        }
        env
    }

    pub(crate) fn handle(&mut self, input: Input) -> Vec<Effect> {
        self.core.handle(self.now, input);
        let effects: Vec<Effect> = std::iter::from_fn(|| self.core.poll_effect()).collect();
        for effect in &effects {
            match effect {
                Effect::Append(fact) => self.shadow.apply(fact),
                Effect::Send { node, message: ToWorker::Assign(tasks) } => {
                    tasks.iter().for_each(|tasks| self.start(*node, *tasks));
                }
                Effect::Send { message: ToWorker::Stop(tasks), .. } => {
                    let stops =
                        |run: &Assignment| tasks.iter().any(|stopped| stopped.job == run.job);
                    self.ends.retain(|_, (_, run)| !stops(run));
                }
                _ => {}
            }
        }
        let snapshot = self.core.snapshot();
        assert!(snapshot == self.shadow.snapshot(), "applying the facts gives another state");
        let restored = Core::restore(config(), &snapshot).unwrap().snapshot();
        assert!(restored == snapshot, "a restored snapshot gives another state");
        effects
    }

    fn start(&mut self, node: NodeId, tasks: Assignment) {
        let seconds = self.now.since(BEGIN).as_secs();
        self.starts.push((seconds, tasks.job.0, tasks.tasks.count));
        let run = Duration::from_secs(self.runs.get(&tasks.job).copied().unwrap_or(1_000_000));
        let number = self.starts.len() as u64;
        self.ends.insert((self.now.after(run), number), (node, tasks));
    }

    /// Time passes; tasks that come to their end succeed.
    pub(crate) fn run_until(&mut self, seconds: u64) {
        let until = BEGIN.after(Duration::from_secs(seconds));
        loop {
            let end = self.ends.first_key_value().map(|((at, _), _)| *at);
            let timer = self.core.poll_timeout();
            let next = end.into_iter().chain(timer).min().filter(|at| *at <= until);
            let Some(at) = next else { break };
            self.now = self.now.max(at);
            if end == Some(at) {
                let (_, (node, tasks)) = self.ends.pop_first().unwrap();
                let usage = Usage { wall_us: 1_000_000, ..Usage::default() };
                self.report(node, Report::Succeeded { tasks, usage });
            } else {
                self.handle(Input::Timeout);
            }
        }
        self.now = self.now.max(until);
        self.handle(Input::Timeout);
    }

    pub(crate) fn set_policy(&mut self, policy: Policy) -> Result<Answer, RequestError> {
        let policy = Box::new(policy);
        answer(&self.handle(Input::SetPolicy { request: RequestId(0), policy }))
    }

    /// A node of so many CPUs joins and connects.
    pub(crate) fn node(&mut self, number: u64, cpus: u32) {
        self.node_with(number, cpus, &[]);
    }

    /// The same with labels.
    pub(crate) fn node_with(&mut self, number: u64, cpus: u32, labels: &[(&str, &str)]) {
        self.node_offering(number, cpus, labels, Offer::default());
    }

    /// The same with devices.
    pub(crate) fn node_offering(
        &mut self,
        number: u64,
        cpus: u32,
        labels: &[(&str, &str)],
        offer: Offer,
    ) {
        let labels = labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned()));
        let (hash, name) = ([number as u8; 32], format!("node-{number}"));
        let expires = self.now.after(Duration::from_secs(1));
        self.handle(Input::CreateToken { request: RequestId(0), hash, expires });
        self.handle(Input::Join { request: RequestId(0), token_hash: hash, name: name.clone() });
        let capacity =
            Resources { cpu_milli: cpus * 1000, memory: 64 << 30, scratch: 8 << 30, slots: 64 };
        let labels = labels.collect();
        let info = NodeInfo { name, capacity, labels, version: String::new() };
        let (node, attempts) = (NodeId(number), Vec::new());
        self.handle(Input::NodeConnected { node, info, offer, incarnation: 1, attempts });
    }

    pub(crate) fn try_submit(
        &mut self,
        tenant: &str,
        seconds: u64,
        spec: &JobSpec,
    ) -> Result<Answer, RequestError> {
        self.submits += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.submits.to_le_bytes());
        let spec = EncodedSpec::encode(spec).unwrap();
        let (id, tenant, kind) = (SubmitId(id), tenant.parse().unwrap(), ComponentKind::Command);
        let next = self.runs.last_key_value().map_or(1, |(job, _)| job.0 + 1);
        self.runs.insert(JobId(next), seconds);
        let effects = self.handle(Input::Submit {
            request: RequestId(1),
            tenant,
            id,
            kind,
            spec,
            ended: Vec::new(),
        });
        let answer = answer(&effects);
        if answer.is_err() {
            self.runs.remove(&JobId(next));
        }
        answer
    }

    /// A job whose tasks run for so many seconds.
    pub(crate) fn submit(&mut self, tenant: &str, seconds: u64, spec: &JobSpec) -> JobId {
        match self.try_submit(tenant, seconds, spec) {
            Ok(Answer::Submitted(job)) => job,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn drain(&mut self, node: NodeId, drain: bool) {
        self.handle(Input::SetDrain { request: RequestId(0), node, drain });
    }

    pub(crate) fn report(&mut self, node: NodeId, report: Report) -> Vec<Effect> {
        let first = self.reports.entry(node.0).or_insert(1);
        let first = std::mem::replace(first, *first + 1);
        self.handle(Input::Reports { node, first, reports: vec![report] })
    }

    /// In which order jobs started.
    pub(crate) fn order(&self) -> Vec<u64> {
        self.starts.iter().map(|(_, job, _)| *job).collect()
    }
}

/// A job of so many tasks, each of one CPU and at most so many seconds.
pub(crate) fn job(count: u32, limit: u64) -> JobSpec {
    let mut spec = JobSpec { count, ..JobSpec::new(Digest([7; 32])) };
    spec.limits.wall_ms = Some(limit * 1000);
    spec
}

pub(crate) fn answer(effects: &[Effect]) -> Result<Answer, RequestError> {
    let reply = effects.iter().find_map(|effect| match effect {
        Effect::Reply { answer, .. } => Some(answer.clone()),
        _ => None,
    });
    reply.expect("a reply")
}

#[expect(dead_code, reason = "for what comes")]
pub(crate) fn facts(effects: &[Effect]) -> Vec<Fact> {
    let facts = effects.iter().filter_map(|effect| match effect {
        Effect::Append(fact) => Some(fact.clone()),
        _ => None,
    });
    facts.collect()
}
