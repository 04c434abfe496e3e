//! A loaded model with its queue: takes requests, runs them on the pool's threads, answers
//! them. What runs when, and with what, is decided by the queue; here are the locks, the
//! threads and the tensors.

mod run;

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use wrun_protocol::TenantName;

use crate::back_end::{Graph, Stop};
use crate::batch::axes::{Axes, Batching};
use crate::batch::merge::MergeKey;
use crate::batch::queue::{Output, Queue, Refused, Request, RequestId, RunId, Settings};
use crate::clock::{Clock, Timer, Wake};
use crate::config::Limits;
use crate::device::Device;
use crate::engine::ModelKey;
use crate::error::{BusyReason, ComputeError};
use crate::input::arrange;
use crate::memory::{Held, Memory};
use crate::pool::Pool;
use crate::signature::Signature;
use crate::stats::{Histogram, ModelStats};
use crate::tensor::{NamedTensor, Tensor};

/// How long a run may go on when it is told to stop; then another thread takes its place.
const HANGS: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 1000 });

/// What is known of a model besides its graph.
pub(crate) struct About {
    /// `None` for a guest's own.
    pub(crate) key: Option<ModelKey>,
    pub(crate) name: String,
    pub(crate) back_end: &'static str,
    pub(crate) device: Device,
    /// What it runs on there, as people are told.
    pub(crate) runs_on: String,
    pub(crate) signature: Signature,
}

/// Where a model runs, and what bounds it.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) pool: Pool,
    pub(crate) clock: Clock,
    pub(crate) limits: Arc<Limits>,
    /// Bytes of inputs, of all models.
    pub(crate) inputs: Arc<Memory>,
    /// When the engine began.
    pub(crate) began: Instant,
}

/// A loaded model.
pub(crate) struct Served {
    pub(crate) about: About,
    place: Place,
    /// What it takes of its device, and of this machine's memory beside that.
    bytes: [u64; 2],
    state: Mutex<State>,
    me: Weak<Self>,
    /// When it was used last, in nanoseconds since the engine began.
    used: AtomicU64,
    handles: AtomicUsize,
}

/// A hold on a model: while there is one it is neither evicted nor unloaded but by force.
/// Threads that run the model have none, so that they do not count as its users.
#[derive(Debug)]
pub(crate) struct Handle(Arc<Served>);

/// Who asks, and how long for.
pub(crate) struct Asked {
    pub(crate) tenant: TenantName,
    pub(crate) weight: u32,
    pub(crate) deadline: Option<Instant>,
}

pub(crate) type Outputs = Result<Vec<Tensor>, ComputeError>;

struct State {
    /// `None`: it was unloaded, and nothing is taken any more.
    graph: Option<Arc<Resident>>,
    closed: ComputeError,
    batching: Batching,
    axes: Option<Arc<Axes>>,
    queue: Queue<MergeKey, Payload>,
    replies: HashMap<RequestId, Reply>,
    runs: HashMap<RunId, Run>,
    /// Whether a thread of the pool will come by.
    submitted: bool,
    /// When the clock will.
    timer: Option<Timer>,
    counts: Counts,
}

/// A graph with the memory that it takes: given back when the last run of it is over, and not
/// only when the last thread has left.
struct Resident {
    graph: Arc<dyn Graph>,
    _memory: [Held; 2],
}

/// What a queued request carries.
struct Payload {
    tenant: TenantName,
    weight: u32,
    inputs: Vec<Tensor>,
    rows: u32,
    /// Until the run is over, since it uses the inputs until then.
    _held: Held,
}

/// A run under way.
struct Run {
    stop: Arc<Stop>,
    /// Since when nobody wants it.
    abandoned: Option<Instant>,
    /// Whether its thread was given up.
    lost: bool,
}

struct Reply {
    sender: oneshot::Sender<Outputs>,
    since: Instant,
    started: Option<Instant>,
}

#[derive(Default)]
struct Counts {
    requests: u64,
    refused: u64,
    timeouts: u64,
    cancelled: u64,
    failed: u64,
    batch_size: Histogram,
    latency: Histogram,
    queueing: Histogram,
}

/// Answers that are sent when no lock is held, since whoever is woken may come back at once.
#[derive(Default)]
struct Answers(Vec<(oneshot::Sender<Outputs>, Outputs)>);

