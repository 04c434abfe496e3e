//! Where tasks start and end, on the agent's task as well as on guest threads: a guest
//! thread whose task has ended starts the next one itself, without a detour through the
//! agent. Decides nothing; [`crate::slots`] says what is next.

use std::path::PathBuf;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Handle;
use wrun_inference::{Card, Engine};
use wrun_protocol::service::HttpService;
use wrun_protocol::task::{Failure, Outcome, Usage};
use wrun_protocol::wire::user::LogStream;
use wrun_protocol::wire::worker::Assignment;
use wrun_protocol::{AttemptId, Resources};
use wrun_sandbox::{
    CallError, CheckpointDone, GangSeat, NextTask, ReplicaEvents, ReplicaStart, StartError,
    TaskEnd, TaskEvents, TaskInput, TaskMemory, TaskStart,
};

use crate::events::{Checkpoint, Ended, Event, EventQueue};
use crate::executor::Executor;
use crate::gang::Gangs;
use crate::held::Held;
use crate::job::Setup;
use crate::log::SpillDir;
use crate::models;
use crate::service::{Hosted, News, Replicas, watch_program, watch_replica};
use crate::slots::{Following, Past, Running, Slots, Starting, Stopping};
use crate::streams::Streams;

/// Logs that wait to be spilled; a log beyond that asks again with its next line.
pub(crate) const MAX_SPILLING: usize = 1024;

/// Shared by the agent and the guest threads.
pub(crate) struct Floor<E: Executor> {
    executor: E,
    slots: Mutex<Slots<E>>,
    pub(crate) events: EventQueue,
    pub(crate) spill: Arc<SpillDir>,
    spiller: SyncSender<Arc<Streams>>,
    scratch: PathBuf,
    gangs: Arc<Gangs>,
    replicas: Arc<Replicas<E>>,
    /// Guests start others on threads that are none of the runtime's.
    runtime: Handle,
    /// Itself, as the sandbox wants it.
    this: Weak<Self>,
}

