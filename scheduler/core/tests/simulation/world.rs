//! The core, its journal, and workers, in one thread and virtual time. Checked after
//! every step against the [`Model`] of the journal and a second core that only applies.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use wrun_core::{Answer, Config, Core, Effect, EndedJob, Fact, Input, RequestId};
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::node::NodeInfo;
use wrun_protocol::policy::{Policy, Qos};
use wrun_protocol::scheduling::{Gpu, Offer};
use wrun_protocol::wire::policy::{JobChange, TaskSet};
use wrun_protocol::wire::worker::FromWorker;
use wrun_protocol::{AttemptId, IndexRange, JobId, NodeId, Resources, SubmitId, Timestamp};

use crate::ledger::{Allocated, Ledger};
use crate::model::Model;
use crate::policies;
use crate::random::Random;
use crate::services::Replicas;
use crate::windows::{Windows, node_name};
use crate::worker::Worker;

pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) now: Timestamp,
    pub(crate) core: Core,
    pub(crate) config: Config,
    pub(crate) ledger: Ledger,
    pub(crate) allocated: Allocated,
    /// The instant that the core was last told.
    pub(crate) core_now: Timestamp,
    pub(crate) windows: Windows,
    pub(crate) replicas: Replicas,
    /// Whether resources are set aside in this world.
    pub(crate) reserves: bool,
    /// A job was moved to another class with what it had on nodes.
    pub(crate) moved: bool,
    /// Whether it prints what the core is told and what it records.
    traced: bool,
    /// Applies facts and does nothing else.
    pub(crate) shadow: Core,
    pub(crate) journal: Vec<Fact>,
    pub(crate) durable: usize,
    /// Effects with the number of facts that must be durable before.
    held_back: VecDeque<(usize, Effect)>,
    /// Jobs that facts have ended, as the shadow tells them.
    ended: VecDeque<EndedJob>,
    workers: Vec<Worker>,
    pub(crate) model: Model,
    pub(crate) submits: Vec<(SubmitId, EncodedSpec, &'static str)>,
    /// Acknowledged submissions.
    acknowledged: BTreeMap<SubmitId, JobId>,
    pub(crate) asked: BTreeMap<RequestId, usize>,
    requests: u64,
    incarnations: u64,
}

/// A resource that nodes declare, and a pool of the cluster.
pub(crate) const NAMED: &str = "fpga";
pub(crate) const POOL: &str = "licence";
pub(crate) const POOL_SLOTS: u32 = 2;

/// What a node has, for as long as it lives: nothing, or cards of one model. The first
/// node, which is always there, can serve whatever a job may ask for.
fn offer(node: NodeId) -> Offer {
    let model = if node.0.is_multiple_of(3) { "b" } else { "a" };
    let card = Gpu { model: model.to_owned(), memory: 8 };
    let gpus = vec![card; [1, 2, 0][node.0 as usize % 3]];
    Offer { gpus, named: BTreeMap::from([(NAMED.to_owned(), 3)]) }
}

