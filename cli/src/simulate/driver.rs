//! Drives the core through a trace: the next event is the next submission, the next end
//! of a task, or the moment that the core asks for; the clock jumps from one to the next.
//!
//! Events of one instant are told together, ends before submissions, as a server takes
//! what has come in before it places anything. The journal is one that is always durable.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use wrun_core::{Answer, Core, Effect, Input, RequestId};
use wrun_protocol::policy::Policy;
use wrun_protocol::wire::worker::{ComponentKind, ToWorker};
use wrun_protocol::{JobId, NodeId, SubmitId, TenantName, Timestamp};

use super::cluster::{self, Scale};
use super::measure::{Capacity, Outcome};
use super::node::{Change, Ends, Floor, Jobs, Known, SimulatedNode, Turn, Unknown};
use super::series::{Levels, Series};
use super::trace::{Job, Node};

/// When simulations begin, by the core's clock: some day.
const BEGINNING: u64 = 1_000_000_000_000;

/// Instants that the core asks for one after the other, when nothing else is to come and
/// some jobs wait: then they will wait for ever. Or when the clock stands still.
const MAX_IDLE_TIMEOUTS: u32 = 1000;

/// Refusals of jobs that are kept with their texts.
const MAX_SHOWN: usize = 5;

/// What to simulate.
pub(crate) struct Setup<'a> {
    /// In the order of their submission.
    pub(crate) jobs: &'a [Job],
    /// Users, which jobs name by their place.
    pub(crate) users: &'a [Box<str>],
    pub(crate) nodes: &'a [Node],
    /// `None` is that of a new cluster.
    pub(crate) policy: Option<&'a Policy>,
}

/// A schedule as it came about.
pub(crate) struct Run {
    /// Jobs that ended, in the order of their submission.
    pub(crate) outcomes: Vec<Outcome>,
    /// Jobs that the scheduler took and that had not ended when nothing more could happen.
    pub(crate) unended: usize,
    /// Of these, jobs that never started.
    pub(crate) unstarted: usize,
    /// Jobs that the scheduler would not take.
    pub(crate) refused: u64,
    /// The first of them, with what it said.
    pub(crate) refusals: Vec<(usize, String)>,
    pub(crate) series: Series,
    /// What is held at the end.
    pub(crate) held: Levels,
    pub(crate) capacity: Capacity,
    /// Times that running tasks were stopped or frozen before their end, by job.
    pub(crate) preemptions: u64,
    /// What the core was told.
    pub(crate) events: u64,
    /// Runs of tasks that it placed.
    pub(crate) placements: u64,
    /// How long it took over all of this, by the wall clock.
    pub(crate) core_time: Duration,
}

/// Why a simulation cannot go on. Each is a fault of wrun's own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SimulationError {
    /// See [`Unknown`].
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// A user has no name that a tenant may have.
    #[error("user `{0}` cannot be a tenant")]
    Tenant(Box<str>),
    /// A node could not join.
    #[error("node `{0}` cannot join")]
    Join(Box<str>),
    /// The scheduler refuses the policy.
    #[error("the scheduler refuses the policy: {0}")]
    Policy(String),
    /// Virtual time stands still.
    #[error("the scheduler asks again and again for an instant that has passed")]
    Stuck,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    submitted: u64,
    started: Option<u64>,
    ended: Option<u64>,
    accepted: bool,
    running: u32,
    frozen: u32,
    starts: u32,
    /// As it was counted.
    waits: bool,
}

impl Progress {
    /// Whether it waits, and by how many the number of waiting jobs has changed with it.
    fn count_waiting(&mut self) -> f64 {
        let waits = self.accepted && self.running == 0 && self.ended.is_none();
        let change = f64::from(u8::from(waits)) - f64::from(u8::from(self.waits));
        self.waits = waits;
        change
    }
}

struct Driver<'a> {
    setup: &'a Setup<'a>,
    scale: Scale,
    tenants: Vec<TenantName>,
    core: Core,
    now: u64,
    nodes: Vec<SimulatedNode>,
    /// Nodes of the core by their number there, from 1.
    places: Vec<NodeId>,
    known: Jobs,
    ends: Ends,
    changes: Vec<Change>,
    /// Nodes that may have something to tell.
    touched: BTreeSet<usize>,
    progress: Vec<Progress>,
    levels: Levels,
    run: Run,
}

