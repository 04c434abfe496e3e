//! Which instance of a replica handles which request: admission, assignment, and the end of
//! both. What an instance does with a request is for [`super::instance`].

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::Request;
use tokio::sync::Notify;
use wrun_protocol::service::Reuse;

use super::answer::{Ticket, Waiting};
use super::call::{Call, Closed};
use super::instance::Instance;
use super::watch;
use crate::control::Batch;
use crate::fair::Virtual;
use crate::guests::{Guest, Member};
use crate::permits::Demand;
use crate::{Body, CallError, ReplicaEvents, ReplicaUsage};

/// A replica, as all its instances share it.
pub(crate) struct Dispatch {
    /// Names it among the members of the sandbox.
    pub(super) number: u64,
    pub(super) identity: Identity,
    pub(super) batch: Arc<Batch>,
    pub(super) events: Arc<dyn ReplicaEvents>,
    pub(super) demand: Demand,
    /// How it uses instances.
    pub(super) uses: Uses,
    pub(super) looks: Notify,
    /// Requests that were taken and are not over.
    open: AtomicU32,
    /// Whether it takes no more, to be read without the lock.
    closing: AtomicBool,
    state: Mutex<State>,
    /// CPU time of all its instances, over its weight: together they have one share.
    at: Mutex<Virtual>,
    used: Used,
    vacant: Notify,
}

/// What names it, and where its files are.
pub(super) struct Identity {
    pub(super) token: u64,
    pub(super) index: u32,
    pub(super) attempt: u32,
    pub(super) scratch: Option<std::path::PathBuf>,
}

/// How a replica uses instances.
#[derive(Clone, Copy, Debug)]
pub(super) struct Uses {
    /// Requests at once, in all.
    pub(super) concurrency: u32,
    /// Instances that take requests.
    pub(super) instances: u32,
    /// Requests at once for each.
    pub(super) each: u32,
    /// Requests in all for each.
    pub(super) most: u32,
    /// How long one is kept without a request.
    pub(super) idle: Duration,
}

#[derive(Default)]
struct Used {
    requests: AtomicU64,
    failed: AtomicU64,
    peak_memory: AtomicU64,
}

/// Whether it takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    Draining,
    Stopped,
    /// Nothing is left of it, and everyone is being told.
    Leaving,
    Gone,
}

pub(super) struct State {
    phase: Phase,
    frozen: bool,
    /// CPU time of the instances that are gone.
    cpu: Duration,
    /// The number of the next instance.
    next: u64,
    pub(super) held: Vec<Held>,
    /// Requests that no instance can take yet.
    pub(super) waiting: VecDeque<Arc<Call>>,
    /// When the watch looks next; `None`: there is none.
    pub(super) looks_at: Option<Instant>,
}

/// An instance and how busy it is.
pub(super) struct Held {
    pub(super) instance: Arc<Instance>,
    /// Requests that it has.
    load: u32,
    /// Requests that it has had.
    taken: u32,
    /// It takes no more.
    retired: bool,
    pub(super) idle_since: Option<Instant>,
}

impl Uses {
    /// `concurrent` is whether an instance can handle several requests at once.
    pub(super) fn new(concurrency: u32, reuse: Option<Reuse>, concurrent: bool) -> Self {
        let concurrency = concurrency.max(1);
        let Some(reuse) = reuse else {
            let idle = Duration::ZERO;
            return Self { concurrency, instances: concurrency, each: 1, most: 1, idle };
        };
        let each = if concurrent { reuse.concurrent.max(1) } else { 1 };
        let most = if reuse.requests == 0 { u32::MAX } else { reuse.requests };
        let idle = Duration::from_millis(reuse.idle_ms);
        let each = each.min(most);
        Self { concurrency, instances: concurrency.div_ceil(each), each, most, idle }
    }

    /// An instance has one request in its life.
    pub(super) fn is_fresh(&self) -> bool {
        self.most == 1
    }

    /// Instances at once, with those that finish something after their last request.
    fn most_instances(&self) -> usize {
        self.instances.saturating_mul(2) as usize
    }
}