impl Answers {
    fn send(self) {
        for (sender, outputs) in self.0 {
            // Who does not listen any more needs no answer.
            let _ = sender.send(outputs);
        }
    }
}

impl Served {
    pub(crate) fn new(
        about: About,
        place: Place,
        memory: [Held; 2],
        graph: Arc<dyn Graph>,
        (batching, axes): (Batching, Option<Axes>),
        settings: Settings,
    ) -> Arc<Self> {
        let bytes = memory.each_ref().map(Held::bytes);
        let state = State {
            graph: Some(Arc::new(Resident { graph, _memory: memory })),
            closed: ComputeError::Unloaded,
            batching,
            axes: axes.map(Arc::new),
            queue: Queue::new(settings),
            replies: HashMap::new(),
            runs: HashMap::new(),
            submitted: false,
            timer: None,
            counts: Counts::default(),
        };
        Arc::new_cyclic(|me| Self {
            about,
            place,
            bytes,
            state: Mutex::new(state),
            me: Weak::clone(me),
            used: AtomicU64::new(0),
            handles: AtomicUsize::new(0),
        })
    }

    /// Says that it is used now.
    pub(crate) fn touch(&self, now: Instant) {
        let time = now.saturating_duration_since(self.place.began).as_nanos();
        self.used.store(u64::try_from(time).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How many hold it.
    pub(crate) fn users(&self) -> usize {
        self.handles.load(Ordering::SeqCst)
    }

    /// When it was used last: comparable between models.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn batching(&self) -> Batching {
        self.state().batching.clone()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.iter().sum()
    }

    pub(crate) fn bytes_on_device(&self) -> u64 {
        let [on_device, _] = self.bytes;
        on_device
    }

    /// Queues a request, and says how to get its answer.
    pub(crate) fn push(
        &self,
        asked: Asked,
        inputs: Vec<NamedTensor>,
    ) -> Result<(RequestId, oneshot::Receiver<Outputs>), ComputeError> {
        let now = Instant::now();
        self.touch(now);
        let Place { limits, inputs: memory, .. } = &self.place;
        let inputs = arrange(&self.about.signature, inputs, limits)?;
        let latest = now + limits.run_time;
        let deadline = asked.deadline.map_or(latest, |deadline| deadline.min(latest));
        let bytes = inputs.iter().map(|tensor| tensor.data().len() as u64).sum();
        let held = memory.hold(bytes);

        let mut state = self.state();
        if state.graph.is_none() {
            return Err(state.closed.clone());
        }
        if deadline <= now {
            state.counts.timeouts += 1;
            return Err(ComputeError::Timeout { waited: Duration::ZERO, started: false });
        }
        let Some(held) = held else {
            state.counts.refused += 1;
            return Err(ComputeError::Busy(BusyReason::Node { limit: memory.limit() }));
        };
        let key = state.axes.as_ref().and_then(|axes| axes.key(&inputs));
        let (key, rows) = key.map_or((None, 1), |(key, rows)| (Some(key), rows));
        let Asked { tenant, weight, .. } = asked;
        let request = Request {
            tenant: tenant.clone(),
            weight,
            key,
            rows,
            cost: bytes,
            deadline,
            payload: Payload { tenant, weight, inputs, rows, _held: held },
        };
        let id = match state.queue.push(now, request) {
            Ok(id) => id,
            Err((refused, payload)) => {
                state.counts.refused += 1;
                drop(state);
                drop(payload);
                return Err(ComputeError::Busy(match refused {
                    Refused::Full => BusyReason::Model { limit: limits.waiting },
                    Refused::TenantFull => BusyReason::Tenant { limit: limits.waiting_per_tenant },
                }));
            }
        };
        state.counts.requests += 1;
        let (sender, receiver) = oneshot::channel();
        state.replies.insert(id, Reply { sender, since: now, started: None });
        self.settle(state, now).send();
        Ok((id, receiver))
    }

    /// Forgets a request whose caller has gone.
    pub(crate) fn cancel(&self, id: RequestId) {
        let mut state = self.state();
        if state.replies.remove(&id).is_some() {
            state.counts.cancelled += 1;
            state.queue.cancel(id);
        }
        self.settle(state, Instant::now()).send();
    }

    /// Takes no more requests, and answers those it has with `reason`.
    pub(crate) fn close(&self, reason: &ComputeError) {
        let mut state = self.state();
        let graph = state.graph.take();
        state.closed = reason.clone();
        let mut answers = Answers::default();
        for id in state.queue.clear() {
            if let Some(reply) = state.replies.remove(&id) {
                answers.0.push((reply.sender, Err(reason.clone())));
            }
        }
        self.settle(state, Instant::now()).send();
        answers.send();
        drop(graph);
    }

    pub(crate) fn stats(&self) -> ModelStats {
        let state = self.state();
        let counts = &state.counts;
        ModelStats {
            key: self.about.key.clone(),
            name: self.about.name.clone(),
            back_end: self.about.back_end,
            device: self.about.runs_on.clone(),
            bytes: self.bytes(),
            signature: self.about.signature.clone(),
            batching: state.batching.clone(),
            users: self.users(),
            waiting: state.queue.waiting(),
            running: state.queue.running(),
            requests: counts.requests,
            refused: counts.refused,
            timeouts: counts.timeouts,
            cancelled: counts.cancelled,
            failed: counts.failed,
            batch_size: counts.batch_size.clone(),
            latency: counts.latency.clone(),
            queueing: counts.queueing.clone(),
        }
    }

    /// Does what the queue wants done at this time, and lets go of the lock.
    fn settle(&self, mut state: MutexGuard<'_, State>, now: Instant) -> Answers {
        let answers = state.tell(now);
        let submit = !state.submitted && state.queue.is_ready(now);
        state.submitted |= submit;
        // Who has been submitted will look again when a thread comes by.
        let timeout =
            if state.submitted { state.queue.poll_deadline() } else { state.queue.poll_timeout() };
        let hangs = state.hangs(now, &self.place.pool);
        if let Some(at) = timeout.into_iter().chain(hangs).min()
            && state.timer.is_none_or(|timer| at < timer.at)
        {
            let (who, instead) = (Weak::<Self>::clone(&self.me), state.timer);
            state.timer = Some(self.place.clock.at(at, who, instead));
        }
        let next = if submit { state.queue.next_tenant() } else { None };
        drop(state);
        if submit && let Some(me) = self.me.upgrade() {
            self.place.pool.submit(next, me);
        }
        answers
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    pub(crate) fn new(served: &Arc<Served>) -> Self {
        served.handles.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(served))
    }

    /// What is held.
    pub(crate) fn served(&self) -> &Arc<Served> {
        &self.0
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let was_last = self.0.handles.fetch_sub(1, Ordering::SeqCst) == 1;
        // What a guest brought itself nobody else can ask for.
        if was_last && self.0.about.key.is_none() {
            self.0.close(&ComputeError::Unloaded);
        }
    }
}

impl Deref for Handle {
    type Target = Served;

