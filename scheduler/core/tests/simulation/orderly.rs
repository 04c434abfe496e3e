//! A cluster on which nothing breaks and every limit is honoured, in discrete events: jobs
//! come, run for as long as they do, and end. After every instant what the core placed is
//! checked against the schedule that is worked out from scratch ([`Timeline`]).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wrun_core::{Answer, Config, Core, Effect, Fact, Input, RequestId};
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::node::NodeInfo;
use wrun_protocol::policy::{BackfillMode, Policy, QueueOrder};
use wrun_protocol::scheduling::Offer;
use wrun_protocol::task::Usage;
use wrun_protocol::wire::worker::{Assignment, ComponentKind, Report};
use wrun_protocol::{Digest, JobId, JobSpec, NodeId, Resources, SubmitId, Timestamp};

use crate::draw::{Draft, Draw};
use crate::model::placements;
use crate::timeline::{Timeline, Unit};

pub(crate) struct Job {
    draft: Draft,
    submitted: u64,
    started: Option<u64>,
    placed: Vec<(usize, Assignment)>,
    /// When it had waited for the age bound: how many older ones waited still.
    elders: Option<u64>,
}

pub(crate) struct Orderly {
    core: Core,
    now: u64,
    policy: Policy,
    cpu_milli: u64,
    /// Nodes and windows of maintenance.
    empty: Timeline,
    jobs: BTreeMap<JobId, Job>,
    waiting: BTreeSet<JobId>,
    ends: BTreeSet<(u64, JobId)>,
    reports: BTreeMap<usize, u64>,
    /// The first of the queue, and the start that it could count on.
    head: Option<(JobId, u64)>,
    submits: u8,
    traced: bool,
}