impl Dispatch {
    pub(super) fn new(
        number: u64,
        identity: Identity,
        batch: Arc<Batch>,
        events: Arc<dyn ReplicaEvents>,
        demand: Demand,
        uses: Uses,
    ) -> Self {
        let state = State {
            phase: Phase::Open,
            frozen: false,
            cpu: Duration::ZERO,
            next: 0,
            held: Vec::new(),
            waiting: VecDeque::new(),
            looks_at: None,
        };
        Self {
            number,
            identity,
            batch,
            events,
            demand,
            uses,
            looks: Notify::new(),
            open: AtomicU32::new(0),
            closing: AtomicBool::new(false),
            state: Mutex::new(state),
            at: Mutex::default(),
            used: Used::default(),
            vacant: Notify::new(),
        }
    }

    /// See [`crate::Replica::call`].
    pub(super) fn take(
        self: &Arc<Self>,
        request: Request<Body>,
        deadline: Instant,
    ) -> Result<Waiting, CallError> {
        if deadline <= Instant::now() {
            return Err(CallError::TimedOut { begun: false });
        }
        let concurrency = self.uses.concurrency;
        let fits = |open: u32| (open < concurrency).then_some(open + 1);
        if self.open.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits).is_err() {
            return Err(CallError::Busy { concurrency });
        }
        let call = Call::new(request, deadline);
        // From here on its end is noted.
        let ticket = Ticket::new(Arc::clone(self), Arc::clone(&call));
        let mut state = self.state();
        match state.phase {
            Phase::Open => {}
            Phase::Draining => return Err(CallError::Draining),
            Phase::Stopped | Phase::Leaving | Phase::Gone => return Err(CallError::Stopped),
        }
        self.used.requests.fetch_add(1, Ordering::Relaxed);
        watch::look_by(self, &mut state, deadline);
        let begins = self.assign(&mut state, call);
        drop(state);
        self.begin(begins);
        Ok(Waiting::new(ticket))
    }

    /// Gives a request to an instance. A new one has to [`Self::begin`].
    fn assign(self: &Arc<Self>, state: &mut State, call: Arc<Call>) -> Option<Arc<Instance>> {
        let place = if self.uses.is_fresh() { None } else { self.place(state) };
        if let Some(held) = place.and_then(|index| state.held.get_mut(index)) {
            held.instance.give(call);
            held.take(&self.uses);
            return None;
        }
        if !self.may_grow(state) {
            state.waiting.push_back(call);
            return None;
        }
        let number = state.next;
        state.next += 1;
        let instance = Instance::new(number, self, state.frozen);
        let mut held = Held {
            instance: Arc::clone(&instance),
            load: 0,
            taken: 0,
            retired: false,
            idle_since: None,
        };
        instance.give(call);
        held.take(&self.uses);
        state.held.push(held);
        Some(instance)
    }

    /// Whether there may be one more instance.
    fn may_grow(&self, state: &State) -> bool {
        let full = || state.live().count() >= self.uses.instances as usize;
        state.held.len() < self.uses.most_instances() && (self.uses.is_fresh() || !full())
    }

    /// Which instance takes the next request; `None`: a new one, if there may be one more.
    /// One that is idle, the last used first; then new ones, as many as run side by side;
    /// then the one with the fewest requests.
    fn place(&self, state: &State) -> Option<usize> {
        let idle = state.live().filter(|(_, held)| held.load == 0);
        if let Some((index, _)) = idle.max_by_key(|(_, held)| held.idle_since) {
            return Some(index);
        }
        if state.live().count() < self.batch.guests.threads() && self.may_grow(state) {
            return None;
        }
        let room = state.live().filter(|(_, held)| held.load < self.uses.each);
        room.min_by_key(|(_, held)| held.load).map(|(index, _)| index)
    }

    /// A new instance asks for its place in the pool.
    fn begin(&self, instance: Option<Arc<Instance>>) {
        let Some(instance) = instance else { return };
        let flavor = self.batch.prepared.facts.flavor;
        match self.batch.guests.acquire(flavor, self.demand, instance.clone()) {
            Ok(true) => instance.on_admitted(),
            Ok(false) => {}
            Err(full) => {
                let waiting = full.waiting;
                let message = format!("{waiting} already wait for a place on this node");
                instance.refuse(CallError::Setup { message });
            }
        }
    }

    /// An instance is done with a request.
    pub(super) fn on_done(self: &Arc<Self>, instance: &Instance) {
        if self.uses.is_fresh() {
            return;
        }
        let mut state = self.state();
        let (idle, retires) = (self.uses.idle, state.phase != Phase::Open);
        let mut is_idle = false;
        if let Some(held) = state.of(instance) {
            held.load = held.load.saturating_sub(1);
            if held.load == 0 {
                held.idle_since = Some(Instant::now());
                is_idle = true;
                if retires {
                    held.retire();
                }
            }
        }
        let begins = self.assign_waiting(&mut state);
        if is_idle && begins.is_empty() && !retires {
            watch::look_by(self, &mut state, Instant::now() + idle);
        }
        drop(state);
        begins.into_iter().for_each(|instance| self.begin(Some(instance)));
    }

    /// An instance takes no more requests: those that it has not begun go to others.
    pub(super) fn retire(&self, instance: &Instance) {
        if let Some(held) = self.state().of(instance) {
            held.retire();
        }
    }

    /// Takes requests back that an instance was given and has not begun.
    pub(super) fn give_back(self: &Arc<Self>, calls: Vec<Arc<Call>>) {
        if calls.is_empty() {
            return;
        }
        let mut state = self.state();
        calls.into_iter().rev().for_each(|call| state.waiting.push_front(call));
        let begins = self.assign_waiting(&mut state);
        drop(state);
        begins.into_iter().for_each(|instance| self.begin(Some(instance)));
    }

    /// An instance is gone, and its place in the pool is free.
    pub(super) fn on_left(self: &Arc<Self>, instance: &Instance) {
        let peak = instance.control.account.peak();
        self.used.peak_memory.fetch_max(peak, Ordering::Relaxed);
        let cpu = instance.control.cpu_used();
        let mut state = self.state();
        state.cpu += cpu;
        let found = state.held.iter().position(|held| held.instance.number == instance.number);
        let gone = found.map(|index| state.held.swap_remove(index));
        let begins = self.assign_waiting(&mut state);
        drop(state);
        drop(gone);
        begins.into_iter().for_each(|instance| self.begin(Some(instance)));
        self.check_vacant();
    }

    fn assign_waiting(self: &Arc<Self>, state: &mut State) -> Vec<Arc<Instance>> {
        let mut begins = Vec::new();
        let mut left = state.waiting.len();
        while left > 0
            && let Some(call) = state.waiting.pop_front()
        {
            left -= 1;
            if call.is_done() {
                continue;
            }
            let waiting = state.waiting.len();
            begins.extend(self.assign(state, call));
            if state.waiting.len() > waiting {
                // It waits on, at the end; those after it do too, and the order stays.
                state.waiting.rotate_right(1);
                break;
            }
        }
        begins
    }

    /// The caller wants nothing more of it; `whole`: it has had all of the answer.
    pub(super) fn on_over(self: &Arc<Self>, call: &Arc<Call>, whole: bool) {
        // One of WASI 0.2 takes no other request until it has returned from this one.
        let closed = call.close(whole && !self.batch.prepared.facts.concurrent_call);
        self.open.fetch_sub(1, Ordering::SeqCst);
        match closed {
            Closed::With(instance) => {
                if !whole {
                    instance.on_abandoned(call);
                }
                self.on_done(&instance);
            }
            Closed::Gone => {}
            Closed::Unassigned => {
                self.state().waiting.retain(|waiting| !Arc::ptr_eq(waiting, call));
            }
        }
        self.check_vacant();
    }

    /// Tells the caller that there will be no whole answer, unless it has one.
    pub(super) fn fail(&self, call: &Call, error: impl FnOnce(bool) -> CallError) {
        let mut told = None;
        let failed = call.fail(|begun| {
            let error = error(begun);
            told = Some(error.clone());
            error
        });
        if let Some(error) = told.filter(|error| failed && error.is_of_guest()) {
            self.on_failure(&error);
        }
    }

    /// A guest failed.
    pub(super) fn on_failure(&self, error: &CallError) {
        self.used.failed.fetch_add(1, Ordering::Relaxed);
        self.events.failed(self.identity.token, error);
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.open.load(Ordering::SeqCst)
    }

    pub(super) fn usage(&self) -> ReplicaUsage {
        let state = self.state();
        let live = || state.held.iter().map(|held| &held.instance.control);
        let peak = live().map(|control| control.account.peak()).max().unwrap_or_default();
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ReplicaUsage {
            requests: load(&self.used.requests),
            failed: load(&self.used.failed),
            cpu: state.cpu + live().map(|control| control.cpu_used()).sum::<Duration>(),
            peak_memory: load(&self.used.peak_memory).max(peak),
        }
    }

    /// Where the next turn of an instance is in the queue.
    pub(super) fn at(&self) -> MutexGuard<'_, Virtual> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A turn took so many nanoseconds of CPU that others wanted.
    pub(super) fn charge(&self, owed: u64) {
        if owed > 0 {
            let mut at = self.at();
            *at = at.after(owed, self.batch.job.resources.cpu_milli);
        }
    }

    pub(super) fn freeze(&self, frozen: bool) {
        let mut state = self.state();
        state.frozen = frozen;
        state.held.iter().for_each(|held| held.instance.freeze(frozen));
    }

    /// Takes no more requests. Instances without any go.
    pub(super) fn drain(self: &Arc<Self>) {
        let mut state = self.state();
        if state.phase == Phase::Open {
            state.phase = Phase::Draining;
            self.closing.store(true, Ordering::SeqCst);
        }
        state.held.iter_mut().filter(|held| held.load == 0).for_each(Held::retire);
        drop(state);
        self.check_vacant();
    }

    /// Ready when it is vacant.
    pub(super) async fn vacated(&self) {
        loop {
            let notified = self.vacant.notified();
            if self.state().phase == Phase::Gone {
                return;
            }
            notified.await;
        }
    }

    pub(super) fn stop(self: &Arc<Self>) {
        let mut state = self.state();
        if matches!(state.phase, Phase::Stopped | Phase::Leaving | Phase::Gone) {
            return;
        }
        state.phase = Phase::Stopped;
        self.closing.store(true, Ordering::SeqCst);
        let waiting = std::mem::take(&mut state.waiting);
        let instances: Vec<_> = state.held.iter().map(|held| held.instance.clone()).collect();
        drop(state);
        for call in waiting {
            self.fail(&call, |_| CallError::Stopped);
        }
        instances.iter().for_each(|instance| instance.stop());
        self.check_vacant();
    }

    /// Tells everyone once nothing is left, after a drain or a stop.
    fn check_vacant(&self) {
        if !self.closing.load(Ordering::SeqCst) {
            return;
        }
        let mut state = self.state();
        let empty = state.held.is_empty() && state.waiting.is_empty();
        let vacant = match state.phase {
            Phase::Open | Phase::Leaving | Phase::Gone => false,
            Phase::Draining => empty && self.in_flight() == 0,
            Phase::Stopped => empty,
        };
        if !vacant {
            return;
        }
        state.phase = Phase::Leaving;
        state.looks_at = None;
        drop(state);
        self.looks.notify_one();
        self.events.vacated(self.identity.token);
        self.batch.guests.leave(self.number);
        self.state().phase = Phase::Gone;
        self.vacant.notify_waiters();
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member for Dispatch {
    fn close(self: Arc<Self>) {
        self.stop();
    }
}

impl State {
    /// Those that take requests, and where they are.
    fn live(&self) -> impl Iterator<Item = (usize, &Held)> {
        self.held.iter().enumerate().filter(|(_, held)| !held.retired)
    }

    fn of(&mut self, instance: &Instance) -> Option<&mut Held> {
        self.held.iter_mut().find(|held| held.instance.number == instance.number)
    }
}

impl Held {
    fn take(&mut self, uses: &Uses) {
        self.load += 1;
        self.taken += 1;
        self.idle_since = None;
        if self.taken >= uses.most {
            self.retire();
        }
    }

    pub(super) fn retire(&mut self) {
        self.retired = true;
        self.instance.retire();
    }
}
