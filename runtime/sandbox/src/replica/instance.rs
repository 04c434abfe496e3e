//! One instance of a replica at the guest threads: its turns, the requests that it has, and
//! its end. It has a place in the pool for as long as it lives.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use http::Request;

use super::call::Call;
use super::dispatch::Dispatch;
use super::serve::serve;
use crate::bodies::BUFFERS;
use crate::clock::Clock;
use crate::control::Control;
use crate::fair::Virtual;
use crate::guests::Guest;
use crate::store::Bounded;
use crate::{Body, CallError};

/// Ticks that a guest may take after one of its requests was given up while others go on,
/// without coming to an end of what it does at the moment.
const MOST_TICKS: u32 = 20;

/// How an instance ended.
pub(super) type Ended = Result<(), CallError>;

type Work = Pin<Box<dyn Future<Output = (Ended, Bounded)> + Send>>;

/// An instance.
pub(crate) struct Instance {
    pub(super) number: u64,
    pub(super) dispatch: Arc<Dispatch>,
    pub(super) control: Arc<Control>,
    place: Mutex<Place>,
    /// Made at the first turn, so that one that waits takes little.
    work: Mutex<Option<Work>>,
    calls: Mutex<Calls>,
    /// It gets no more requests.
    retired: AtomicBool,
    /// A caller has to be told.
    news: AtomicBool,
    /// Ticks since it last was where it could take a request.
    ticks: AtomicU32,
    /// A request of it was given up while others go on.
    abandoned: AtomicBool,
    /// Why it is stopped, where that was not from outside.
    reason: OnceLock<CallError>,
}

#[derive(Default)]
struct Calls {
    given: VecDeque<Arc<Call>>,
    under_way: Vec<Arc<Call>>,
    /// Those whose callers do not know yet that they are answered.
    answered: Vec<Arc<Call>>,
    /// The latest deadline of all that it was given: then it is stopped, whatever it does.
    until: Option<Instant>,
    /// Who waits for more of them.
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It waits for a place in the pool.
    Admission,
    /// It is in the queue.
    Queued,
    /// A guest thread polls it.
    Polled,
    /// It waits for the host or for a request, or is frozen.
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
    /// Where it is in the queue.
    at: Virtual,
}

impl Instance {
    pub(super) fn new(number: u64, dispatch: &Arc<Dispatch>, frozen: bool) -> Arc<Self> {
        let identity = &dispatch.identity;
        let scratch = identity.scratch.as_ref().map(|path| path.join(number.to_string()));
        let control = Control::new(identity.token, Arc::clone(&dispatch.batch), scratch, None);
        if frozen {
            control.set_frozen(true, Instant::now());
        }
        let at = Virtual::default();
        let place = Place { phase: Phase::Admission, woken: false, admitted: false, at };
        Arc::new(Self {
            number,
            dispatch: Arc::clone(dispatch),
            control: Arc::new(control),
            place: Mutex::new(place),
            work: Mutex::default(),
            calls: Mutex::default(),
            retired: AtomicBool::new(false),
            news: AtomicBool::new(false),
            ticks: AtomicU32::new(0),
            abandoned: AtomicBool::new(false),
            reason: OnceLock::new(),
        })
    }