/// Milliseconds of a second, in which everything happens.
const SECOND: u64 = 1000;

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
            now: 1000 * SECOND,
            policy: draw.policy.clone(),
            cpu_milli: draw.nodes.iter().map(|node| u64::from(node.cpu_milli)).sum(),
            empty: Timeline { nodes: draw.nodes.clone(), blocks: draw.blocks() },
            jobs: BTreeMap::new(),
            waiting: BTreeSet::new(),
            ends: BTreeSet::new(),
            reports: BTreeMap::new(),
            head: None,
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

    fn node(&mut self, number: u64, capacity: Resources) {
        let (hash, name) = ([number as u8; 32], format!("node-{number}"));
        let (request, expires) = (RequestId(0), Timestamp(u64::MAX));
        self.handle(Input::CreateToken { request, hash, expires });
        self.handle(Input::Join { request, token_hash: hash, name: name.clone() });
        let info = NodeInfo { name, capacity, labels: BTreeMap::new(), version: String::new() };
        let (node, offer, attempts) = (NodeId(number), Offer::default(), Vec::new());
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
        let mut spec = JobSpec { count: draft.unit.count, ..JobSpec::new(Digest([7; 32])) };
        spec.resources = draft.unit.each;
        spec.limits.wall_ms = Some(draft.unit.length);
        spec.scheduling.gang = draft.unit.count > 1;
        spec.priority = draft.priority;
        let (id, spec) = (SubmitId([self.submits; 16]), EncodedSpec::encode(&spec).unwrap());
        let (tenant, kind) = ("ann".parse().unwrap(), ComponentKind::Command);
        let submit = Input::Submit { request: RequestId(1), tenant, id, kind, spec, ended: vec![] };
        self.handle(submit);
        let job = JobId(self.jobs.len() as u64 + 1);
        if self.traced {
            eprintln!("{} <- {job}: {draft:?}", self.now);
        }
        let submitted = self.now;
        let job_state = Job { draft, submitted, started: None, placed: Vec::new(), elders: None };
        self.jobs.insert(job, job_state);
        self.waiting.insert(job);
    }

    fn end(&mut self, job: JobId) {
        for (node, run) in std::mem::take(&mut self.jobs.get_mut(&job).unwrap().placed) {
            let first = self.reports.entry(node).or_insert(1);
            let number = std::mem::replace(first, *first + 1);
            let reports = vec![Report::Succeeded { tasks: run, usage: Usage::default() }];
            let node = NodeId(node as u64 + 1);
            self.handle(Input::Reports { node, first: number, reports });
        }
    }

    /// Takes in what the core decides. Returns the jobs that it started.
    fn poll(&mut self) -> BTreeSet<JobId> {
        let mut started = BTreeSet::new();
        while let Some(effect) = self.core.poll_effect() {
            match effect {
                Effect::Append(fact) => {
                    if self.traced && !matches!(fact, Fact::Reported { .. }) {
                        eprintln!("  -> {fact:?}");
                    }
                    assert!(!matches!(fact, Fact::Noticed { .. }), "in the way: {fact:?}");
                    for (node, run, _) in placements(&fact) {
                        self.start(node, run);
                        started.insert(run.job);
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

    fn start(&mut self, node: NodeId, run: Assignment) {
        let job = self.jobs.get_mut(&run.job).unwrap();
        job.placed.push((node.0 as usize - 1, run));
        job.started = Some(self.now);
        self.waiting.remove(&run.job);
        self.ends.insert((self.now + job.draft.runs, run.job));
    }

    /// Lets the core place what it will at this instant, and checks it.
    fn settle(&mut self) {
        self.note_elders();
        let started = self.poll();
        self.check_age(&started);
        let queue = self.in_order(&self.waiting);
        match self.policy.backfill.mode {
            BackfillMode::Off => self.check_order(&queue, &started),
            BackfillMode::Easy => self.check_promises(&queue, &started, 1),
            BackfillMode::Conservative => self.check_promises(&queue, &started, usize::MAX),
        }
    }

    /// What runs, and is reserved, but for some jobs.
    fn timeline(&self, without: &BTreeSet<JobId>) -> Timeline {
        let mut timeline = self.empty.clone();
        for (_, id) in self.ends.iter().filter(|(_, id)| !without.contains(id)) {
            let job = &self.jobs[id];
            let places = job.placed.iter().map(|(node, run)| (*node, run.tasks.count));
            timeline.take(&job.draft.unit, job.started.unwrap(), &places.collect::<Vec<_>>());
        }
        timeline
    }

    /// The smaller the sooner; the order of the queue, as the documentation has it.
    fn rank(&self, job: &Job) -> (bool, i128) {
        let submitted = i128::from(job.submitted);
        let aged = self.policy.age_bound_ms.is_some_and(|most| self.now - job.submitted >= most);
        if aged {
            return (false, submitted);
        }
        let Unit { each, count, length } = job.draft.unit;
        let area = i128::from(each.cpu_milli) * i128::from(count) * i128::from(length);
        let rank = match self.policy.order {
            QueueOrder::Multifactor => -i128::from(job.draft.priority),
            QueueOrder::Fcfs => submitted,
            QueueOrder::ShortestFirst => length.into(),
            QueueOrder::SmallestAreaFirst => area,
            QueueOrder::Balanced => {
                let balance = &self.policy.balance;
                let full = i128::from(balance.full_area_ms) * i128::from(self.cpu_milli);
                submitted + area.min(full) * i128::from(balance.patience_ms) / full
            }
        };
        (true, rank)
    }

    fn in_order(&self, jobs: &BTreeSet<JobId>) -> Vec<JobId> {
        let mut jobs: Vec<JobId> = jobs.iter().copied().collect();
        jobs.sort_by_key(|id| (self.rank(&self.jobs[id]), *id));
        jobs
    }

    /// Without backfill, nothing is placed that one before it could have been placed for.
    fn check_order(&self, queue: &[JobId], started: &BTreeSet<JobId>) {
        let key = |id: &JobId| (self.rank(&self.jobs[id]), *id);
        for late in queue {
            let passed: BTreeSet<JobId> =
                started.iter().copied().filter(|id| key(id) > key(late)).collect();
            let (at, _) = self.timeline(&passed).earliest(&self.jobs[late].draft.unit, self.now);
            assert!(at > self.now, "{passed:?} were placed before {late}, which had room");
        }
    }

    /// What was placed out of order delays none of the first `promised` that wait, the
    /// first of the queue keeps the start that it could count on, and whatever could be
    /// filled in was.
    fn check_promises(&mut self, queue: &[JobId], started: &BTreeSet<JobId>, promised: usize) {
        let key = |id: &JobId| (self.rank(&self.jobs[id]), *id);
        let one_node = self.empty.nodes.len() == 1;
        let mut head = None;
        // With several nodes the plan depends on which of them the others were promised.
        let planned = if one_node { promised } else { 1 };
        let mut before: Vec<(Unit, u64, Vec<(usize, u32)>)> = Vec::new();
        let mut after = self.timeline(&BTreeSet::new());
        for (place, late) in queue.iter().enumerate().take(planned) {
            let passed = started.iter().copied().filter(|id| key(id) > key(late));
            let mut without = self.timeline(&passed.collect());
            for (unit, at, places) in &before {
                without.take(unit, *at, places);
            }
            let unit = self.jobs[late].draft.unit;
            let (could, _) = without.earliest(&unit, self.now);
            let (at, places) = after.earliest(&unit, self.now);
            let what = self.told(queue, started);
            assert!(at <= could, "{late} could start at {could}, and now only at {at}: {what}");
            assert!(at > self.now, "{late} has room and waits: {what}");
            if place == 0 {
                let counted_on = self.head.filter(|(head, _)| head == late);
                head = Some((*late, at));
                // What comes before it may still take its place.
                let overtaken = started.iter().any(|id| key(id) < key(late));
                let sooner = counted_on.filter(|(_, before)| *before < at && !overtaken);
                assert!(sooner.is_none(), "{late} was to start at {sooner:?}, now at {at}");
            }
            after.take(&unit, at, &places);
            before.push((unit, at, places));
        }
        if one_node {
            for idle in queue.iter().skip(planned.min(queue.len())) {
                let (at, _) = after.earliest(&self.jobs[idle].draft.unit, self.now);
                assert!(at > self.now, "{idle} could be filled in and is not");
            }
        }
        self.head = head;
    }

    fn told(&self, queue: &[JobId], started: &BTreeSet<JobId>) -> String {
        let Policy { order, fill_order, age_bound_ms, backfill, .. } = &self.policy;
        let (mode, now) = (backfill.mode, self.now);
        format!(
            "at {now}, {order:?} {fill_order:?} {age_bound_ms:?} {mode:?}, {} nodes, started {started:?}, waiting {queue:?}",
            self.empty.nodes.len()
        )
    }

    /// Notes of what has now waited for the age bound how much stands before it.
    fn note_elders(&mut self) {
        let Some(bound) = self.policy.age_bound_ms else { return };
        for id in &self.waiting {
            let elders = self.waiting.range(..*id).count() as u64;
            let job = self.jobs.get_mut(id).unwrap();
            if job.submitted + bound <= self.now && job.elders.is_none() {
                job.elders = Some(elders);
            }
        }
    }

    /// Nothing waits longer than the age bound, and once the longest time limit for each of
    /// those that were older and waited still, and for what ran: the first in the queue
    /// starts at the latest when all that runs has ended.
    fn check_age(&self, started: &BTreeSet<JobId>) {
        let none = self.policy.backfill.mode == BackfillMode::Off;
        let Some(bound) = self.policy.age_bound_ms.filter(|_| !none) else { return };
        // Maintenance is nobody's fault.
        if !self.empty.blocks.is_empty() {
            return;
        }
        let longest = self.jobs.values().map(|job| job.draft.unit.length).max().unwrap_or(0);
        for id in started {
            let job = &self.jobs[id];
            let most = bound + (job.elders.unwrap_or(0) + 1) * longest;
            let waited = self.now - job.submitted;
            assert!(waited <= most, "{id} waited {waited} ms, and {most} at most");
        }
    }
}
