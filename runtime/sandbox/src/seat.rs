//! A seat at the guest threads, and the task that sits on it: where that is between start
//! and end, whose turn it is, and what happens at the end. Freezing is not giving a turn.
//!
//! When a task has ended, the next of its job may take the seat and run on at once: the
//! place in the pool, the memory of the future and the handle stay, and no lock that other
//! threads want is touched. If others wait, it queues at the place where its predecessor
//! would: what a seat owes, it owes for all its tasks, so that many small ones together get
//! no more than a large one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;
use wrun_protocol::task::{Failure, Outcome, Usage};

use crate::clock::Clock;
use crate::control::{Batch, Control};
use crate::fair::Virtual;
use crate::frame::{Frame, frame};
use crate::guests::{Guest, Member};
use crate::permits::Demand;
use crate::run::{Execution, Finished, run};
use crate::{NextTask, TaskEnd};

/// One task after the other, all of one job.
pub(crate) struct Seat {
    pub(crate) number: u64,
    batch: Arc<Batch>,
    demand: Demand,
    place: Mutex<Place>,
    work: Mutex<Work>,
}

/// What there is to do. The future and all it will hold are made at the first turn, so
/// that a task that waits takes little.
#[derive(Default)]
struct Work {
    start: Option<Execution>,
    frame: Option<Box<dyn Frame<Execution, Finished>>>,
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
    /// It is over; another may follow.
    Ended,
    /// It is over, and none followed.
    Vacant,
}

struct Place {
    control: Arc<Control>,
    phase: Phase,
    /// It was woken while polled or frozen.
    woken: bool,
    /// It holds a place in the pool.
    admitted: bool,
    at: Virtual,
    timer: Option<AbortHandle>,
    /// What is wanted of tasks of which the node knows already that they follow.
    early: Vec<Early>,
}

/// What was wanted of a task before it took the seat.
#[derive(Clone, Copy, Debug)]
struct Early {
    token: u64,
    stopped: bool,
    frozen: bool,
    stops: Option<Instant>,
}

impl Seat {
    pub(crate) fn new(number: u64, batch: Arc<Batch>, demand: Demand, first: NextTask) -> Self {
        let execution = execution(&batch, first);
        let place = Place {
            control: Arc::clone(&execution.control),
            phase: Phase::Admission,
            woken: false,
            admitted: false,
            at: Virtual::default(),
            timer: None,
            early: Vec::new(),
        };
        let work = Work { start: Some(execution), frame: None };
        Self { number, batch, demand, place: Mutex::new(place), work: Mutex::new(work) }
    }

    pub(crate) fn stop(self: &Arc<Self>, token: u64) {
        let mut place = self.place();
        if place.control.token == token {
            place.control.stop();
            self.end_soon(&mut place);
        } else if let Some(early) = place.early(token) {
            early.stopped = true;
        }
    }

    pub(crate) fn freeze(&self, token: u64) {
        let mut place = self.place();
        if place.control.token == token {
            place.control.set_frozen(true, Instant::now());
        } else if let Some(early) = place.early(token) {
            early.frozen = true;
        }
    }

    pub(crate) fn notify(&self, token: u64, stops: Instant) {
        let mut place = self.place();
        if place.control.token == token {
            place.control.notify(stops);
        } else if let Some(early) = place.early(token) {
            early.stops = Some(stops);
        }
    }

    pub(crate) fn thaw(self: &Arc<Self>, token: u64) {
        let mut place = self.place();
        if place.control.token != token {
            if let Some(early) = place.early(token) {
                early.frozen = false;
            }
            return;
        }
        if !place.control.set_frozen(false, Instant::now()) || place.phase != Phase::Waiting {
            return;
        }
        if place.woken {
            self.queue(&mut place);
        } else {
            self.set_timer(&mut place);
        }
    }

    pub(crate) fn cpu_used(&self, token: u64) -> Duration {
        let place = self.place();
        if place.control.token == token { place.control.cpu_used() } else { Duration::ZERO }
    }

    fn begin_turn(&self) -> Option<Arc<Control>> {
        let mut place = self.place();
        if place.phase != Phase::Queued {
            return None;
        }
        if place.control.is_frozen() && !place.control.must_end() {
            place.phase = Phase::Waiting;
            place.woken = true;
            return None;
        }
        place.phase = Phase::Polled;
        place.woken = false;
        Some(Arc::clone(&place.control))
    }