fn config() -> Config {
    Config {
        lease: Duration::from_millis(100),
        lease_margin: Duration::from_millis(20),
        heartbeat: Duration::from_millis(20),
        remembered_submits: 1000,
        ..Config::default()
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let (mut random, mut config) = (Random(seed), config());
        policies::draw_backlog(&mut random, &mut config);
        let mut world = Self {
            random,
            now: Timestamp(1_000_000),
            core: Core::new(config.clone()),
            shadow: Core::new(config.clone()),
            config,
            ledger: Ledger::default(),
            allocated: Allocated::default(),
            core_now: Timestamp(0),
            windows: Windows::default(),
            replicas: Replicas::default(),
            reserves: false,
            moved: false,
            traced: std::env::var_os("WRUN_TRACE").is_some(),
            journal: Vec::new(),
            durable: 0,
            held_back: VecDeque::new(),
            ended: VecDeque::new(),
            workers: Vec::new(),
            model: Model::default(),
            submits: Vec::new(),
            acknowledged: BTreeMap::new(),
            asked: BTreeMap::new(),
            requests: 0,
            incarnations: 1,
        };
        world.reserves = world.random.one_in(2);
        world.set_policy();
        for number in 1..=1 + world.random.below(3) as u64 {
            world.join(number);
        }
        world
    }

    /// Two classes, of which one may pre-empt the other, in some worlds; shares, limits and
    /// another order in others.
    fn set_policy(&mut self) {
        let mut policy = Policy::default();
        match self.random.below(4) {
            0 => {}
            1 => self.draw_classes(&mut policy),
            _ => policies::draw(&mut self.random, &mut policy),
        }
        let request = self.request();
        self.handle(Input::SetPolicy { request, policy: Box::new(policy) });
    }

    fn draw_classes(&mut self, policy: &mut Policy) {
        let bulk = Qos { name: "bulk".to_owned(), priority: 1, ..Qos::default() };
        let preempts = ["bulk".to_owned()].into();
        let urgent = Qos { name: "urgent".to_owned(), priority: 2, preempts, ..Qos::default() };
        policy.qos = vec![bulk, urgent];
        policy.pools.insert(POOL.to_owned(), POOL_SLOTS);
        policy.preemption.notice_ms = self.random.pick(&[0, 20]);
        policy.preemption.max_frozen_ms = self.random.pick(&[40, 100_000]);
    }

    fn join(&mut self, number: u64) {
        let hash = [number as u8; 32];
        let (request, expires) = (self.request(), self.now.after(Duration::from_secs(1)));
        self.handle(Input::CreateToken { request, hash, expires });
        let request = self.request();
        self.handle(Input::Join { request, token_hash: hash, name: node_name(NodeId(number)) });
        self.sync();
        let cpu_milli = self.random.pick(&[1000, 2000, 3500]);
        let capacity = Resources { cpu_milli, memory: 1 << 30, scratch: 1 << 30, slots: 8 };
        let name = node_name(NodeId(number));
        let labels = BTreeMap::from([("zone".to_owned(), (number % 2).to_string())]);
        let info = NodeInfo { name, capacity, labels, version: "1".to_owned() };
        self.incarnations += 1;
        self.workers.push(Worker::new(NodeId(number), info, self.incarnations));
    }

    pub(crate) fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(self.requests)
    }

    pub(crate) fn handle(&mut self, input: Input) {
        self.core_now = self.now;
        self.trace(|| format!("{} <- {input:?}", self.now.0));
        self.core.handle(self.now, input);
        if !self.random.one_in(4) {
            self.poll();
        }
    }

    fn trace(&self, line: impl FnOnce() -> String) {
        if self.traced {
            eprintln!("{}", line());
        }
    }

    fn poll(&mut self) {
        while let Some(effect) = self.core.poll_effect() {
            if let Effect::Append(fact) = &effect {
                self.trace(|| format!("  -> {fact:?}"));
                self.model.apply(fact);
                self.ledger.apply(fact);
                self.windows.apply(fact);
                self.replicas.apply(fact);
                self.check_windows(fact);
                self.moved |= matches!(fact, Fact::JobChanged { change: JobChange::Qos(_), .. });
                self.allocated.until(fact.at(), &self.shadow);
                self.shadow.apply(fact);
                self.ended.extend(self.shadow.take_ended());
                self.journal.push(fact.clone());
            } else if let Effect::Ended(job) = effect {
                assert_eq!(self.ended.pop_front(), Some(*job), "recovery ends other jobs");
            } else {
                self.held_back.push_back((self.journal.len(), effect));
            }
        }
    }

    /// Some facts become durable, and what waited for them is released.
    fn write(&mut self, facts: usize) {
        self.poll();
        self.durable = (self.durable + facts).min(self.journal.len());
        while self.held_back.front().is_some_and(|(needs, _)| *needs <= self.durable) {
            let (_, effect) = self.held_back.pop_front().unwrap();
            self.release(effect);
        }
    }

    fn sync(&mut self) {
        self.write(usize::MAX >> 1);
    }

    fn release(&mut self, effect: Effect) {
        match effect {
            Effect::Send { node, message } => {
                let worker = self.workers.iter_mut().find(|worker| worker.node == node);
                if let Some(worker) = worker.filter(|worker| worker.connected) {
                    worker.inbox.push_back(message);
                }
            }
            Effect::Reply { answer: Ok(Answer::Deployed(deployed)), .. } => {
                assert!(self.model.jobs[&deployed.job].service, "a deployment is lost");
            }
            Effect::Reply { request, answer } => {
                if let Some(submit) = self.asked.remove(&request)
                    && let Ok(Answer::Submitted(job)) = answer
                {
                    let id = self.submits[submit].0;
                    let before = self.acknowledged.insert(id, job);
                    assert!(before.is_none_or(|before| before == job), "one submission, two jobs");
                    assert_eq!(self.model.jobs[&job].submit, id);
                }
            }
            Effect::JobChanged(_)
            | Effect::Append(_)
            | Effect::Ended(_)
            | Effect::PrepareStep(_)
            | Effect::LookUp(_)
            | Effect::Endpoints(_) => {}
        }
    }

    pub(crate) fn step(&mut self, faulty: bool) {
        let worker = self.random.below(self.workers.len());
        match self.random.below(if faulty { 43 } else { 18 }) {
            0..=2 => self.deliver_to_worker(worker),
            3..=5 => self.deliver_to_server(worker),
            6..=7 => {
                let facts = self.random.below(8);
                self.write(facts);
            }
            8..=10 => {
                self.workers[worker].progress(&mut self.random, faulty);
                self.start_tasks(worker);
            }
            11 => self.workers[worker].send_reports(),
            12 => self.workers[worker].beat(self.now),
            13..=14 => self.pass_time(),
            15 => self.connect(worker),
            16 => self.sync(),
            17 => self.workers[worker].repeat_reports(),
            18..=20 => self.submit(),
            21 => self.cancel(),
            26..=28 => self.change_part(),
            29..=31 => self.change_job(),
            32..=33 if self.reserves => self.reserve(),
            34 => self.unreserve(),
            35..=36 => self.deploy(),
            37..=39 => self.change_service(),
            40..=42 => self.rounds(),
            22 => self.disconnect(worker),
            23 => self.drain(worker),
            24 if self.random.one_in(2) => self.kill_worker(worker),
            25 if self.random.one_in(2) => self.kill_server(),
            _ => {}
        }
        self.check();
    }

    fn deliver_to_worker(&mut self, worker: usize) {
        if let Some(message) = self.workers[worker].inbox.pop_front() {
            self.workers[worker].on_message(message);
            self.workers[worker].on_time(self.now);
            self.start_tasks(worker);
        }
    }

    fn deliver_to_server(&mut self, worker: usize) {
        let node = self.workers[worker].node;
        let input = match self.workers[worker].outbox.pop_front() {
            Some(FromWorker::Reports { first, reports }) => Input::Reports { node, first, reports },
            Some(FromWorker::Heartbeat { beat }) => Input::Heartbeat { node, beat },
            Some(FromWorker::Draining) => Input::NodeDraining { node },
            _ => return,
        };
        self.handle(input);
    }

    fn start_tasks(&mut self, worker: usize) {
        for started in self.workers[worker].start_tasks() {
            if self.workers[worker].must_stop_alone(&started) {
                let elsewhere = self.workers.iter().enumerate().any(|(other, running)| {
                    let same = |attempt: &AttemptId| attempt.task == started.task;
                    other != worker && running.running.iter().any(same)
                });
                assert!(!elsewhere, "{started} runs twice at a time, and must not");
            }
        }
    }

    fn pass_time(&mut self) {
        let ms = self.random.pick(&[1, 5, 30, 60]);
        self.now = self.now.after(Duration::from_millis(ms));
        let now = self.now;
        self.workers.iter_mut().for_each(|worker| worker.on_time(now));
        if self.core.poll_timeout().is_some_and(|at| at <= now) {
            self.handle(Input::Timeout);
        }
    }

    fn connect(&mut self, worker: usize) {
        let worker = &mut self.workers[worker];
        if worker.connected {
            return;
        }
        let (node, info, incarnation) = (worker.node, worker.info.clone(), worker.incarnation);
        let attempts = worker.attempts();
        worker.connect(self.now);
        self.handle(Input::NodeConnected { node, info, offer: offer(node), incarnation, attempts });
    }

    fn disconnect(&mut self, worker: usize) {
        let node = self.workers[worker].node;
        if std::mem::take(&mut self.workers[worker].connected) {
            self.workers[worker].disconnect();
            self.drop_sends(node);
            self.handle(Input::NodeDisconnected { node });
        }
    }

    /// What waits to be sent on a session that has ended is lost with it.
    fn drop_sends(&mut self, of: NodeId) {
        self.poll();
        self.held_back
            .retain(|(_, effect)| !matches!(effect, Effect::Send { node, .. } if *node == of));
    }

    fn drain(&mut self, worker: usize) {
        let (request, node) = (self.request(), self.workers[worker].node);
        match self.random.below(4) {
            0 => self.handle(Input::SetDrain { request, node, drain: true }),
            1 if self.workers[worker].connected => {
                self.workers[worker].outbox.push_back(FromWorker::Draining);
                self.workers[worker].hand_back();
            }
            _ => self.handle(Input::SetDrain { request, node, drain: false }),
        }
    }

    fn kill_worker(&mut self, worker: usize) {
        self.disconnect(worker);
        let (node, info) = (self.workers[worker].node, self.workers[worker].info.clone());
        self.incarnations += 1;
        self.workers[worker] = Worker::new(node, info, self.incarnations);
    }

    /// kill -9: what was not durable is gone, and with it all that waited for it.
    fn kill_server(&mut self) {
        self.poll();
        self.trace(|| format!("killed, and loses {}", self.journal.len() - self.durable));
        self.journal.truncate(self.durable);
        self.held_back.clear();
        self.asked.clear();
        self.workers.iter_mut().for_each(Worker::disconnect);
        self.model = Model::of(&self.journal);
        self.ledger = Ledger::of(&self.journal);
        self.windows = Windows::of(&self.journal);
        self.replicas = Replicas::of(&self.journal);
        let cut = self.random.below(self.journal.len() + 1);
        let (before, after) = self.journal.split_at(cut);
        let mut saved = Core::new(self.config.clone());
        before.iter().for_each(|fact| saved.apply(fact));
        self.core = Core::restore(self.config.clone(), &saved.snapshot()).unwrap();
        self.shadow = Core::new(self.config.clone());
        after.iter().for_each(|fact| self.core.apply(fact));
        self.allocated = Allocated::default();
        for fact in &self.journal {
            self.allocated.until(fact.at(), &self.shadow);
            self.shadow.apply(fact);
        }
        self.core_now = self.now;
        self.core.start(self.now);
    }

    fn cancel(&mut self) {
        let jobs: Vec<JobId> = self.model.jobs.keys().copied().collect();
        if !jobs.is_empty() {
            let (request, job) = (self.request(), self.random.pick(&jobs));
            self.handle(Input::Cancel { request, job });
        }
    }

    /// Some tasks of a job are cancelled, retried or put back.
    fn change_part(&mut self) {
        let jobs: Vec<JobId> = self.model.live.iter().copied().collect();
        if jobs.is_empty() {
            return;
        }
        let (request, job) = (self.request(), self.random.pick(&jobs));
        let count = self.model.jobs[&job].tasks.len();
        let first = self.random.below(count);
        let tasks =
            IndexRange { first: first as u32, count: 1 + self.random.below(count - first) as u32 };
        let tasks = TaskSet::Ranges(vec![tasks]);
        let input = match self.random.below(3) {
            0 => Input::CancelTasks { request, job, tasks },
            1 => Input::Retry { request, job, tasks },
            _ => Input::Requeue { request, job, tasks },
        };
        self.handle(input);
    }

    /// No faults any more: everything must come to its end.
    pub(crate) fn heal(&mut self) {
        for worker in 0..self.workers.len() {
            self.disconnect(worker);
            let (request, node) = (self.request(), self.workers[worker].node);
            self.handle(Input::SetDrain { request, node, drain: false });
            self.connect(worker);
        }
        self.release_jobs();
        self.unreserve_all();
        self.undeploy_all();
        for _ in 0..20_000 {
            self.sync();
            if self.model.live.is_empty() && self.workers.iter().all(Worker::is_idle) {
                return;
            }
            self.round();
        }
        let live: Vec<_> = self.model.live.iter().map(|job| self.core.job(*job)).collect();
        panic!("these jobs never end: {live:#?}\nnodes: {:#?}", self.core.nodes());
    }

    /// For a while nothing breaks: what takes several messages in turn comes about.
    fn rounds(&mut self) {
        (0..self.workers.len()).for_each(|worker| self.connect(worker));
        for _ in 0..1 + self.random.below(10) {
            self.sync();
            self.round();
        }
    }

    /// Everyone does what there is to do, and time passes.
    fn round(&mut self) {
        for worker in 0..self.workers.len() {
            self.workers[worker].on_time(self.now);
            self.workers[worker].progress(&mut self.random, false);
            self.start_tasks(worker);
            self.workers[worker].send_reports();
            self.workers[worker].beat(self.now);
            while !self.workers[worker].outbox.is_empty() {
                self.deliver_to_server(worker);
            }
            self.sync();
            while !self.workers[worker].inbox.is_empty() {
                self.deliver_to_worker(worker);
            }
        }
        self.now = self.now.after(Duration::from_millis(10));
        self.handle(Input::Timeout);
        self.check();
    }

    pub(crate) fn workers(&self) -> usize {
        self.workers.len()
    }

    fn capacity(&self, node: NodeId) -> Resources {
        self.workers.iter().find(|worker| worker.node == node).unwrap().info.capacity
    }

    /// Those that wait on a node and those that hold what they need are not told apart here.
    fn check_windows(&self, fact: &Fact) {
        if self.config.max_backlog == 0 && self.reserves {
            self.windows.check_placed(fact, &self.ledger, |node| self.capacity(node));
        }
    }

    fn check_open_windows(&self) {
        if self.config.max_backlog == 0 && self.reserves {
            let nodes = self.workers.iter().map(|worker| (worker.node, worker.info.capacity));
            self.windows.check_open(self.core_now, &self.ledger, nodes);
        }
    }

    fn check(&mut self) {
        self.poll();
        let snapshot = self.core.snapshot();
        assert!(snapshot == self.shadow.snapshot(), "applying the facts gives another state");
        if self.random.one_in(16) {
            let restored = Core::restore(self.config.clone(), &snapshot).unwrap();
            assert!(restored.snapshot() == snapshot, "a restored snapshot gives another state");
        }
        self.model.check_gangs();
        for job in &self.model.live {
            let detail = self.core.job(*job).unwrap_or_else(|| panic!("job {job} is lost"));
            let counts = self.model.counts(*job);
            assert_eq!(detail.summary.tasks, counts, "tasks of job {job}");
            if let Some(most) = self.model.jobs[job].max_running {
                assert!(counts.running <= most, "more than {most} tasks of job {job} at once");
            }
            let reason = self.core.pending_reason(*job);
            assert_eq!(reason.is_some(), counts.pending > 0, "reason of job {job}: {reason:?}");
            let rows = self.core.tasks(*job, 0, 1000, None).len() as u32;
            let wanted = counts.pending + counts.running + counts.cancelled;
            assert_eq!(rows, wanted, "rows of job {job}");
        }
        assert_eq!(self.core.counts().jobs, self.model.live.len() as u64);
        for node in self.core.nodes() {
            assert!(node.info.capacity.covers(&node.used), "over its capacity: {node:?}");
        }
        self.check_policy();
        self.check_services();
        self.check_open_windows();
        self.model.check_devices();
        for (submit, job) in &self.acknowledged {
            let known = self.model.jobs.get(job).map(|job| job.submit);
            assert_eq!(known, Some(*submit), "acknowledged job {job} is lost");
        }
    }
}
