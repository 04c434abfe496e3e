//! A cluster on which nothing breaks and every limit is honoured, in discrete events: jobs
//! come, run for as long as they do, and end. After every instant what the core placed is
//! checked against the schedule that is worked out from scratch ([`Timeline`]).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wrun_core::{Answer, Config, Core, Effect, Fact, Input, RequestId};
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::node::NodeInfo;
use wrun_protocol::policy::Policy;
use wrun_protocol::scheduling::{Gpu, GpuRequest, Offer};
use wrun_protocol::task::Usage;
use wrun_protocol::wire::worker::{Assignment, ComponentKind, Report};
use wrun_protocol::{Digest, IndexRange, JobId, JobSpec, NodeId, SubmitId, TaskId, Timestamp};

use crate::draw::{BEGIN, Draft, Draw};
use crate::model::placements;
use crate::timeline::{Amounts, Timeline};
use crate::world::{NAMED, POOL, POOL_SLOTS};

/// A task, or a gang as a whole under its first task.
pub(crate) struct Job {
    pub(crate) draft: Draft,
    pub(crate) submitted: u64,
    pub(crate) started: Option<u64>,
    pub(crate) placed: Vec<(usize, Assignment)>,
    /// When it had waited for the age bound: how many older ones waited still.
    pub(crate) elders: Option<u64>,
}

pub(crate) struct Orderly {
    pub(crate) core: Core,
    pub(crate) now: u64,
    pub(crate) policy: Policy,
    pub(crate) cpu_milli: u64,
    /// Nodes and windows of maintenance.
    pub(crate) empty: Timeline,
    pub(crate) jobs: BTreeMap<TaskId, Job>,
    pub(crate) waiting: BTreeSet<TaskId>,
    pub(crate) ends: BTreeSet<(u64, TaskId)>,
    reports: BTreeMap<usize, u64>,
    /// The first of the queue, and the start that it could count on.
    pub(crate) head: Option<(TaskId, u64)>,
    /// What was told of promises at the last instant, in the order of the queue.
    pub(crate) told: Vec<(TaskId, Option<u64>)>,
    /// The factor of each tenant's jobs at this instant.
    pub(crate) factors: BTreeMap<String, u32>,
    submits: u8,
    traced: bool,
}

impl Orderly {
    pub(crate) fn run(seed: u64) {
        let draw = Draw::new(seed);
        let mut drafts = draw.drafts.clone();
        let mut world = Self::new(&draw);
        drafts.sort_by_key(|draft| draft.at);
        let mut drafts = drafts.into_iter().peekable();
        loop {
            let come = drafts.peek().map(|draft| draft.at);
            let end = world.ends.first().map(|(at, _)| *at);
            let wake = world.core.poll_timeout().map(|at| at.0).filter(|at| *at > world.now);
            let busy = come.is_some() || !world.waiting.is_empty() || end.is_some();
            let next = [come, end, wake].into_iter().flatten().min();
            let Some(next) = next.filter(|_| busy) else { break };
            world.now = next;
            while let Some((_, job)) = world.ends.first().copied().filter(|(at, _)| *at <= next) {
                world.ends.pop_first();
                world.end(job);
            }
            while let Some(draft) = drafts.next_if(|draft| draft.at <= next) {
                world.submit(draft);
            }
            world.handle(Input::Timeout);
            world.settle();
            assert!(world.now < draw.latest, "these never start: {:?}", world.waiting);
        }
        assert!(world.waiting.is_empty(), "these never start: {:?}", world.waiting);
    }

    fn new(draw: &Draw) -> Self {
        let config = Config {
            lease: Duration::from_secs(1_000_000_000),
            promise_interval: Duration::ZERO,
            rank_interval: Duration::ZERO,
            max_backlog: 0,
            ..Config::default()
        };
        let mut world = Self {
            core: Core::new(config),
            now: BEGIN,
            policy: draw.policy.clone(),
            cpu_milli: draw.nodes.iter().map(|node| u64::from(node.plain.cpu_milli)).sum(),
            empty: Timeline {
                nodes: draw.nodes.clone(),
                pool: POOL_SLOTS,
                headroom: draw.headroom(),
                blocks: draw.blocks(),
            },
            jobs: BTreeMap::new(),
            waiting: BTreeSet::new(),
            ends: BTreeSet::new(),
            reports: BTreeMap::new(),
            head: None,
            told: Vec::new(),
            factors: BTreeMap::new(),
            submits: 0,
            traced: std::env::var_os("WRUN_TRACE").is_some(),
        };
        let (request, policy) = (RequestId(0), Box::new(draw.policy.clone()));
        world.handle(Input::SetPolicy { request, policy });
        for (number, capacity) in (1..).zip(&draw.nodes) {
            world.node(number, *capacity);
        }
        for reservation in &draw.reservations {
            let reservation = Box::new(reservation.clone());
            world.handle(Input::Reserve { request, reservation });
        }
        world.poll();
        world
    }

