//! The task that owns the core: receives what there is, handles all of it, hands the facts
//! to the journal in one go, and releases effects as facts become durable.
//!
//! It never waits for anything but its inputs, so a submit on an idle server costs one
//! pass and one flush of the journal. When the journal fails it ends with the reason and
//! releases nothing more: what was not durable was never acknowledged.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use wrun_core::workflow::Preparation;
use wrun_core::{Core, Effect, Fact, Input, RequestId};
use wrun_protocol::wire::worker::ToWorker;
use wrun_protocol::{JobId, NodeId};
use wrun_store::Journal;

use super::held::{Held, HeldQueue};
use super::pending::Pending;
use super::{Accepted, Command, Recorder, Untold};
use crate::ServerError;
use crate::clock::Clock;
use crate::gateways::Gateways;
use crate::outbox::{EndReason, Outbox};
use crate::watchers::Watchers;

/// Commands taken from the channel at once.
const BATCH: usize = 256;

/// Facts handed to the journal at once, about: so that the disk begins with the first of
/// many while the core decides over the rest.
const FACTS_AT_ONCE: usize = 8192;

/// Effects that wait for facts, at most: above it no command is taken until the disk has
/// caught up.
const MAX_HELD: usize = 1 << 18;

/// Facts and ended jobs that the history was not told, at most; likewise.
const MAX_UNTOLD: usize = 1 << 16;

/// About what a fact takes in the journal: a snapshot is due again only after about as many
/// bytes of facts as the last one had.
const BYTES_PER_FACT: u64 = 64;

/// How far the journal is, as its writer says.
pub(crate) type Durable = watch::Receiver<Result<u64, wrun_store::JournalError>>;

/// What the owner of the core works with.
pub(crate) struct Parts {
    pub(crate) core: Core,
    pub(crate) clock: Clock,
    pub(crate) journal: Arc<Journal>,
    pub(crate) recorder: Recorder,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) durable: Durable,
    pub(crate) watchers: Arc<Watchers>,
    /// Steps of workflows to be prepared; as many as are due at a time, which the core bounds.
    pub(crate) due_steps: mpsc::UnboundedSender<Box<Preparation>>,
    /// Jobs whose results are to be looked up, each once at a time.
    pub(crate) due_results: mpsc::UnboundedSender<JobId>,
    /// The last fact that recovery found.
    pub(crate) recovered: u64,
    /// Facts between two snapshots, at least.
    pub(crate) snapshot_facts: u64,
}

/// See the module.
pub(crate) struct Run {
    parts: Parts,
    /// Received, and waiting for their turn.
    waiting: VecDeque<Command>,
    sessions: HashMap<NodeId, Arc<Outbox>>,
    /// Where nodes listen for each other, as they said last; kept while they are away.
    listening: BTreeMap<NodeId, SocketAddr>,
    gateways: Gateways,
    pending: Pending,
    held: HeldQueue,
    /// What the history was not told yet.
    untold: Untold,
    /// Facts to hand to the journal next.
    fresh: Vec<Fact>,
    /// Number of the last fact that the core emitted.
    emitted: u64,
    /// The last fact that is durable.
    flushed: u64,
    snapshots: Snapshots,
    stopping: bool,
}

/// When the next snapshot is due.
#[derive(Debug)]
struct Snapshots {
    last: u64,
    every: u64,
    /// Taken, and waiting for its last fact to be durable.
    waiting: Option<(u64, Vec<u8>)>,
}

impl Run {
    pub(crate) fn new(parts: Parts) -> Self {
        let (last, every) = (parts.recovered, parts.snapshot_facts.max(1));
        Self {
            waiting: VecDeque::new(),
            sessions: HashMap::new(),
            listening: BTreeMap::new(),
            gateways: Gateways::default(),
            pending: Pending::default(),
            held: HeldQueue::default(),
            untold: Untold::default(),
            fresh: Vec::new(),
            emitted: last,
            flushed: last,
            snapshots: Snapshots { last, every, waiting: None },
            stopping: false,
            parts,
        }
    }

    /// Runs until it is stopped, or the journal fails. Whoever waits is told by the end
    /// of its channel.
    pub(crate) async fn run(mut self) -> Result<(), ServerError> {
        let ended = self.serve().await;
        for outbox in self.sessions.values() {
            outbox.end(EndReason::Stopped);
        }
        self.parts.watchers.end();
        let recorded = self.parts.recorder.close().await;
        tracing::debug!(unanswered = self.pending.len(), "the core's owner has ended");
        ended.and(recorded)
    }