    /// One turn; then the task that follows at once, if one does.
    fn turn_of(
        self: &Arc<Self>,
        control: &Arc<Control>,
        clock: &mut Clock,
    ) -> Option<Arc<Control>> {
        control.start(clock.wall());
        control.on_run(clock.cpu());
        control.check_wall(|| clock.wall());
        let polled = if control.must_end() { Poll::Pending } else { self.poll() };
        let finished = match polled {
            Poll::Ready(finished) => Some(finished),
            Poll::Pending => control.must_end().then(|| cut_off(control)),
        };
        if finished.is_some() {
            // The store goes first: what it held must be free when the end is told, and
            // taking it down is the task's own time.
            self.drop_work();
        }
        clock.look();
        let used = control.on_pause(clock.cpu());
        let owed = if self.batch.guests.others_wait() { used } else { 0 };
        // The turn itself may have used time up.
        match finished {
            Some(finished) => self.end(control, finished, owed, clock.wall()),
            None if control.must_end() => {
                self.drop_work();
                self.end(control, cut_off(control), owed, clock.wall())
            }
            None => {
                self.end_turn(control, owed);
                None
            }
        }
    }

    fn drop_work(&self) {
        let mut work = self.work();
        let never_started = work.start.take();
        if let Some(frame) = &mut work.frame {
            frame.clear();
        }
        drop(work);
        drop(never_started);
    }

    fn poll(self: &Arc<Self>) -> Poll<Finished> {
        let waker = Waker::from(Arc::clone(self));
        let mut work = self.work();
        let Work { start, frame: held } = &mut *work;
        let held = held.get_or_insert_with(|| frame(run));
        let polled = AssertUnwindSafe(|| {
            if let Some(execution) = start.take() {
                held.load(execution);
            }
            held.poll(&mut Context::from_waker(&waker))
        });
        catch_unwind(polled).unwrap_or_else(|_| {
            let message = "the sandbox failed while running it; please report this".to_owned();
            Poll::Ready((Outcome::Failed(Failure::Setup { message }), None))
        })
    }

    fn end_turn(self: &Arc<Self>, control: &Control, owed: u64) {
        let mut place = self.place();
        place.at = place.at.after(owed, control.job().resources.cpu_milli);
        if place.woken && !control.is_frozen() {
            place.phase = Phase::Queued;
            self.batch.guests.requeue(place.at, self.clone());
            return;
        }
        place.phase = Phase::Waiting;
        if control.must_end() {
            self.queue(&mut place);
        } else {
            self.set_timer(&mut place);
        }
    }

    fn end(
        self: &Arc<Self>,
        control: &Arc<Control>,
        finished: Finished,
        owed: u64,
        now: Instant,
    ) -> Option<Arc<Control>> {
        let mut place = self.place();
        place.phase = Phase::Ended;
        place.at = place.at.after(owed, control.job().resources.cpu_milli);
        let admitted = place.admitted;
        let timer = place.timer.take();
        drop(place);
        if let Some(timer) = timer {
            timer.abort();
        }
        let (outcome, output) = finished;
        let end = TaskEnd { outcome, usage: usage(control, now), output };
        if control.scratch.to_remove().is_some() {
            let (seat, control) = (Arc::clone(self), Arc::clone(control));
            let removal = move || {
                remove_scratch(&control);
                seat.end_for_good(&control, end);
            };
            self.batch.guests.io().spawn_blocking(removal);
            return None;
        }
        if !admitted || self.batch.guests.is_closed() {
            self.end_for_good(control, end);
            return None;
        }
        let Some(next) = control.events().hand_over(control.token, end) else {
            self.vacate();
            control.events().vacated();
            self.batch.guests.leave(self.number);
            return None;
        };
        self.follow(next)
    }

    fn end_for_good(&self, control: &Control, end: TaskEnd) {
        self.vacate();
        control.events().ended(control.token, end);
        self.batch.guests.leave(self.number);
    }

    fn vacate(&self) {
        let mut place = self.place();
        place.phase = Phase::Vacant;
        place.early = Vec::new();
        let admitted = std::mem::take(&mut place.admitted);
        drop(place);
        if admitted {
            self.release();
        }
    }

    /// The next task takes the seat. It runs on now, unless others wait.
    fn follow(self: &Arc<Self>, next: NextTask) -> Option<Arc<Control>> {
        let execution = execution(&self.batch, next);
        let control = Arc::clone(&execution.control);
        self.work().start = Some(execution);
        let mut place = self.place();
        let wanted = std::mem::take(&mut place.early);
        for wanted in wanted.iter().filter(|wanted| wanted.token == control.token) {
            if wanted.frozen {
                control.set_frozen(true, Instant::now());
            }
            if let Some(stops) = wanted.stops {
                control.notify(stops);
            }
            if wanted.stopped {
                control.stop();
            }
        }
        place.control = Arc::clone(&control);
        place.woken = false;
        // Whoever closes the sandbox says so first and then stops what is on each seat.
        if self.batch.guests.is_closed() {
            control.stop();
        }
        if self.batch.guests.others_wait() || control.is_frozen() {
            self.queue(&mut place);
            return None;
        }
        place.phase = Phase::Polled;
        Some(control)
    }