    fn deref(&self) -> &Served {
        &self.0
    }
}

impl State {
    /// Answers those whose time is over, and stops runs that nobody wants.
    fn tell(&mut self, now: Instant) -> Answers {
        let mut answers = Answers::default();
        while let Some(output) = self.queue.poll(now) {
            match output {
                Output::Expired { request, started } => {
                    if let Some(reply) = self.replies.remove(&request) {
                        self.counts.timeouts += 1;
                        let waited = now.saturating_duration_since(reply.since);
                        let error = ComputeError::Timeout { waited, started };
                        answers.0.push((reply.sender, Err(error)));
                    }
                }
                Output::Abandoned { run } => {
                    if let Some(run) = self.runs.get_mut(&run) {
                        run.stop.set();
                        run.abandoned = Some(now);
                    }
                }
            }
        }
        answers
    }

    /// Gives up the threads of runs that do not stop, and says when to look again.
    fn hangs(&mut self, now: Instant, pool: &Pool) -> Option<Instant> {
        let mut next = None;
        for run in self.runs.values_mut().filter(|run| !run.lost) {
            let Some(hangs) = run.abandoned.map(|since| since + HANGS) else { continue };
            if hangs <= now {
                run.lost = pool.lost();
            } else {
                next = Some(next.map_or(hangs, |next: Instant| next.min(hangs)));
            }
        }
        next
    }
}

impl Wake for Served {
    fn wake(&self, now: Instant) {
        let mut state = self.state();
        if state.timer.is_some_and(|timer| timer.at <= now) {
            state.timer = None;
        }
        self.settle(state, now).send();
    }
}

impl std::fmt::Debug for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Served({})", self.about.name)
    }
}
