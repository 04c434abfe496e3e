//! Task slots: which assignments wait, which tasks run, and what is free. Plain state, no
//! execution and no I/O; [`crate::floor`] holds it under a lock, since tasks begin and
//! end on guest threads too.
//!
//! Tasks start in the order of their assignment as resources allow. Those whose job is
//! still being set up stand aside meanwhile, so that a long download delays no other job.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use wrun_protocol::wire::service::Readied;
use wrun_protocol::wire::worker::Assignment;
use wrun_protocol::{IndexRange, JobId, Resources, TaskId};

use crate::executor::Executor;
use crate::held::Held;
use crate::job::{GivenInput, Granted, Job};
use crate::service::Hosted;
use crate::streams::Streams;

/// Tasks that may wait on this node; what is assigned above it is given back.
/// They are listed in `Hello`, which is one frame.
pub(crate) const MAX_QUEUED: u64 = 20_000;

/// Attempts of one job that wait to start.
pub(crate) struct Run<E: Executor> {
    pub(crate) job: Arc<Job<E>>,
    pub(crate) attempt: u32,
    pub(crate) tasks: IndexRange,
    pub(crate) checkpoint: Option<Bytes>,
    granted: Granted,
    /// Place in the order of assignment.
    order: u64,
}

/// An attempt that runs, or is about to.
pub(crate) struct Running<E: Executor> {
    pub(crate) job: Arc<Job<E>>,
    pub(crate) index: u32,
    pub(crate) attempt: u32,
    granted: Granted,
    /// `None` for the moment between taking its place and being started.
    pub(crate) handle: Option<Held<E>>,
    /// Made when it first logs or is followed.
    pub(crate) streams: Option<Arc<Streams>>,
    /// Set when the agent wants it ended.
    pub(crate) stopping: Option<Stopping>,
    /// While it is, it holds no CPU.
    frozen: bool,
    /// When it will be stopped, where it was told so.
    stops: Option<Instant>,
    /// Of a replica: what the server was told last of how it is.
    pub(crate) readied: Option<Readied>,
    /// Sweep during which it started, and whether that was told.
    sweep: u32,
    told: bool,
}

/// Why an attempt is being stopped, which decides what is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopping {
    /// Nobody wants to hear of it any more.
    Silently,
    /// The worker goes away: the task is given back.
    Returned,
    /// For the sake of another task: the server is told that it has stopped.
    Preempted,
}

/// What to start: a place was taken for it.
pub(crate) struct Starting<E: Executor> {
    pub(crate) token: u64,
    pub(crate) job: Arc<Job<E>>,
    pub(crate) index: u32,
    pub(crate) attempt: u32,
    pub(crate) granted: Granted,
    pub(crate) checkpoint: Option<Bytes>,
    pub(crate) streams: Option<Arc<Streams>>,
}

/// An attempt that has ended.
pub(crate) struct Past {
    pub(crate) job: JobId,
    pub(crate) index: u32,
    pub(crate) attempt: u32,
    pub(crate) streams: Option<Arc<Streams>>,
    pub(crate) stopping: Option<Stopping>,
}

/// The attempt that takes the place of one that ended.
pub(crate) struct Following {
    pub(crate) token: u64,
    pub(crate) index: u32,
    pub(crate) attempt: u32,
    pub(crate) input: GivenInput,
    pub(crate) wants_scratch: bool,
    pub(crate) seed: Option<[u8; 32]>,
    /// It was the last of its run: what is next in the queue may fit besides.
    pub(crate) was_last: bool,
}

/// What was wanted of an attempt before it had a handle.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meanwhile {
    pub(crate) stopped: bool,
    pub(crate) frozen: bool,
    pub(crate) stops: Option<Instant>,
}

struct Place<E: Executor> {
    generation: u32,
    running: Option<Running<E>>,
}

/// The slots of one node.
pub(crate) struct Slots<E: Executor> {
    free: Resources,
    /// CPU that tasks hold which was not free when they went on after a freeze.
    cpu_owed: u32,
    paused: bool,
    queue: VecDeque<Run<E>>,
    /// Runs whose job is being set up.
    aside: BTreeMap<JobId, Vec<Run<E>>>,
    queued: u64,
    order: u64,
    places: Vec<Place<E>>,
    vacant: Vec<u32>,
    sweep: u32,
    /// Streams of tasks that are followed before they start.
    awaited: HashMap<TaskId, Arc<Streams>>,
}

