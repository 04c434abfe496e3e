//! The agent: one task that owns what this node knows of its jobs, its reports, its lease
//! and its session. Everything that waits is done elsewhere and comes back as an event.

mod drain;
mod gangs;
mod models;
mod preempt;
mod running;
mod server;
mod services;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use wrun_gateway::Gateway;
use wrun_net::Connection;
use wrun_protocol::card::CardState;
use wrun_protocol::inference::NodeInference;
use wrun_protocol::node::NodeInfo;
use wrun_protocol::scheduling::Offer;
use wrun_protocol::task::Content;
use wrun_protocol::wire::worker::{FromWorker, TaskResult};
use wrun_protocol::{AttemptId, JobId};
use wrun_sandbox::CheckpointDone;

use self::drain::Mode;
use self::models::ModelsTold;
use self::services::Telling;
use crate::blobs::Blobs;
use crate::events::Event;
use crate::executor::Executor;
use crate::floor::Floor;
use crate::gang::Gangs;
use crate::handle::Timing;
use crate::job::{Granted, Job, Setup};
use crate::lease::Lease;
use crate::link::LinkEvent;
use crate::outbox::Outbox;
use crate::service::{Carrier, Entrance, Known};
use crate::setup::Workshop;

/// Results that wait to be uploaded before the worker stops starting tasks.
const MAX_FINISHING: usize = 256;

/// Events in one go from which on the agent lets more gather before it looks again, and
/// for how long: on a busy node one frame then tells of many tasks. Longer while so much
/// waits here that the server need not hurry to send more.
const BUSY: usize = 8;
const GATHER: Duration = Duration::from_millis(1);
const GATHER_AMONG_MANY: Duration = Duration::from_millis(4);

/// What was being waited for.
pub(crate) enum Done<E: Executor> {
    /// A job was set up, or cannot be.
    SetUp(JobId, Result<Setup<E>, String>),
    /// A checkpoint to start from was fetched, or cannot be; by which request of the job.
    Resumable(AttemptId, Granted, Result<Bytes, String>),
    /// The large parts of a result were uploaded.
    Uploaded(AttemptId, Box<TaskResult>),
    /// A checkpoint was uploaded, or cannot be.
    Saved(Box<Saved>),
    /// The gateway has no connection of a client any more.
    EntranceClosed,
}

/// A checkpoint on its way to the server.
pub(crate) struct Saved {
    token: u64,
    attempt: AttemptId,
    content: Result<Content, String>,
    done: CheckpointDone,
}

/// What the owner of the worker wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Drain,
    Stop,
}

struct JobEntry<E: Executor> {
    job: Arc<Job<E>>,
    /// Tasks here whose end was not yet turned into a report.
    open: u64,
    setting_up: bool,
    /// No more assignments will come.
    forget: bool,
}

struct Session {
    outgoing: mpsc::Sender<Vec<FromWorker>>,
    connection: Connection,
    hello: Instant,
    welcomed: bool,
}

/// What the agent is made of besides its own state.
pub(crate) struct Parts<E: Executor> {
    pub(crate) info: NodeInfo,
    /// What the node has beside.
    pub(crate) offer: Offer,
    /// How it runs models.
    pub(crate) inference: NodeInference,
    /// How its cards are.
    pub(crate) cards: watch::Receiver<Vec<CardState>>,
    /// Where it listens for other nodes.
    pub(crate) listens: Option<SocketAddr>,
    pub(crate) gangs: Arc<Gangs>,
    pub(crate) gateway: Gateway,
    /// How the gateway reaches replicas.
    pub(crate) carrier: Arc<Carrier<E>>,
    pub(crate) known: Arc<Known>,
    /// Where HTTP comes in, until the worker drains.
    pub(crate) entrance: Option<Entrance>,
    pub(crate) incarnation: u64,
    pub(crate) grace: Duration,
    pub(crate) timing: Timing,
    pub(crate) floor: Arc<Floor<E>>,
    pub(crate) workshop: Arc<Workshop<E>>,
    pub(crate) blobs: Arc<Blobs>,
    pub(crate) link: mpsc::Receiver<LinkEvent>,
    pub(crate) commands: mpsc::Receiver<Command>,
}

/// The agent's state.
pub(crate) struct Agent<E: Executor> {
    parts: Parts<E>,
    jobs: BTreeMap<JobId, JobEntry<E>>,
    /// Jobs whose specification cannot be read, and why.
    unreadable: BTreeMap<JobId, String>,
    outbox: Outbox,
    lease: Lease,
    session: Option<Session>,
    /// To be sent before further reports.
    urgent: VecDeque<FromWorker>,
    /// Attempts that have ended and whose results are being uploaded.
    finishing: BTreeSet<AttemptId>,
    /// Attempts whose checkpoints are being fetched.
    resuming: BTreeSet<AttemptId>,
    /// Checkpoints that were reported and not acknowledged, by number of the report.
    saving: BTreeMap<u64, (AttemptId, CheckpointDone)>,
    /// Attempts that were told that they will be stopped, and when. Some may have ended.
    notices: BTreeMap<AttemptId, Instant>,
    telling: Telling,
    models: ModelsTold,
    /// The gateway's clients are being sent away.
    closing: bool,
    done: (mpsc::Sender<Done<E>>, mpsc::Receiver<Done<E>>),
    mode: Mode,
    paused: bool,
    sweep_at: Option<Instant>,
    gather_until: Option<Instant>,
    events: Vec<Event>,
}