impl<E: Executor> Floor<E> {
    /// Everything of `capacity` is free. Scratch directories are made in `scratch`. Must be
    /// called within a tokio runtime.
    pub(crate) fn new(
        executor: E,
        capacity: Resources,
        scratch: PathBuf,
        spill: Arc<SpillDir>,
        spiller: SyncSender<Arc<Streams>>,
        gangs: Arc<Gangs>,
        replicas: Arc<Replicas<E>>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            executor,
            slots: Mutex::new(Slots::new(capacity)),
            events: EventQueue::new(),
            spill,
            spiller,
            scratch,
            gangs,
            replicas,
            runtime: Handle::current(),
            this: this.clone(),
        })
    }

    /// The slots. Hold them for a moment only: guest threads wait for them.
    pub(crate) fn slots(&self) -> MutexGuard<'_, Slots<E>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn executor(&self) -> &E {
        &self.executor
    }

    /// The node's cards.
    fn cards(&self) -> &[Card] {
        self.executor.inference().map_or(&[], Engine::cards)
    }

    /// Starts what fits now.
    pub(crate) fn start_ready(&self) {
        let Some(events) = self.this.upgrade().map(|this| this as Arc<dyn TaskEvents>) else {
            return;
        };
        loop {
            let Some(starting) = self.slots().take_next() else { return };
            self.start(starting, &events);
        }
    }

    fn start(&self, starting: Starting<E>, events: &Arc<dyn TaskEvents>) {
        let token = starting.token;
        let started = match (starting.job.setup.get(), starting.job.http()) {
            (Some(setup), Some(http)) => self.open(&starting, setup, http).map(Held::Replica),
            (Some(setup), None) => {
                let task = self.task(&starting, setup);
                self.executor.start(&setup.program, task, events).map(Held::Task)
            }
            (None, _) => Err(StartError::Refused("its job was not set up".to_owned())),
        };
        match started {
            Ok(held) => {
                let meanwhile = self.slots().on_started(token, held.clone());
                if meanwhile.frozen {
                    held.freeze(true);
                }
                if let Some(stops) = meanwhile.stops {
                    held.notify(stops);
                }
                if meanwhile.stopped {
                    held.stop();
                }
                self.watch(&starting, held);
            }
            Err(error) => self.on_ended(token, could_not_start(&error)),
        }
    }

    fn open(
        &self,
        starting: &Starting<E>,
        setup: &Setup<E>,
        http: &HttpService,
    ) -> Result<Arc<Hosted<E>>, StartError> {
        let events = self.this.upgrade().ok_or(StartError::Closed)?;
        let Starting { token, job, index, attempt, .. } = starting;
        let start = ReplicaStart {
            token: *token,
            job: setup.context_of(job, &starting.granted, self.cards()),
            index: *index,
            attempt: *attempt,
            http: http.clone(),
            memory_of_instance: job.takes(&starting.granted).memory
                / u64::from(http.instances().max(1)),
            scratch: setup.wants_scratch().then(|| self.scratch_of(*token)),
        };
        let replica = self.executor.open_replica(&setup.program, start, events)?;
        let attempt = job.id.task(*index).attempt(*attempt);
        let hosted = Arc::new(Hosted::new(attempt, replica, self.runtime.clone()));
        self.replicas.insert(&hosted);
        Ok(hosted)
    }

    /// Has the server told when a replica can have requests: not before its models are on the
    /// cards that it was given.
    fn watch(&self, starting: &Starting<E>, held: Held<E>) {
        let (token, this) = (starting.token, self.this.clone());
        let tell = move |news| {
            if let Some(floor) = this.upgrade() {
                floor.on_news(token, news);
            }
        };
        match (held, starting.job.http(), starting.job.program()) {
            (Held::Replica(hosted), Some(http), _) => {
                let (readiness, warm) = (http.readiness.clone(), self.warm(starting));
                self.runtime.spawn(async move {
                    match warm.await {
                        Ok(()) => watch_replica(hosted, readiness, tell).await,
                        Err(problem) => hosted.fail(problem),
                    }
                });
            }
            (Held::Task(_), _, Some(program)) => {
                let after = Duration::from_millis(program.ready_after_ms);
                self.runtime.spawn(watch_program(after, tell));
            }
            _ => {}
        }
    }

    /// Loads the models of a service on the cards of a replica.
    fn warm(&self, starting: &Starting<E>) -> impl Future<Output = Result<(), String>> + use<E> {
        let engine = self.executor.inference().cloned();
        let (job, granted) = (Arc::clone(&starting.job), starting.granted.clone());
        async move {
            match (engine, job.setup.get()) {
                (Some(engine), Some(setup)) if !granted.cards().is_empty() => {
                    let models = &setup.context.models;
                    models::warm(&engine, &job.tenant, models, granted.cards()).await
                }
                _ => Ok(()),
            }
        }
    }

    fn on_news(&self, token: u64, news: News) {
        match news {
            News::Readied(state) => self.events.push(Event::Readied { token, state }),
            News::NotYet(line) => {
                TaskEvents::log(self, token, LogStream::Stderr, line.into());
            }
        }
    }

    fn hosted(&self, token: u64) -> Option<Arc<Hosted<E>>> {
        match self.slots().running_mut(token)?.handle.as_ref()? {
            Held::Replica(hosted) => Some(Arc::clone(hosted)),
            Held::Task(_) => None,
        }
    }

    fn task(&self, starting: &Starting<E>, setup: &Setup<E>) -> TaskStart {
        let stdin = starting.streams.as_ref().filter(|_| starting.job.is_attached());
        let input = match stdin.and_then(|streams| streams.take_stdin()) {
            Some(stdin) => TaskInput::Stream(stdin),
            None => setup.input.of_task(starting.index).read(),
        };
        TaskStart {
            token: starting.token,
            job: setup.context_of(&starting.job, &starting.granted, self.cards()),
            index: starting.index,
            attempt: starting.attempt,
            input,
            checkpoint: starting.checkpoint.clone(),
            scratch: setup.wants_scratch().then(|| self.scratch_of(starting.token)),
            seed: setup.seed_of(starting.index),
        }
    }

    fn scratch_of(&self, token: u64) -> PathBuf {
        self.scratch.join(token.to_string())
    }

    /// Stops running attempts, and what gangs they are of; says how many.
    pub(crate) fn stop(&self, why: Stopping, mut wanted: impl FnMut(&Running<E>) -> bool) -> usize {
        let mut of_gangs = Vec::new();
        let handles = self.slots().stop(why, |running| {
            let is_wanted = wanted(running);
            if is_wanted && running.job.spec.scheduling.gang {
                of_gangs.push((running.job.id, running.index, running.attempt));
            }
            is_wanted
        });
        for (job, rank, attempt) in of_gangs {
            self.gangs.on_stopping(job, rank, attempt);
        }
        handles.iter().for_each(Held::stop);
        handles.len()
    }

    /// Lets the replicas here take no more requests; they are given back when those under way
    /// are over.
    pub(crate) fn drain_replicas(&self) {
        self.slots().drain_replicas().iter().for_each(|hosted| hosted.drain());
    }

    /// Freezes an attempt that runs, or lets it go on.
    pub(crate) fn freeze(&self, attempt: &Assignment, frozen: bool) {
        let handle = self.slots().freeze(attempt, frozen);
        if let Some(handle) = handle {
            handle.freeze(frozen);
        }
    }

    /// Lets the guest of an attempt know when it will be stopped. A frozen one goes on, lest
    /// it cannot do anything about it.
    pub(crate) fn notify(&self, attempt: &Assignment, stops: Instant) {
        self.freeze(attempt, false);
        let handle = self.slots().notify(attempt, stops);
        if let Some(handle) = handle {
            handle.notify(stops);
        }
    }

    fn on_ended(&self, token: u64, end: TaskEnd) {
        let ended = self.slots().on_ended(token);
        if let Some(past) = ended {
            self.gangs.on_ended(past.job, past.index, past.attempt);
            self.events.push(event(past, end));
        }
    }

    /// The task that follows the one that ended, if one may at once.
    fn on_followed(&self, token: u64, end: TaskEnd) -> Option<Following> {
        let mut slots = self.slots();
        let Some((past, next)) = slots.on_followed(token) else {
            drop(slots);
            self.on_ended(token, end);
            return None;
        };
        drop(slots);
        self.gangs.on_ended(past.job, past.index, past.attempt);
        self.events.push(event(past, end));
        Some(next)
    }

    fn streams(&self, token: u64) -> Option<Arc<Streams>> {
        self.slots().running_mut(token).map(|running| running.streams().clone())
    }
}