/// Simulates until nothing more happens.
pub(crate) fn simulate(setup: &Setup<'_>) -> Result<Run, SimulationError> {
    let mut driver = Driver::new(setup)?;
    driver.join_nodes()?;
    driver.set_policy()?;
    driver.go()?;
    Ok(driver.finish())
}

impl<'a> Driver<'a> {
    fn new(setup: &'a Setup<'a>) -> Result<Self, SimulationError> {
        let tenants = setup.users.iter().enumerate().map(|(place, user)| {
            cluster::tenant(user, place).ok_or_else(|| SimulationError::Tenant(user.clone()))
        });
        let tenants = tenants.collect::<Result<_, _>>()?;
        let mut capacity = Capacity::default();
        for node in setup.nodes {
            capacity.cpu += f64::from(node.cpu_milli);
            capacity.memory += node.memory.unwrap_or_default() as f64;
            capacity.gpu += f64::from(node.gpus) * 1000.0;
        }
        let run = Run {
            outcomes: Vec::new(),
            unended: 0,
            unstarted: 0,
            refused: 0,
            refusals: Vec::new(),
            series: Series::new(),
            held: Levels::default(),
            capacity,
            preemptions: 0,
            events: 0,
            placements: 0,
            core_time: Duration::ZERO,
        };
        Ok(Self {
            setup,
            scale: Scale::of(setup.jobs),
            tenants,
            core: Core::new(cluster::config()),
            now: 0,
            nodes: Vec::new(),
            places: Vec::new(),
            known: Jobs::new(),
            ends: Ends::new(),
            changes: Vec::new(),
            touched: BTreeSet::new(),
            progress: vec![Progress::default(); setup.jobs.len()],
            levels: Levels::default(),
            run,
        })
    }

    fn join_nodes(&mut self) -> Result<(), SimulationError> {
        for (place, node) in self.setup.nodes.iter().enumerate() {
            let mut hash = [0; 32];
            hash.iter_mut().zip(place.to_be_bytes()).for_each(|(to, byte)| *to = byte);
            let request = RequestId(u64::MAX);
            let expires = Timestamp(u64::MAX);
            self.tell(Input::CreateToken { request, hash, expires });
            self.tell(Input::Join { request, token_hash: hash, name: node.name.to_string() });
            let mut joined = None;
            while let Some(effect) = self.poll() {
                if let Effect::Reply { answer: Ok(Answer::Joined(node)), .. } = effect {
                    joined = Some(node);
                }
            }
            let id = joined.ok_or_else(|| SimulationError::Join(node.name.clone()))?;
            let (info, offer) = self.scale.node(node);
            let cards = u32::try_from(offer.gpus.len()).unwrap_or(u32::MAX);
            self.nodes.push(SimulatedNode::new(place, info.capacity, cards));
            self.places.push(id);
            self.tell(Input::NodeConnected {
                node: id,
                info,
                offer,
                incarnation: 1,
                attempts: Vec::new(),
            });
            self.settle()?;
        }
        Ok(())
    }

    fn set_policy(&mut self) -> Result<(), SimulationError> {
        if let Some(policy) = self.setup.policy {
            let policy = Box::new(policy.clone());
            self.tell(Input::SetPolicy { request: RequestId(u64::MAX), policy });
            while let Some(effect) = self.poll() {
                if let Effect::Reply { answer: Err(refusal), .. } = effect {
                    return Err(SimulationError::Policy(refusal.message));
                }
            }
        }
        // Setting up is no part of what is measured.
        (self.run.events, self.run.core_time) = (0, Duration::ZERO);
        Ok(())
    }