impl<E: Executor> Agent<E> {
    pub(crate) fn new(parts: Parts<E>) -> Self {
        Self {
            parts,
            jobs: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            outbox: Outbox::new(),
            lease: Lease::new(),
            session: None,
            urgent: VecDeque::new(),
            finishing: BTreeSet::new(),
            resuming: BTreeSet::new(),
            saving: BTreeMap::new(),
            notices: BTreeMap::new(),
            telling: Telling::default(),
            models: ModelsTold::default(),
            closing: false,
            done: mpsc::channel(256),
            mode: Mode::Serving,
            paused: false,
            sweep_at: None,
            gather_until: None,
            events: Vec::new(),
        }
    }

    /// Works until the worker is to end.
    pub(crate) async fn run(mut self) {
        while !self.is_over() {
            self.step().await;
            let now = Instant::now();
            self.on_time(now);
            self.balance();
            self.flush();
        }
        self.leave().await;
    }

    /// Waits for one thing to happen, and handles it.
    async fn step(&mut self) {
        let timeout = self.timeout();
        let gathering = self.gather_until.is_some();
        let blocked = if self.has_outgoing() { self.outgoing() } else { None };
        let floor = self.parts.floor.clone();
        let gateway = self.parts.gateway.clone();
        let questions = self.parts.gangs.questions();
        tokio::select! {
            command = self.parts.commands.recv() => self.on_command(command),
            event = self.parts.link.recv() => match event {
                Some(event) => self.on_link(event),
                None => self.mode = Mode::Over,
            },
            Some(done) = self.done.1.recv() => self.on_done(done),
            () = floor.events.wait(), if !gathering => self.on_events(),
            () = gateway.urgent().notified() => self.on_urgent_load(),
            () = questions.asked() => self.ask_for_members(),
            () = models_changed(&floor) => self.tell_models_soon(),
            () = changed(&mut self.parts.cards) => self.tell_cards(),
            () = writable(blocked.as_ref()), if blocked.is_some() => {}
            () = until(timeout), if timeout.is_some() => {}
        }
    }

    fn timeout(&self) -> Option<Instant> {
        let notice = self.notices.values().min().copied();
        let (lease, mode, load) =
            (self.lease.timeout(), self.mode.timeout(), self.telling.timeout());
        let models = self.models.timeout();
        let all = [lease, self.sweep_at, self.gather_until, mode, notice, load, models];
        all.into_iter().flatten().min()
    }

    fn on_time(&mut self, now: Instant) {
        if self.gather_until.is_some_and(|until| until <= now) {
            self.gather_until = None;
            self.on_events();
        }
        if self.sweep_at.is_some_and(|at| at <= now) {
            self.on_sweep(now);
        }
        if let Some(beat) = self.lease.beat(now) {
            self.urgent.push_back(FromWorker::Heartbeat { beat });
        }
        if self.lease.is_unheard(now) {
            self.give_up_session();
        }
        if self.lease.ended(now) {
            self.on_lease_ended();
        }
        self.on_notices_over(now);
        self.on_time_to_tell(now);
        self.on_time_to_tell_models(now);
        self.on_drain_time(now);
    }

    /// Stops starting tasks while too much waits for the server, and goes on after.
    fn balance(&mut self) {
        let full = self.outbox.is_full() || self.finishing.len() >= MAX_FINISHING;
        let pause = full || self.mode != Mode::Serving;
        if pause != self.paused {
            self.paused = pause;
            self.parts.floor.slots().pause(pause);
            if !pause {
                self.start_ready();
            }
        }
    }

    fn start_ready(&mut self) {
        self.parts.floor.start_ready();
        self.sweep_soon();
    }

    fn sweep_soon(&mut self) {
        if self.sweep_at.is_none() && self.parts.floor.slots().running_count() > 0 {
            self.sweep_at = Some(Instant::now() + self.parts.timing.sweep);
        }
    }

    fn outgoing(&self) -> Option<mpsc::Sender<Vec<FromWorker>>> {
        self.session.as_ref().map(|session| session.outgoing.clone())
    }

    fn has_outgoing(&self) -> bool {
        self.session.is_some() && (!self.urgent.is_empty() || self.outbox.has_unsent())
    }

    /// Hands over what there is to send, if the last batch has gone.
    fn flush(&mut self) {
        while self.has_outgoing() {
            let Some(outgoing) = self.outgoing() else { return };
            let Ok(permit) = outgoing.try_reserve() else { return };
            let mut batch: Vec<_> = self.urgent.drain(..).collect();
            batch.extend(self.outbox.next_frame());
            permit.send(batch);
        }
    }
}

async fn writable(outgoing: Option<&mpsc::Sender<Vec<FromWorker>>>) {
    if let Some(outgoing) = outgoing {
        // An error says that the session is over, which the link tells too.
        if outgoing.reserve().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn models_changed<E: Executor>(floor: &Floor<E>) {
    match floor.executor().inference() {
        Some(engine) => engine.changed().notified().await,
        None => std::future::pending().await,
    }
}

/// Told of a change that was not looked at.
async fn changed<T>(watched: &mut watch::Receiver<T>) {
    if watched.changed().await.is_err() {
        std::future::pending().await
    }
}

async fn until(timeout: Option<Instant>) {
    match timeout {
        Some(timeout) => tokio::time::sleep_until(timeout).await,
        None => std::future::pending().await,
    }
}