fn event(past: Past, mut end: TaskEnd) -> Event {
    let Past { job, index, attempt, streams, stopping } = past;
    if let Some(streams) = &streams {
        streams.close();
    }
    // A handler that returned nothing has nothing to tell: whoever asks for the output of
    // a task without one is given no bytes.
    end.output = end.output.filter(|output| !output.is_empty());
    let plain = end.outcome.is_success() && end.output.is_none();
    if plain && streams.is_none() && stopping.is_none() {
        return Event::Succeeded { job, attempt, index, usage: end.usage };
    }
    let attempt = job.task(index).attempt(attempt);
    Event::Ended(Box::new(Ended { attempt, end, streams, stopping }))
}

fn could_not_start(error: &StartError) -> TaskEnd {
    let outcome = Outcome::Failed(Failure::Setup { message: error.to_string() });
    TaskEnd { outcome, usage: Usage::default(), output: None }
}

impl<E: Executor> TaskEvents for Floor<E> {
    fn log(&self, token: u64, stream: LogStream, bytes: Bytes) {
        let Some(streams) = self.streams(token) else { return };
        if streams.log.append(stream, &bytes)
            && self.spiller.try_send(streams.clone()).is_err()
            && streams.log.is_behind()
        {
            streams.log.spill(&self.spill);
        }
    }

    fn progress(&self, token: u64, permille: u16, message: &str) {
        self.events.set_progress(token, permille, message);
    }

    fn save_checkpoint(&self, token: u64, state: Bytes, done: CheckpointDone) {
        let attempt: Option<AttemptId> = self
            .slots()
            .running_mut(token)
            .map(|running| running.job.id.task(running.index).attempt(running.attempt));
        match attempt {
            Some(attempt) => {
                let checkpoint = Checkpoint { token, attempt, state, done };
                self.events.push(Event::Checkpoint(Box::new(checkpoint)));
            }
            None => done.unavailable("the task has ended"),
        }
    }

    fn gang_seat(&self, token: u64, memory: TaskMemory) -> Option<Arc<dyn GangSeat>> {
        let (job, rank, attempt) = self
            .slots()
            .running_mut(token)
            .map(|running| (running.job.id, running.index, running.attempt))?;
        self.gangs.seat(job, rank, attempt, memory)
    }

    fn ended(&self, token: u64, end: TaskEnd) {
        self.on_ended(token, end);
        self.start_ready();
    }

    fn hand_over(&self, token: u64, end: TaskEnd) -> Option<NextTask> {
        let next = self.on_followed(token, end)?;
        let Following { token, index, attempt, input, wants_scratch, seed, was_last } = next;
        if was_last {
            self.start_ready();
        }
        let scratch = wants_scratch.then(|| self.scratch_of(token));
        let input = input.read();
        Some(NextTask { token, index, attempt, input, checkpoint: None, scratch, seed })
    }

    fn vacated(&self) {
        self.start_ready();
    }
}

impl<E: Executor> ReplicaEvents for Floor<E> {
    fn log(&self, token: u64, stream: LogStream, bytes: Bytes) {
        TaskEvents::log(self, token, stream, bytes);
    }

    fn failed(&self, token: u64, error: &CallError) {
        let line = self.hosted(token).and_then(|hosted| hosted.complaint(error));
        if let Some(line) = line {
            TaskEvents::log(self, token, LogStream::Stderr, line.into());
        }
    }

    fn vacated(&self, token: u64) {
        let Some(hosted) = self.hosted(token) else { return };
        self.replicas.remove(hosted.attempt());
        self.on_ended(token, hosted.end());
        self.start_ready();
    }
}

/// Spills logs on a thread of its own until every sender is gone.
pub(crate) fn start_spiller(
    dir: Arc<SpillDir>,
) -> std::io::Result<(SyncSender<Arc<Streams>>, std::thread::JoinHandle<()>)> {
    let (sender, receiver) = std::sync::mpsc::sync_channel::<Arc<Streams>>(MAX_SPILLING);
    let thread = std::thread::Builder::new().name("wrun-logs".to_owned()).spawn(move || {
        while let Ok(streams) = receiver.recv() {
            streams.log.spill(&dir);
        }
    })?;
    Ok((sender, thread))
}