impl<E: Executor> Slots<E> {
    /// All of `capacity` is free.
    pub(crate) fn new(capacity: Resources) -> Self {
        Self {
            free: capacity,
            cpu_owed: 0,
            paused: false,
            queue: VecDeque::new(),
            aside: BTreeMap::new(),
            queued: 0,
            order: 0,
            places: Vec::new(),
            vacant: Vec::new(),
            sweep: 0,
            awaited: HashMap::new(),
        }
    }

    /// Adds attempts to the queue that hold what the job's first request asks for.
    #[cfg(test)]
    pub(crate) fn enqueue(
        &mut self,
        job: &Arc<Job<E>>,
        attempt: u32,
        tasks: IndexRange,
        checkpoint: Option<Bytes>,
    ) -> Result<(), IndexRange> {
        self.enqueue_granted(job, attempt, tasks, checkpoint, Granted::default())
    }

    /// Adds attempts to the queue, which were granted that; gives them
    /// back where too many wait already.
    pub(crate) fn enqueue_granted(
        &mut self,
        job: &Arc<Job<E>>,
        attempt: u32,
        tasks: IndexRange,
        checkpoint: Option<Bytes>,
        granted: Granted,
    ) -> Result<(), IndexRange> {
        let count = u64::from(tasks.end() - tasks.first);
        if self.queued + count > MAX_QUEUED {
            return Err(tasks);
        }
        self.queued += count;
        self.order += 1;
        let order = self.order;
        let run = Run { job: job.clone(), attempt, tasks, checkpoint, granted, order };
        if job.setup.get().is_some() {
            self.queue.push_back(run);
        } else {
            self.aside.entry(job.id).or_default().push(run);
        }
        Ok(())
    }

    /// The job's tasks can start: they take their place in the order.
    pub(crate) fn on_set_up(&mut self, job: JobId) {
        for run in self.aside.remove(&job).unwrap_or_default() {
            let at = self.queue.partition_point(|other| other.order < run.order);
            self.queue.insert(at, run);
        }
    }

    /// The job's tasks can never start: takes those out that stand aside.
    pub(crate) fn take_aside(&mut self, job: JobId) -> Vec<Run<E>> {
        let runs = self.aside.remove(&job).unwrap_or_default();
        let taken: Vec<_> = runs
            .iter()
            .map(|run| Assignment { job, attempt: run.attempt, tasks: run.tasks })
            .collect();
        // Whoever follows one of them must not wait for a start that never comes.
        self.on_taken(&taken);
        runs
    }

    /// Whether tasks may start. Pausing touches nothing that runs.
    pub(crate) fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Takes a place and resources for the next task, if it fits now.
    pub(crate) fn take_next(&mut self) -> Option<Starting<E>> {
        if self.paused {
            return None;
        }
        let run = self.queue.front_mut()?;
        self.free = self.free.checked_sub(run.job.takes(&run.granted))?;
        let granted = run.granted.clone();
        let (index, attempt, job) = (run.tasks.first, run.attempt, run.job.clone());
        let checkpoint = run.checkpoint.take();
        self.take_first();
        let streams = self.streams_at_start(&job, index);
        let token = self.occupy(Running {
            job: job.clone(),
            index,
            attempt,
            granted: granted.clone(),
            handle: None,
            streams: streams.clone(),
            stopping: None,
            frozen: false,
            stops: None,
            readied: None,
            sweep: self.sweep,
            told: false,
        });
        Some(Starting { token, job, index, attempt, granted, checkpoint, streams })
    }

    /// Takes the first task out of the first run. Says whether it was the last there.
    fn take_first(&mut self) -> bool {
        let Some(run) = self.queue.front_mut() else { return false };
        run.tasks.first += 1;
        run.tasks.count -= 1;
        let was_last = run.tasks.count == 0;
        if was_last {
            self.queue.pop_front();
        }
        self.queued -= 1;
        was_last
    }

    fn streams_at_start(&mut self, job: &Arc<Job<E>>, index: u32) -> Option<Arc<Streams>> {
        let awaited =
            if self.awaited.is_empty() { None } else { self.awaited.remove(&job.id.task(index)) };
        awaited.or_else(|| job.is_attached().then(|| Arc::new(Streams::new(&job.spec))))
    }