    async fn serve(&mut self) -> Result<(), ServerError> {
        self.parts.core.start(self.parts.clock.now());
        self.gateways = Gateways::of(&self.parts.core);
        let mut received = Vec::with_capacity(BATCH);
        let timer = tokio::time::sleep(std::time::Duration::ZERO);
        tokio::pin!(timer);
        let mut armed = None;
        loop {
            self.work();
            self.settle()?;
            if !self.waiting.is_empty() && !self.is_behind() {
                tokio::task::yield_now().await;
                continue;
            }
            if self.stopping && self.waiting.is_empty() && self.is_settled() {
                self.on_stop();
                return Ok(());
            }
            let due = self.parts.core.poll_timeout();
            if due != armed {
                armed = due;
                if let Some(due) = due {
                    timer.as_mut().reset(Instant::from_std(self.parts.clock.instant(due)));
                }
            }
            let takes = !self.stopping && self.waiting.is_empty() && !self.is_behind();
            tokio::select! {
                biased;
                changed = self.parts.durable.changed() => {
                    changed.map_err(|_| lost("its writer is gone"))?;
                }
                () = self.parts.recorder.changed() => {}
                count = self.parts.commands.recv_many(&mut received, BATCH), if takes => {
                    self.stopping |= count == 0;
                    self.waiting.extend(received.drain(..));
                }
                () = &mut timer, if armed.is_some() && !self.stopping => {
                    armed = None;
                    self.parts.core.handle(self.parts.clock.now(), Input::Timeout);
                }
            }
        }
    }

    /// Handles commands until none waits or there are facts enough for the journal.
    fn work(&mut self) {
        let now = self.parts.clock.now();
        while self.fresh.len() < FACTS_AT_ONCE && !self.is_behind() {
            let Some(command) = self.waiting.pop_front() else { break };
            self.on_command(now, command);
            self.collect();
        }
    }

    /// Takes the core's effects, journals facts, releases what may leave.
    fn settle(&mut self) -> Result<(), ServerError> {
        self.collect();
        self.tell_gateways();
        self.hand_over()?;
        self.on_durable()?;
        self.release();
        let now = self.parts.clock.now();
        self.parts.recorder.send(&mut self.untold, self.flushed, now)?;
        self.held.tell_views(self.parts.recorder.recorded());
        self.consider_snapshot();
        Ok(())
    }

    fn on_command(&mut self, now: wrun_protocol::Timestamp, command: Command) {
        match command {
            Command::Submit { tenant, jobs, reply } => {
                let first = self.pending.expect(jobs.len(), reply);
                for (request, job) in (first..).zip(jobs) {
                    let Accepted { id, kind, spec, ended, known } = job;
                    let (request, tenant) = (RequestId(request), tenant.clone());
                    let input = match known {
                        None => Input::Submit { request, tenant, id, kind, spec, ended },
                        Some(known) => {
                            Input::SubmitKnown { request, tenant, id, kind, spec, known }
                        }
                    };
                    self.parts.core.handle(now, input);
                }
            }
            Command::Ask { make, reply } => {
                let request = RequestId(self.pending.expect(1, reply));
                self.parts.core.handle(now, make(request));
            }
            Command::View { look, recorded } => {
                self.collect();
                let tell = look(&self.parts.core);
                if recorded {
                    self.held.hold_view(self.emitted, tell);
                } else {
                    self.held.hold(self.emitted, Held::Tell(tell));
                }
            }
            Command::Prepared { workflow, step, prepared } => {
                self.parts.core.handle(now, Input::StepPrepared { workflow, step, prepared });
            }
            Command::LookedUp { job, tasks, known } => {
                self.parts.core.handle(now, Input::LookedUp { job, tasks, known });
            }
            Command::Connect { node, outbox, listens, info, offer, incarnation, attempts } => {
                // What was decided so far is for the session before.
                self.collect();
                self.on_listens(node, listens);
                let listening = self.listening.iter().map(|(node, address)| (*node, *address));
                outbox.tell(|news| *news = self.gateways.news(listening));
                if let Some(older) = self.sessions.insert(node, outbox) {
                    older.end(EndReason::Replaced);
                }
                let input = Input::NodeConnected { node, info, offer, incarnation, attempts };
                self.parts.core.handle(now, input);
            }
            Command::Node { node, session, input } => {
                if self.is_current(node, session) {
                    self.parts.core.handle(now, input);
                }
            }
            Command::Disconnect { node, session } => {
                if self.is_current(node, session) {
                    self.sessions.remove(&node);
                    self.parts.core.handle(now, Input::NodeDisconnected { node });
                }
            }
            Command::Stop => self.stopping = true,
        }
    }
}

impl Run {
    fn is_current(&self, node: NodeId, session: u64) -> bool {
        self.sessions.get(&node).is_some_and(|outbox| outbox.number() == session)
    }

    /// A node listens there from now on; those who are connected hear of it.
    fn on_listens(&mut self, node: NodeId, listens: Option<SocketAddr>) {
        let before = match listens {
            Some(address) => self.listening.insert(node, address),
            None => self.listening.remove(&node),
        };
        if before != listens {
            self.sessions.values().for_each(|outbox| outbox.tell(|news| news.node(node, listens)));
        }
    }

    /// Tells every worker which services have changed. That need not wait for the disk.
    fn tell_gateways(&mut self) {
        for (id, state) in self.gateways.changes(&self.parts.core) {
            self.sessions.values().for_each(|outbox| outbox.tell(|news| news.service(&id, &state)));
        }
    }