    fn go(&mut self) -> Result<(), SimulationError> {
        let beginning = self.setup.jobs.first().map_or(0, |job| job.submit_ms);
        let mut next_job = 0;
        let mut idle = 0;
        loop {
            let submit = self.setup.jobs.get(next_job).map(|job| job.submit_ms - beginning);
            let end = self.ends.peek().map(|Reverse((at, ..))| *at);
            let timeout = self.core.poll_timeout().map(|at| at.0.saturating_sub(BEGINNING));
            let timeout = timeout.filter(|at| u128::from(*at) < cluster::horizon_ms());
            let work = submit.into_iter().chain(end).min();
            let Some(at) = work.into_iter().chain(timeout).min() else { break };
            let useful = work == Some(at) || (work.is_some() && at > self.now);
            idle = if useful { 0 } else { idle + 1 };
            match work {
                None if idle > MAX_IDLE_TIMEOUTS || self.levels.waiting == 0.0 => break,
                Some(_) if idle > MAX_IDLE_TIMEOUTS => return Err(SimulationError::Stuck),
                _ => {}
            }
            let before = self.levels;
            self.now = self.now.max(at);
            self.end_tasks();
            self.tell_reports();
            while let Some(job) = self.setup.jobs.get(next_job)
                && job.submit_ms - beginning <= self.now
            {
                self.submit(next_job, job);
                next_job += 1;
            }
            if timeout.is_some_and(|at| at <= self.now) {
                self.tell(Input::Timeout);
            }
            self.settle()?;
            if self.levels != before || work == Some(at) {
                self.run.series.set(self.now, self.levels);
            }
        }
        Ok(())
    }

    fn end_tasks(&mut self) {
        while let Some(Reverse((at, place, number))) = self.ends.peek().copied()
            && at <= self.now
        {
            self.ends.pop();
            if let Some(node) = self.nodes.get_mut(place) {
                let mut floor = Floor {
                    now: self.now,
                    jobs: &self.known,
                    ends: &mut self.ends,
                    changes: &mut self.changes,
                };
                node.on_end(number, &mut floor);
                self.touched.insert(place);
            }
        }
        self.count_changes();
    }

    fn submit(&mut self, place: usize, job: &Job) {
        if let Some(progress) = self.progress.get_mut(place) {
            progress.submitted = self.now;
        }
        let spec = match self.scale.spec(job, self.setup.policy) {
            Ok(spec) => spec,
            Err(error) => return self.refuse(place, error.to_string()),
        };
        let Some(tenant) = self.tenants.get(job.user as usize).cloned() else { return };
        let mut id = [0; 16];
        id.iter_mut().zip(place.to_be_bytes()).for_each(|(to, byte)| *to = byte);
        self.tell(Input::Submit {
            request: RequestId(place as u64),
            tenant,
            id: SubmitId(id),
            kind: ComponentKind::Command,
            spec,
            ended: Vec::new(),
        });
    }

    fn refuse(&mut self, place: usize, text: String) {
        self.run.refused += 1;
        if self.run.refusals.len() < MAX_SHOWN {
            self.run.refusals.push((place, text));
        }
    }

    /// Tells the core what nodes report, and does what it wants, until both are silent.
    fn settle(&mut self) -> Result<(), SimulationError> {
        loop {
            while let Some(effect) = self.poll() {
                self.on_effect(effect)?;
            }
            if self.touched.is_empty() {
                return Ok(());
            }
            self.tell_reports();
        }
    }

    fn tell_reports(&mut self) {
        for place in std::mem::take(&mut self.touched) {
            let Some(node) = self.nodes.get_mut(place) else { continue };
            let (first, reports) = node.take_reports();
            if let Some(node) = self.places.get(place).copied().filter(|_| !reports.is_empty()) {
                self.tell(Input::Reports { node, first, reports });
            }
        }
    }

    fn on_effect(&mut self, effect: Effect) -> Result<(), SimulationError> {
        match effect {
            Effect::Reply { request, answer } => self.on_reply(request, answer),
            Effect::Send { node, message } => {
                self.run.placements += match &message {
                    ToWorker::Assign(runs) => runs.len() as u64,
                    ToWorker::AssignWith { .. } => 1,
                    _ => 0,
                };
                // Nodes are numbered from 1 in the order in which they joined.
                let place = usize::try_from(node.0 - 1).unwrap_or(usize::MAX);
                let Some(to) = self.nodes.get_mut(place) else { return Ok(()) };
                let mut floor = Floor {
                    now: self.now,
                    jobs: &self.known,
                    ends: &mut self.ends,
                    changes: &mut self.changes,
                };
                to.on_message(message, &mut floor)?;
                self.touched.insert(place);
                self.count_changes();
            }
            Effect::Ended(job) => self.on_ended(job.job),
            // The rest is for the journal and for those who watch.
            _ => {}
        }
        Ok(())
    }