    fn occupy(&mut self, running: Running<E>) -> u64 {
        let at = self.vacant.pop().unwrap_or_else(|| {
            self.places.push(Place { generation: 0, running: None });
            self.places.len() as u32 - 1
        });
        let generation = match self.places.get_mut(at as usize) {
            Some(place) => {
                place.running = Some(running);
                place.generation
            }
            None => 0,
        };
        u64::from(generation) << 32 | u64::from(at)
    }

    /// The attempt named by `token`, while it runs.
    pub(crate) fn running_mut(&mut self, token: u64) -> Option<&mut Running<E>> {
        let place = self.places.get_mut(token as u32 as usize)?;
        if u64::from(place.generation) != token >> 32 {
            return None;
        }
        place.running.as_mut()
    }

    /// It was started. Says what was wanted of it meanwhile.
    pub(crate) fn on_started(&mut self, token: u64, handle: Held<E>) -> Meanwhile {
        let Some(running) = self.running_mut(token) else { return Meanwhile::default() };
        running.handle = Some(handle);
        // A replica that was told ends when its requests do.
        let drains = running.stops.is_some() && running.stopping == Some(Stopping::Preempted);
        let stopped = running.stopping.is_some() && !(drains && running.job.http().is_some());
        Meanwhile { stopped, frozen: running.frozen, stops: running.stops }
    }

    /// It has ended, and the next in the queue is of the same job: that takes its place,
    /// resources and handle as they are. `None` if it has ended already, or if something
    /// has to be looked at before the next may start.
    pub(crate) fn on_followed(&mut self, token: u64) -> Option<(Past, Following)> {
        if self.paused || self.cpu_owed > 0 {
            return None;
        }
        let run = self.queue.front()?;
        let (index, attempt) = (run.tasks.first, run.attempt);
        let is_plain = run.checkpoint.is_none() && !run.job.is_attached();
        let place = self.places.get_mut(token as u32 as usize)?;
        let running = place.running.as_mut().filter(|_| {
            // As everywhere: a token of an earlier attempt names nothing.
            u64::from(place.generation) == token >> 32
        })?;
        if running.frozen {
            // What it holds is not what the next one takes.
            return None;
        }
        if !is_plain || running.granted != run.granted || !Arc::ptr_eq(&running.job, &run.job) {
            return None;
        }
        let setup = running.job.setup.get()?;
        let Some(Held::Task(handle)) = running.handle.take() else { return None };
        place.generation = place.generation.wrapping_add(1);
        let token = u64::from(place.generation) << 32 | u64::from(token as u32);
        let past = Past {
            job: running.job.id,
            index: std::mem::replace(&mut running.index, index),
            attempt: std::mem::replace(&mut running.attempt, attempt),
            streams: running.streams.take(),
            stopping: running.stopping.take(),
        };
        running.handle = Some(Held::Task(E::followed_by(handle, token)));
        running.stops = None;
        (running.sweep, running.told) = (self.sweep, false);
        if !self.awaited.is_empty() {
            running.streams = self.awaited.remove(&running.job.id.task(index));
        }
        let (input, wants_scratch) = (setup.input.of_task(index), setup.wants_scratch());
        let seed = setup.seed_of(index);
        let was_last = self.take_first();
        Some((past, Following { token, index, attempt, input, wants_scratch, seed, was_last }))
    }

    /// It has ended: its place and resources are free again.
    pub(crate) fn on_ended(&mut self, token: u64) -> Option<Past> {
        let at = token as u32;
        let place = self.places.get_mut(at as usize)?;
        if u64::from(place.generation) != token >> 32 {
            return None;
        }
        let running = place.running.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.vacant.push(at);
        let mut request = *running.job.takes(&running.granted);
        if running.frozen {
            request.cpu_milli = 0;
        }
        if let Some(free) = self.free.checked_add(&request) {
            self.free = free;
            self.pay_cpu();
        }
        let Running { index, attempt, streams, stopping, .. } = running;
        Some(Past { job: running.job.id, index, attempt, streams, stopping })
    }