    /// Gives it a turn in which it ends, wherever it is.
    fn end_soon(self: &Arc<Self>, place: &mut Place) {
        if matches!(place.phase, Phase::Admission | Phase::Waiting) {
            self.queue(place);
        }
    }

    fn queue(self: &Arc<Self>, place: &mut Place) {
        place.phase = Phase::Queued;
        place.at = self.batch.guests.push(place.at, self.clone());
    }

    fn release(&self) {
        self.batch.guests.release(self.batch.prepared.facts.flavor, self.demand);
    }

    /// A guest that waits for the host is not asked at ticks: a timer ends it in time.
    fn set_timer(self: &Arc<Self>, place: &mut Place) {
        if place.timer.is_some() || self.batch.job.limits.wall_ms.is_none() {
            return;
        }
        let watch = watch(Arc::downgrade(self), place.control.token);
        place.timer = Some(self.batch.guests.io().spawn(watch).abort_handle());
    }

    /// How long to wait before looking again; `None` ends the watch.
    fn on_timer(self: &Arc<Self>, token: u64) -> Option<Duration> {
        let mut place = self.place();
        if place.control.token != token || place.phase == Phase::Ended {
            return None;
        }
        if place.control.is_frozen() {
            place.timer = None;
            return None;
        }
        let left = place.control.wall_left(Instant::now())?;
        if !left.is_zero() {
            return Some(left);
        }
        place.control.check_wall(Instant::now);
        self.end_soon(&mut place);
        None
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Where to note what is wanted of a task that is not here yet. A task that none
    /// follows anymore, or that was here before, wants nothing.
    fn early(&mut self, token: u64) -> Option<&mut Early> {
        if self.phase != Phase::Ended {
            return None;
        }
        if !self.early.iter().any(|early| early.token == token) {
            self.early.push(Early { token, stopped: false, frozen: false, stops: None });
        }
        self.early.iter_mut().find(|early| early.token == token)
    }
}

fn execution(batch: &Arc<Batch>, task: NextTask) -> Execution {
    let NextTask { token, index, attempt, input, checkpoint, scratch, seed } = task;
    let control = Arc::new(Control::new(token, Arc::clone(batch), scratch, seed));
    Execution { control, index, attempt, input, checkpoint }
}

/// Why a guest that did not come to its own end was ended.
fn cut_off(control: &Control) -> Finished {
    let failure = match control.reached() {
        Some((limit, allowed)) => Failure::Limit { limit, allowed },
        None => Failure::Cancelled,
    };
    (Outcome::Failed(failure), None)
}

fn usage(control: &Control, now: Instant) -> Usage {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    Usage {
        wall_us: micros(control.wall_time(now)),
        cpu_us: micros(control.cpu_used()),
        frozen_us: micros(control.frozen_time(now)),
        peak_memory: control.account.peak(),
    }
}

fn remove_scratch(control: &Control) {
    if let Some(path) = control.scratch.to_remove() {
        crate::scratch::remove(path);
    }
}

async fn watch(seat: Weak<Seat>, token: u64) {
    while let Some(left) = seat.upgrade().and_then(|seat| seat.on_timer(token)) {
        tokio::time::sleep(left).await;
    }
}

impl Guest for Seat {
    fn on_admitted(self: Arc<Self>) {
        let mut place = self.place();
        place.admitted = true;
        if place.phase == Phase::Admission {
            self.queue(&mut place);
            return;
        }
        // Stopped between leaving the line and now: whoever ends it has looked already,
        // or will see that it is admitted.
        if place.phase == Phase::Vacant {
            place.admitted = false;
            drop(place);
            self.release();
        }
    }

    fn has_left(&self) -> bool {
        self.place().phase != Phase::Admission
    }

    /// Further turns follow for as long as a task follows that ended and nobody else waits.
    fn turn(self: Arc<Self>, clock: &mut Clock) {
        let mut control = self.begin_turn();
        while let Some(current) = control {
            control = self.turn_of(&current, clock);
        }
    }
}

impl Member for Seat {
    /// Stops whatever task is here.
    fn close(self: Arc<Self>) {
        let mut place = self.place();
        place.control.stop();
        self.end_soon(&mut place);
    }
}

impl Wake for Seat {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut place = self.place();
        match place.phase {
            Phase::Polled => place.woken = true,
            Phase::Waiting if place.control.is_frozen() => place.woken = true,
            Phase::Waiting => self.queue(&mut place),
            Phase::Admission | Phase::Queued | Phase::Ended | Phase::Vacant => {}
        }
    }
}
