//! One task on the guests' threads: where it is between start and end, whose turn it
//! is, and what happens at the end. Freezing is not giving it a turn.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;
use wrun_protocol::task::{Failure, Outcome, Usage};

use crate::TaskEnd;
use crate::control::Control;
use crate::cpu::thread_time;
use crate::engines::Flavor;
use crate::fair::Virtual;
use crate::guests::Guests;
use crate::permits::Demand;
use crate::run::{Execution, Finished};
use crate::scratch::Scratch;

type Running = Pin<Box<dyn Future<Output = Finished> + Send>>;

/// A task from start to end.
pub(crate) struct Task {
    pub(crate) control: Arc<Control>,
    pub(crate) number: u64,
    pub(crate) guests: Arc<Guests>,
    pub(crate) flavor: Flavor,
    pub(crate) demand: Demand,
    pub(crate) scratch: Arc<Scratch>,
    place: Mutex<Place>,
    work: Mutex<Work>,
}

/// What there is to do. The future and all it will hold are made at the first turn, so
/// that a task that waits takes little.
enum Work {
    Start(Execution),
    Running(Running),
    Done,
}

/// Where a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It waits for a place in the pool.
    Admission,
    /// It is in the queue.
    Queued,
    /// A guest thread polls it.
    Polled,
    /// It waits for the host, or is frozen.
    Waiting,
    /// It is over.
    Ended,
}

struct Place {
    phase: Phase,
    /// It was woken while polled or frozen.
    woken: bool,
    /// It holds a place in the pool.
    admitted: bool,
    at: Virtual,
    timer: Option<AbortHandle>,
}

impl Task {
    pub(crate) fn new(
        control: Arc<Control>,
        number: u64,
        guests: Arc<Guests>,
        flavor: Flavor,
        demand: Demand,
        scratch: Arc<Scratch>,
        execution: Execution,
    ) -> Self {
        let place = Place {
            phase: Phase::Admission,
            woken: false,
            admitted: false,
            at: Virtual::default(),
            timer: None,
        };
        Self {
            control,
            number,
            guests,
            flavor,
            demand,
            scratch,
            place: Mutex::new(place),
            work: Mutex::new(Work::Start(execution)),
        }
    }

    /// It has a place in the pool.
    pub(crate) fn on_admitted(self: &Arc<Self>) {
        let mut place = self.place();
        place.admitted = true;
        if place.phase == Phase::Admission {
            self.queue(&mut place);
            return;
        }
        // Stopped between leaving the line and now: whoever ends it has looked already,
        // or will see that it is admitted.
        if place.phase == Phase::Ended {
            place.admitted = false;
            drop(place);
            self.guests.release(self.flavor, self.demand);
        }
    }

    /// Whether it no longer waits for a place.
    pub(crate) fn has_left(&self) -> bool {
        self.place().phase != Phase::Admission
    }

    pub(crate) fn stop(self: &Arc<Self>) {
        self.control.stop();
        self.end_soon();
    }

    pub(crate) fn freeze(&self) {
        self.control.set_frozen(true, Instant::now());
    }

    pub(crate) fn thaw(self: &Arc<Self>) {
        if !self.control.set_frozen(false, Instant::now()) {
            return;
        }
        let mut place = self.place();
        if place.phase != Phase::Waiting {
            return;
        }
        if place.woken {
            self.queue(&mut place);
        } else {
            self.set_timer(&mut place);
        }
    }

    /// Takes a turn on the calling thread, whose CPU clock was last at `clock`.
    pub(crate) fn turn(self: &Arc<Self>, clock: &mut u64) {
        if !self.begin_turn() {
            return;
        }
        let control = &self.control;
        let now = Instant::now();
        control.start(now);
        control.on_run(*clock);
        control.check_wall(|| now);
        let polled = if control.must_end() { Poll::Pending } else { self.poll() };
        let finished = match polled {
            Poll::Ready(finished) => Some(finished),
            Poll::Pending => control.must_end().then(|| (Self::cut_off(control), None)),
        };
        if finished.is_some() {
            // The store goes first: what it held must be free when the end is told, and
            // taking it down is the task's own time.
            self.drop_work();
        }
        *clock = thread_time();
        let used = control.on_pause(*clock);
        // The turn itself may have used time up.
        match finished {
            Some(finished) => self.end(finished),
            None if control.must_end() => {
                self.drop_work();
                self.end((Self::cut_off(control), None));
            }
            None => self.end_turn(used),
        }
    }

    fn drop_work(&self) {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let done = std::mem::replace(&mut *work, Work::Done);
        drop(work);
        drop(done);
    }

    fn begin_turn(&self) -> bool {
        let mut place = self.place();
        if place.phase != Phase::Queued {
            return false;
        }
        if self.control.is_frozen() && !self.control.must_end() {
            place.phase = Phase::Waiting;
            place.woken = true;
            return false;
        }
        place.phase = Phase::Polled;
        place.woken = false;
        true
    }