    fn on_reply(
        &mut self,
        request: RequestId,
        answer: Result<Answer, wrun_protocol::wire::user::RequestError>,
    ) {
        let Ok(place) = usize::try_from(request.0) else { return };
        let (Some(job), Some(progress)) =
            (self.setup.jobs.get(place), self.progress.get_mut(place))
        else {
            return;
        };
        match answer {
            Ok(Answer::Submitted(id)) => {
                let known = Known {
                    job: place,
                    each: self.scale.resources(&job.each),
                    gpu_milli: job.each.gpu_milli,
                    run_ms: job.run_ms.map(|run| run.min(job.limit_ms.unwrap_or(run))),
                };
                self.known.insert(id, known);
                progress.accepted = true;
                self.levels.waiting += progress.count_waiting();
            }
            Ok(_) => {}
            Err(error) => self.refuse(place, error.message),
        }
    }

    fn on_ended(&mut self, job: JobId) {
        let place = self.known.remove(&job).map(|known| known.job);
        if let Some(progress) = place.and_then(|place| self.progress.get_mut(place)) {
            progress.ended = Some(self.now);
            self.levels.waiting += progress.count_waiting();
        }
    }

    /// Brings what is known of jobs up to what nodes have done.
    fn count_changes(&mut self) {
        for Change { turn, job: place, tasks } in self.changes.drain(..) {
            let (Some(job), Some(progress)) =
                (self.setup.jobs.get(place), self.progress.get_mut(place))
            else {
                continue;
            };
            let held = |cpu: bool, rest: bool| Levels {
                cpu: if cpu { f64::from(job.each.cpu_milli) } else { 0.0 },
                memory: if rest { job.each.memory as f64 } else { 0.0 },
                gpu: if rest { f64::from(job.each.gpu_milli) } else { 0.0 },
                waiting: 0.0,
            };
            let count = f64::from(tasks);
            let (ran, froze) = (progress.running > 0, progress.frozen > 0);
            match turn {
                Turn::Started => {
                    self.levels.add(&held(true, true), count);
                    progress.running += tasks;
                    progress.started.get_or_insert(self.now);
                }
                Turn::Ended | Turn::Stopped => {
                    self.levels.add(&held(true, true), -count);
                    progress.running = progress.running.saturating_sub(tasks);
                }
                Turn::Frozen => {
                    self.levels.add(&held(true, false), -count);
                    progress.frozen += tasks;
                }
                Turn::Thawed => {
                    self.levels.add(&held(true, false), count);
                    progress.frozen = progress.frozen.saturating_sub(tasks);
                }
            }
            progress.starts += u32::from(!ran && progress.running > 0);
            self.levels.waiting += progress.count_waiting();
            let stopped = turn == Turn::Stopped && ran && progress.running == 0;
            let frozen = turn == Turn::Frozen && !froze;
            self.run.preemptions += u64::from(stopped || frozen);
        }
    }

    fn tell(&mut self, input: Input) {
        let now = Timestamp(BEGINNING.saturating_add(self.now));
        self.run.events += 1;
        let begun = Instant::now();
        self.core.handle(now, input);
        self.run.core_time += begun.elapsed();
    }

    fn poll(&mut self) -> Option<Effect> {
        let begun = Instant::now();
        let effect = self.core.poll_effect();
        self.run.core_time += begun.elapsed();
        effect
    }

    fn finish(mut self) -> Run {
        let run_of = |job: &Job| {
            let run = job.run_ms.unwrap_or_default();
            run.min(job.limit_ms.unwrap_or(run))
        };
        for (place, (job, progress)) in self.setup.jobs.iter().zip(&self.progress).enumerate() {
            let Some(ended) = progress.ended else {
                self.run.unended += usize::from(progress.accepted);
                self.run.unstarted += usize::from(progress.accepted && progress.starts == 0);
                continue;
            };
            self.run.outcomes.push(Outcome {
                job: place,
                user: job.user,
                submitted: progress.submitted,
                started: progress.started.unwrap_or(ended),
                ended,
                run: run_of(job),
                starts: progress.starts,
            });
        }
        self.run.held = self.levels;
        self.run
    }
}

#[cfg(test)]
mod tests;