    fn node(&mut self, number: u64, amounts: Amounts) {
        let (hash, name) = ([number as u8; 32], format!("node-{number}"));
        let (request, expires) = (RequestId(0), Timestamp(u64::MAX));
        self.handle(Input::CreateToken { request, hash, expires });
        self.handle(Input::Join { request, token_hash: hash, name: name.clone() });
        let (labels, version, capacity) = (BTreeMap::new(), String::new(), amounts.plain);
        let info = NodeInfo { name, capacity, labels, version };
        let card = Gpu { model: "a".to_owned(), memory: 8 };
        let gpus = vec![card; (amounts.gpu_milli / 1000) as usize];
        let named = (amounts.named > 0).then(|| (NAMED.to_owned(), amounts.named));
        let offer = Offer { gpus, named: named.into_iter().collect() };
        let (node, attempts) = (NodeId(number), Vec::new());
        self.handle(Input::NodeConnected { node, info, offer, incarnation: 1, attempts });
        self.poll();
    }

    fn handle(&mut self, input: Input) {
        if self.traced && !matches!(input, Input::Timeout | Input::Submit { .. }) {
            eprintln!("{} <- {input:?}", self.now);
        }
        self.core.handle(Timestamp(self.now), input);
    }

    fn submit(&mut self, draft: Draft) {
        self.submits += 1;
        let unit = draft.unit;
        let count = unit.count * draft.units;
        let mut spec = JobSpec { count, ..JobSpec::new(Digest([7; 32])) };
        spec.resources = unit.each.plain;
        spec.limits.wall_ms = Some(unit.length);
        spec.scheduling.gang = unit.count > 1;
        let devices = &mut spec.scheduling.devices;
        let gpu = GpuRequest { milli: unit.each.gpu_milli, memory: 0, models: Vec::new() };
        devices.gpu = Some(gpu).filter(|gpu| gpu.milli > 0);
        devices.named.extend((unit.each.named > 0).then(|| (NAMED.to_owned(), unit.each.named)));
        devices.pools.extend((unit.slots > 0).then(|| (POOL.to_owned(), unit.slots)));
        spec.priority = draft.priority;
        let (id, spec) = (SubmitId([self.submits; 16]), EncodedSpec::encode(&spec).unwrap());
        let (tenant, kind) = (draft.tenant.parse().unwrap(), ComponentKind::Command);
        let submit = Input::Submit { request: RequestId(1), tenant, id, kind, spec, ended: vec![] };
        self.handle(submit);
        let job = JobId(self.submits.into());
        if self.traced {
            eprintln!("{} <- {job}: {draft:?}", self.now);
        }
        for task in (0..draft.units).map(|index| job.task(index)) {
            let (submitted, placed) = (self.now, Vec::new());
            let job = Job { draft, submitted, started: None, placed, elders: None };
            self.jobs.insert(task, job);
            self.waiting.insert(task);
        }
    }

    fn end(&mut self, unit: TaskId) {
        for (node, run) in std::mem::take(&mut self.jobs.get_mut(&unit).unwrap().placed) {
            let first = self.reports.entry(node).or_insert(1);
            let number = std::mem::replace(first, *first + 1);
            let reports = vec![Report::Succeeded { tasks: run, usage: Usage::default() }];
            let node = NodeId(node as u64 + 1);
            self.handle(Input::Reports { node, first: number, reports });
        }
    }

    /// Takes in what the core decides. Returns what it started.
    pub(crate) fn poll(&mut self) -> BTreeSet<TaskId> {
        let mut started = BTreeSet::new();
        while let Some(effect) = self.core.poll_effect() {
            match effect {
                Effect::Append(fact) => {
                    if self.traced && !matches!(fact, Fact::Reported { .. }) {
                        eprintln!("  -> {fact:?}");
                    }
                    assert!(!matches!(fact, Fact::Noticed { .. }), "in the way: {fact:?}");
                    for (node, run, _) in placements(&fact) {
                        let gang = self.jobs[&run.job.task(0)].draft.unit.count > 1;
                        let of = |index| run.job.task(if gang { 0 } else { index });
                        started.extend(run.tasks.indices().map(of));
                        match gang {
                            true => self.start(node, run, of(0)),
                            false => run.tasks.indices().for_each(|index| {
                                let tasks = IndexRange::one(index);
                                self.start(node, Assignment { tasks, ..run }, of(index));
                            }),
                        }
                    }
                }
                Effect::Reply { request: RequestId(1), answer } => {
                    assert!(matches!(answer, Ok(Answer::Submitted(_))), "{answer:?}");
                }
                _ => {}
            }
        }
        started
    }

    fn start(&mut self, node: NodeId, run: Assignment, unit: TaskId) {
        let job = self.jobs.get_mut(&unit).unwrap();
        job.placed.push((node.0 as usize - 1, run));
        job.started = Some(self.now);
        self.waiting.remove(&unit);
        self.ends.insert((self.now + job.draft.runs, unit));
    }
}