    /// Takes every effect of the core: facts to journal next, others to hold.
    fn collect(&mut self) {
        while let Some(effect) = self.parts.core.poll_effect() {
            let held = match effect {
                Effect::Append(fact) => {
                    self.emitted += 1;
                    self.untold.push(self.emitted, &fact);
                    self.fresh.push(fact);
                    continue;
                }
                Effect::Ended(job) => {
                    self.untold.push_ended(*job);
                    continue;
                }
                Effect::Send { node, message } => match self.sessions.get(&node) {
                    Some(outbox) => {
                        let outbox = Arc::clone(outbox);
                        Held::Send { outbox, message: addressed(message, &self.listening) }
                    }
                    None => continue,
                },
                Effect::Reply { request, answer } => Held::Reply { request, answer },
                Effect::JobChanged(job) => Held::Changed(job),
                Effect::PrepareStep(preparation) => Held::Prepare(preparation),
                Effect::LookUp(job) => Held::LookUp(job),
                Effect::Endpoints(id) => {
                    self.gateways.on_changed(id);
                    continue;
                }
            };
            self.held.hold(self.emitted, held);
        }
    }

    fn hand_over(&mut self) -> Result<(), ServerError> {
        if self.fresh.is_empty() {
            return Ok(());
        }
        let facts = std::mem::take(&mut self.fresh);
        let last = self.parts.journal.append(facts).map_err(|error| ServerError::lost(&error))?;
        if last == self.emitted {
            return Ok(());
        }
        Err(lost(&format!("it numbered a fact {last} that is number {}", self.emitted)))
    }

    fn on_durable(&mut self) -> Result<(), ServerError> {
        match &*self.parts.durable.borrow_and_update() {
            Ok(durable) => self.flushed = self.flushed.max(*durable),
            Err(error) => return Err(ServerError::lost(error)),
        }
        Ok(())
    }

    /// Lets go of every effect whose facts are durable; messages leave one batch a session.
    fn release(&mut self) {
        let mut outgoing: HashMap<u64, (Arc<Outbox>, Vec<ToWorker>)> = HashMap::new();
        while let Some(effect) = self.held.release(self.flushed) {
            match effect {
                Held::Send { outbox, message } => {
                    let entry = outgoing.entry(outbox.number());
                    entry.or_insert_with(|| (outbox, Vec::new())).1.push(message);
                }
                Held::Reply { request, answer } => self.pending.on_answer(request, answer),
                Held::Tell(tell) => tell(),
                // Nobody prepares any more when the server ends; the next one is asked again.
                Held::Prepare(preparation) => _ = self.parts.due_steps.send(preparation),
                Held::LookUp(job) => _ = self.parts.due_results.send(job),
                Held::Changed(job) => {
                    let core = &self.parts.core;
                    self.parts.watchers.on_changed(job, || core.job_tenant(job).is_none());
                }
            }
        }
        for (outbox, mut messages) in outgoing.into_values() {
            if !outbox.push(&mut messages) && outbox.ended() == Some(EndReason::Slow) {
                tracing::warn!(
                    session = outbox.number(),
                    "a worker does not keep up: its session ends"
                );
            }
        }
    }

    fn is_behind(&self) -> bool {
        self.held.len() >= MAX_HELD || self.untold.len() >= MAX_UNTOLD
    }

    fn is_settled(&self) -> bool {
        self.flushed == self.emitted
            && self.parts.recorder.recorded() >= self.emitted
            && self.held.is_empty()
    }

    /// Takes a snapshot when one is due.
    fn consider_snapshot(&mut self) {
        let due = self.emitted - self.snapshots.last >= self.snapshots.every;
        if due && self.snapshots.waiting.is_none() {
            let bytes = self.parts.core.snapshot();
            self.snapshots.last = self.emitted;
            self.snapshots.every =
                self.parts.snapshot_facts.max(bytes.len() as u64 / BYTES_PER_FACT);
            self.snapshots.waiting = Some((self.emitted, bytes));
        }
        self.send_snapshot();
    }

    /// Hands a snapshot over when the history was told all that is before it.
    fn send_snapshot(&mut self) {
        if let Some((last, bytes)) = self.snapshots.waiting.take() {
            let back = self.parts.recorder.send_snapshot(last, bytes);
            self.snapshots.waiting = back.map(|bytes| (last, bytes));
        }
    }

    /// A last snapshot, so that the next start has little to read. Everything was recorded, so
    /// that there is room for it.
    fn on_stop(&mut self) {
        if self.emitted > self.snapshots.last {
            self.snapshots.waiting = Some((self.emitted, self.parts.core.snapshot()));
        }
        self.send_snapshot();
    }
}

/// The message, with where the nodes listen that it names.
fn addressed(mut message: ToWorker, listening: &BTreeMap<NodeId, SocketAddr>) -> ToWorker {
    if let ToWorker::Gang { members, .. } = &mut message {
        for member in members {
            member.address = listening.get(&member.node).copied();
        }
    }
    message
}

fn lost(reason: &str) -> ServerError {
    ServerError::JournalLost { reason: reason.to_owned(), disk_full: false }
}