    /// A request for it.
    pub(super) fn give(self: &Arc<Self>, call: Arc<Call>) {
        call.assign(self);
        let mut calls = self.calls();
        calls.until = calls.until.max(Some(call.deadline));
        calls.given.push_back(call);
        let waker = calls.waker.take();
        drop(calls);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Its next request; `None` when there will be none.
    pub(super) fn poll_next(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<Option<(Arc<Call>, Request<Body>)>> {
        self.ticks.store(0, Ordering::Relaxed);
        let mut calls = self.calls();
        while let Some(call) = calls.given.pop_front() {
            if let Some(request) = call.begin() {
                calls.under_way.push(Arc::clone(&call));
                return Poll::Ready(Some((call, request)));
            }
            drop(calls);
            self.release_call(&call);
            calls = self.calls();
        }
        if self.retired.load(Ordering::Acquire) {
            return Poll::Ready(None);
        }
        calls.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// Charges what the host may hold of a request; `false` if that is too much.
    pub(super) fn charge(&self) -> bool {
        self.control.account.charge(BUFFERS)
    }

    /// The guest is done with a request that [`Self::poll_next`] gave.
    pub(super) fn on_done(&self, call: &Arc<Call>) {
        self.control.account.release(BUFFERS);
        self.calls().under_way.retain(|other| !Arc::ptr_eq(other, call));
        self.release_call(call);
    }

    fn release_call(&self, call: &Call) {
        if call.leave() {
            self.dispatch.on_done(self);
        }
    }

    /// The guest has answered. The caller is told at the end of its turn: most answers are
    /// complete then, and go in one piece.
    pub(super) fn on_answer(&self, call: &Arc<Call>) {
        self.calls().answered.push(Arc::clone(call));
        self.news.store(true, Ordering::Relaxed);
    }

    /// The caller of a request wants nothing more of it, or its deadline is over. The guest
    /// is stopped; where it has other requests, it is left to finish those.
    pub(super) fn on_abandoned(self: &Arc<Self>, call: &Arc<Call>) {
        let mut calls = self.calls();
        if let Some(index) = calls.given.iter().position(|other| Arc::ptr_eq(other, call)) {
            calls.given.remove(index);
            let idle = calls.under_way.is_empty() && calls.given.is_empty();
            drop(calls);
            if self.dispatch.uses.is_fresh() && idle {
                self.stop();
            }
            self.release_call(call);
            return;
        }
        let is_here = calls.under_way.iter().any(|other| Arc::ptr_eq(other, call));
        let alone = calls.under_way.iter().all(|other| other.is_done());
        drop(calls);
        if !is_here {
            return;
        }
        self.dispatch.retire(self);
        if alone {
            self.stop();
        } else {
            self.abandoned.store(true, Ordering::Release);
        }
    }

    /// Ends requests whose deadline is over, and an instance that has none left and does
    /// not come to its end by then. Returns when to look again.
    pub(super) fn expire(self: &Arc<Self>, now: Instant) -> Option<Instant> {
        let calls = self.calls();
        let all = calls.given.iter().chain(&calls.under_way);
        let over: Vec<_> = all.clone().filter(|call| call.deadline <= now).cloned().collect();
        let mut next = all.map(|call| call.deadline).filter(|deadline| *deadline > now).min();
        let is_idle = calls.given.is_empty() && calls.under_way.is_empty();
        let until = calls.until.filter(|_| is_idle && self.retired.load(Ordering::Acquire));
        drop(calls);
        if let Some(until) = until {
            if until <= now {
                self.stop();
            } else {
                next = Some(until);
            }
        }
        for call in over {
            self.dispatch.fail(&call, |begun| CallError::TimedOut { begun });
            self.on_abandoned(&call);
        }
        next
    }

    /// It gets no more requests, and ends when it has none.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        let waker = self.calls().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ends it, wherever it is.
    pub(super) fn stop(self: &Arc<Self>) {
        self.control.stop();
        let mut place = self.place();
        if matches!(place.phase, Phase::Admission | Phase::Waiting) {
            self.queue(&mut place);
        }
    }

    /// It could not even wait for a place in the pool.
    pub(super) fn refuse(self: &Arc<Self>, error: CallError) {
        self.place().phase = Phase::Ended;
        self.settle(&Err(error));
        self.dispatch.on_left(self);
    }

    pub(super) fn freeze(self: &Arc<Self>, frozen: bool) {
        let mut place = self.place();
        let changed = self.control.set_frozen(frozen, Instant::now());
        if changed && !frozen && place.phase == Phase::Waiting && place.woken {
            self.queue(&mut place);
        }
    }

    /// Whether a request of it was given up while others went on.
    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    /// Called in the guest when the epoch is over.
    pub(crate) fn on_tick(&self) {
        self.tell();
        if self.is_abandoned() && self.ticks.fetch_add(1, Ordering::Relaxed) >= MOST_TICKS {
            let _ = self.reason.set(CallError::TimedOut { begun: true });
            self.control.stop();
        }
    }

    /// Tells the callers of what was answered.
    fn tell(&self) {
        if self.news.swap(false, Ordering::Relaxed) {
            let answered = std::mem::take(&mut self.calls().answered);
            answered.iter().for_each(|call| call.tell());
        }
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

    /// The end, with the store of a guest that came to it.
    fn poll(self: &Arc<Self>) -> Poll<(Ended, Option<Bounded>)> {
        let waker = Waker::from(Arc::clone(self));
        let mut work = self.work();
        let polled = AssertUnwindSafe(|| {
            let work = work.get_or_insert_with(|| Box::pin(serve(Arc::clone(self))));
            let polled = work.as_mut().poll(&mut Context::from_waker(&waker));
            polled.map(|(ended, store)| (ended, Some(store)))
        });
        catch_unwind(polled).unwrap_or_else(|_| {
            let message = "the sandbox failed while running it; please report this".to_owned();
            Poll::Ready((Err(CallError::Setup { message }), None))
        })
    }

    /// Tells everyone what the end means to them, before the store goes: what it had
    /// written looks finished afterwards.
    fn settle(self: &Arc<Self>, ended: &Ended) {
        self.dispatch.retire(self);
        let mut calls = self.calls();
        let given = std::mem::take(&mut calls.given);
        let under_way = std::mem::take(&mut calls.under_way);
        drop(calls);
        let given: Vec<_> = given.into_iter().filter(|call| !call.is_done()).collect();
        for call in &given {
            call.leave();
        }
        if let Err(error) = ended {
            self.fail(&under_way, error);
        }
        let failed_to_start = under_way.is_empty() && ended.is_err();
        for call in &under_way {
            call.leave();
        }
        if failed_to_start {
            let error = ended.clone().err().unwrap_or(CallError::Stopped);
            given.iter().for_each(|call| self.dispatch.fail(call, |_| error.clone()));
        } else {
            self.dispatch.give_back(given);
        }
    }

    fn fail(&self, under_way: &[Arc<Call>], error: &CallError) {
        let shared = (under_way.len() > 1 || self.is_abandoned()) && error.is_of_guest();
        if under_way.iter().all(|call| call.is_done()) && error.is_of_guest() {
            // Its requests had their answers: nobody else hears of it.
            self.dispatch.on_failure(error);
        }
        for call in under_way {
            self.dispatch.fail(call, |_| {
                let why = Box::new(error.clone());
                if shared { CallError::Shared { why } } else { error.clone() }
            });
        }
    }

    /// Why a guest that did not come to its own end was ended.
    fn cut_off(&self) -> Ended {
        Err(match (self.control.reached(), self.reason.get()) {
            (Some((limit, allowed)), _) => CallError::Limit { limit, allowed },
            (None, Some(reason)) => reason.clone(),
            (None, None) => CallError::Stopped,
        })
    }

    fn end_turn(self: &Arc<Self>) {
        let mut place = self.place();
        if place.woken && !self.control.is_frozen() {
            place.phase = Phase::Queued;
            place.at = *self.dispatch.at();
            self.dispatch.batch.guests.requeue(place.at, self.clone());
            return;
        }
        place.phase = Phase::Waiting;
        if self.control.must_end() {
            self.queue(&mut place);
        }
    }

    /// Everything it held goes back.
    fn end(self: &Arc<Self>) {
        if let Some(path) = self.control.scratch.to_remove() {
            let (instance, path) = (Arc::clone(self), path.to_owned());
            self.dispatch.batch.guests.io().spawn_blocking(move || {
                crate::scratch::remove(&path);
                instance.leave();
            });
        } else {
            self.leave();
        }
    }

    fn leave(self: &Arc<Self>) {
        let mut place = self.place();
        place.phase = Phase::Ended;
        let admitted = std::mem::take(&mut place.admitted);
        drop(place);
        if admitted {
            self.release();
        }
        self.dispatch.on_left(self);
    }

    fn queue(self: &Arc<Self>, place: &mut Place) {
        place.phase = Phase::Queued;
        let mut at = self.dispatch.at();
        *at = self.dispatch.batch.guests.push(*at, self.clone());
        place.at = *at;
    }

    fn release(&self) {
        let batch = &self.dispatch.batch;
        batch.guests.release(batch.prepared.facts.flavor, self.dispatch.demand);
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) -> MutexGuard<'_, Option<Work>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest for Instance {
    fn on_admitted(self: Arc<Self>) {
        let mut place = self.place();
        match place.phase {
            Phase::Admission => {
                place.admitted = true;
                self.queue(&mut place);
            }
            // It was stopped between leaving the line and now.
            Phase::Ended => {
                drop(place);
                self.release();
            }
            Phase::Queued | Phase::Polled | Phase::Waiting => place.admitted = true,
        }
    }

    fn has_left(&self) -> bool {
        self.place().phase != Phase::Admission
    }

    fn turn(self: Arc<Self>, clock: &mut Clock) {
        if !self.begin_turn() {
            return;
        }
        let control = &self.control;
        control.start(clock.wall());
        control.on_run(clock.cpu());
        let polled = if control.must_end() { Poll::Pending } else { self.poll() };
        let (mut ended, store) = match polled {
            Poll::Ready((ended, store)) => (Some(ended), store),
            Poll::Pending => (control.must_end().then(|| self.cut_off()), None),
        };
        if let Some(ended) = &ended {
            self.settle(ended);
        }
        self.tell();
        if ended.is_some() {
            // Taking the store down is its own time.
            let work = self.work().take();
            drop((work, store));
        }
        clock.look();
        let taken = control.on_pause(clock.cpu());
        let owed = if self.dispatch.batch.guests.others_wait() { taken } else { 0 };
        self.dispatch.charge(owed);
        if ended.is_none() && control.must_end() {
            // The turn itself used time up.
            let cut_off = self.cut_off();
            self.settle(&cut_off);
            let work = self.work().take();
            drop(work);
            ended = Some(cut_off);
        }
        match ended {
            Some(_) => self.end(),
            None => self.end_turn(),
        }
    }
}

impl Wake for Instance {
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