    /// Takes those of `wanted` out of the queue that have not started.
    pub(crate) fn take_queued(&mut self, wanted: &[Assignment]) -> Vec<Assignment> {
        let mut by_attempt: HashMap<(JobId, u32), Vec<IndexRange>> = HashMap::new();
        for each in wanted {
            by_attempt.entry((each.job, each.attempt)).or_default().push(each.tasks);
        }
        let mut taken = Vec::new();
        let mut kept = VecDeque::with_capacity(self.queue.len());
        for run in self.queue.drain(..) {
            cut_all(run, &by_attempt, &mut taken, &mut |run| kept.push_back(run));
        }
        self.queue = kept;
        let jobs: BTreeSet<JobId> = wanted.iter().map(|each| each.job).collect();
        for job in jobs {
            let mut left = Vec::new();
            for run in self.aside.remove(&job).unwrap_or_default() {
                cut_all(run, &by_attempt, &mut taken, &mut |run| left.push(run));
            }
            if !left.is_empty() {
                self.aside.insert(job, left);
            }
        }
        self.on_taken(&taken);
        taken
    }

    fn on_taken(&mut self, taken: &[Assignment]) {
        self.queued -= taken.iter().map(|each| u64::from(each.tasks.count)).sum::<u64>();
        self.awaited.retain(|task, streams| {
            let gone =
                taken.iter().any(|each| each.job == task.job && each.tasks.contains(task.index));
            if gone {
                streams.close();
            }
            !gone
        });
    }

    /// Everything that waits, in the order of assignment.
    pub(crate) fn queued(&self) -> impl Iterator<Item = (&Arc<Job<E>>, Assignment)> {
        self.queue.iter().chain(self.aside.values().flatten()).map(|run| {
            let assignment = Assignment { job: run.job.id, attempt: run.attempt, tasks: run.tasks };
            (&run.job, assignment)
        })
    }

    /// How many wait.
    pub(crate) fn queued_count(&self) -> u64 {
        self.queued
    }

    /// Everything that runs.
    pub(crate) fn running(&self) -> impl Iterator<Item = &Running<E>> {
        self.places.iter().filter_map(|place| place.running.as_ref())
    }

    /// How many run.
    pub(crate) fn running_count(&self) -> usize {
        self.places.len() - self.vacant.len()
    }

    /// Marks running attempts as being stopped. Whoever asked stops the handles, without
    /// holding the slots: an attempt may end within that very call.
    #[must_use]
    pub(crate) fn stop(
        &mut self,
        why: Stopping,
        mut wanted: impl FnMut(&Running<E>) -> bool,
    ) -> Vec<Held<E>> {
        let mut stopped = Vec::new();
        for running in self.places.iter_mut().filter_map(|place| place.running.as_mut()) {
            if running.stopping == Some(Stopping::Silently) || !wanted(running) {
                continue;
            }
            running.stopping = Some(why);
            stopped.extend(running.handle.clone());
        }
        stopped
    }

    /// Marks all replicas as going away with the worker; whoever asked drains them.
    #[must_use]
    pub(crate) fn drain_replicas(&mut self) -> Vec<Arc<Hosted<E>>> {
        let mut replicas = Vec::new();
        for running in self.places.iter_mut().filter_map(|place| place.running.as_mut()) {
            if let Some(Held::Replica(hosted)) = &running.handle {
                running.stopping.get_or_insert(Stopping::Returned);
                replicas.push(Arc::clone(hosted));
            }
        }
        replicas
    }

    /// Marks an attempt as frozen or not; the caller tells the handle. Its CPU is another's
    /// as long as it is.
    pub(crate) fn freeze(&mut self, wanted: &Assignment, frozen: bool) -> Option<Held<E>> {
        let running = self.find(wanted)?;
        let was = std::mem::replace(&mut running.frozen, frozen);
        let (cpu, handle) = (running.job.takes(&running.granted).cpu_milli, running.handle.clone());
        match (was, frozen) {
            (false, true) => {
                self.free.cpu_milli = self.free.cpu_milli.saturating_add(cpu);
                self.pay_cpu();
            }
            (true, false) => {
                self.cpu_owed = self.cpu_owed.saturating_add(cpu);
                self.pay_cpu();
            }
            _ => {}
        }
        handle
    }

    /// Takes what is owed out of what is free.
    fn pay_cpu(&mut self) {
        let paid = self.cpu_owed.min(self.free.cpu_milli);
        self.cpu_owed -= paid;
        self.free.cpu_milli -= paid;
    }