    fn poll(self: &Arc<Self>) -> Poll<Finished> {
        let waker = Waker::from(Arc::clone(self));
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        *work = match std::mem::replace(&mut *work, Work::Done) {
            Work::Start(execution) => {
                Work::Running(Box::pin(crate::run::run(execution, Arc::clone(&self.control))))
            }
            other => other,
        };
        let Work::Running(future) = &mut *work else { return Poll::Pending };
        let polled = AssertUnwindSafe(|| future.as_mut().poll(&mut Context::from_waker(&waker)));
        catch_unwind(polled).unwrap_or_else(|_| {
            let message = "the sandbox failed while running it; please report this".to_owned();
            Poll::Ready((Outcome::Failed(Failure::Setup { message }), None))
        })
    }

    fn end_turn(self: &Arc<Self>, used: u64) {
        let mut place = self.place();
        place.at = place.at.after(used, self.control.job.resources.cpu_milli);
        if place.woken && !self.control.is_frozen() {
            place.phase = Phase::Queued;
            self.guests.requeue(place.at, Arc::clone(self));
            return;
        }
        place.phase = Phase::Waiting;
        if self.control.must_end() {
            self.queue(&mut place);
        } else {
            self.set_timer(&mut place);
        }
    }

    /// Why a guest that did not come to its own end was ended.
    fn cut_off(control: &Control) -> Outcome {
        Outcome::Failed(match control.reached() {
            Some((limit, allowed)) => Failure::Limit { limit, allowed },
            None => Failure::Cancelled,
        })
    }

    fn end(self: &Arc<Self>, finished: Finished) {
        let mut place = self.place();
        place.phase = Phase::Ended;
        let timer = place.timer.take();
        let admitted = std::mem::take(&mut place.admitted);
        drop(place);
        if let Some(timer) = timer {
            timer.abort();
        }
        if admitted {
            self.guests.release(self.flavor, self.demand);
        }
        let usage = self.usage();
        let (outcome, output) = finished;
        let end = TaskEnd { outcome, usage, output };
        if self.scratch.to_remove().is_none() {
            self.tell_end(end);
        } else {
            let task = Arc::clone(self);
            self.guests.io().spawn_blocking(move || {
                task.remove_scratch();
                task.tell_end(end);
            });
        }
    }

    fn remove_scratch(&self) {
        if let Some(path) = self.scratch.to_remove()
            && let Err(error) = std::fs::remove_dir_all(path)
        {
            tracing::warn!(path = %path.display(), %error, "a scratch directory is left behind");
        }
    }

    fn tell_end(&self, end: TaskEnd) {
        self.control.events.ended(self.control.token, end);
        self.guests.leave(self.number);
    }

    fn usage(&self) -> Usage {
        let now = Instant::now();
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Usage {
            wall_us: micros(self.control.wall_time(now)),
            cpu_us: micros(self.control.cpu_used()),
            frozen_us: micros(self.control.frozen_time(now)),
            peak_memory: self.control.account.peak(),
        }
    }

    /// Gives it a turn in which it ends, wherever it is.
    fn end_soon(self: &Arc<Self>) {
        let mut place = self.place();
        if matches!(place.phase, Phase::Admission | Phase::Waiting) {
            self.queue(&mut place);
        }
    }

    fn queue(self: &Arc<Self>, place: &mut Place) {
        place.phase = Phase::Queued;
        place.at = self.guests.push(place.at, Arc::clone(self));
    }

    /// A guest that waits for the host is not asked at ticks: a timer ends it in time.
    fn set_timer(self: &Arc<Self>, place: &mut Place) {
        if place.timer.is_some() || self.control.job.limits.wall_ms.is_none() {
            return;
        }
        let task = Arc::downgrade(self);
        place.timer = Some(self.guests.io().spawn(watch(task)).abort_handle());
    }

    /// How long to wait before looking again; `None` ends the watch.
    fn on_timer(self: &Arc<Self>) -> Option<Duration> {
        let mut place = self.place();
        if place.phase == Phase::Ended || self.control.is_frozen() {
            place.timer = None;
            return None;
        }
        drop(place);
        let left = self.control.wall_left(Instant::now())?;
        if !left.is_zero() {
            return Some(left);
        }
        self.control.check_wall(Instant::now);
        self.end_soon();
        None
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn watch(task: Weak<Task>) {
    while let Some(left) = task.upgrade().and_then(|task| task.on_timer()) {
        tokio::time::sleep(left).await;
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut place = self.place();
        match place.phase {
            Phase::Polled => place.woken = true,
            Phase::Waiting if self.control.is_frozen() => place.woken = true,
            Phase::Waiting => self.queue(&mut place),
            Phase::Admission | Phase::Queued | Phase::Ended => {}
        }
    }
}