    /// Notes when an attempt will be stopped; the caller tells the handle.
    pub(crate) fn notify(&mut self, wanted: &Assignment, stops: Instant) -> Option<Held<E>> {
        let running = self.find(wanted)?;
        running.stops = Some(stops);
        if running.job.http().is_some() {
            // It ends when its requests do, and not by itself.
            running.stopping.get_or_insert(Stopping::Preempted);
        }
        running.handle.clone()
    }

    fn find(&mut self, wanted: &Assignment) -> Option<&mut Running<E>> {
        let running = self.places.iter_mut().filter_map(|place| place.running.as_mut());
        running.into_iter().find(|running| running.is_of(wanted))
    }

    /// Called about every 100 ms while tasks run: those that have run for a whole interval
    /// and were not told of yet.
    pub(crate) fn sweep(&mut self) -> Vec<Assignment> {
        let now = self.sweep;
        self.sweep = self.sweep.wrapping_add(1);
        let mut long = Vec::new();
        for running in self.places.iter_mut().filter_map(|place| place.running.as_mut()) {
            if !running.told && running.sweep != now {
                running.told = true;
                long.push(running.assignment());
            }
        }
        long
    }

    /// Whether a sweep would have something to tell, now or at the next one.
    pub(crate) fn wants_sweep(&self) -> bool {
        self.running().any(|running| !running.told)
    }

    /// The streams of a task that runs or waits here, and whether it runs; makes them if
    /// nobody asked before.
    pub(crate) fn streams_of(&mut self, task: TaskId) -> Option<Arc<Streams>> {
        for running in self.places.iter_mut().filter_map(|place| place.running.as_mut()) {
            if running.job.id == task.job && running.index == task.index {
                return Some(running.streams().clone());
            }
        }
        let job = self.queued().find_map(|(job, run)| {
            (run.job == task.job && run.tasks.contains(task.index)).then(|| job.clone())
        })?;
        let streams = self.awaited.entry(task).or_insert_with(|| Arc::new(Streams::new(&job.spec)));
        Some(streams.clone())
    }
}

impl<E: Executor> Running<E> {
    /// Whether it is one of `wanted`.
    pub(crate) fn is_of(&self, wanted: &Assignment) -> bool {
        self.job.id == wanted.job
            && self.attempt == wanted.attempt
            && wanted.tasks.contains(self.index)
    }

    /// It alone.
    pub(crate) fn assignment(&self) -> Assignment {
        Assignment { job: self.job.id, attempt: self.attempt, tasks: IndexRange::one(self.index) }
    }

    /// Its streams, made now if they were not.
    pub(crate) fn streams(&mut self) -> &Arc<Streams> {
        let spec = &self.job.spec;
        self.streams.get_or_insert_with(|| Arc::new(Streams::new(spec)))
    }
}

/// Splits `run` into what is wanted, which goes to `taken`, and the rest, which is kept.
fn cut_all<E: Executor>(
    run: Run<E>,
    wanted: &HashMap<(JobId, u32), Vec<IndexRange>>,
    taken: &mut Vec<Assignment>,
    keep: &mut impl FnMut(Run<E>),
) {
    let Some(ranges) = wanted.get(&(run.job.id, run.attempt)) else { return keep(run) };
    let mut rest = vec![run.tasks];
    for range in ranges {
        for part in std::mem::take(&mut rest) {
            // What lies before, in and after the range; ranges may overlap each other.
            let from = range.first.clamp(part.first, part.end());
            let to = range.end().clamp(from, part.end());
            if from < to {
                let tasks = IndexRange { first: from, count: to - from };
                taken.push(Assignment { job: run.job.id, attempt: run.attempt, tasks });
            }
            let around = [(part.first, from), (to, part.end())];
            rest.extend(
                around
                    .into_iter()
                    .filter(|(first, end)| first < end)
                    .map(|(first, end)| IndexRange { first, count: end - first }),
            );
        }
    }
    for tasks in rest {
        keep(Run {
            job: run.job.clone(),
            attempt: run.attempt,
            tasks,
            checkpoint: run.checkpoint.clone(),
            granted: run.granted.clone(),
            order: run.order,
        });
    }
}
