//! Threads for work that takes long, of many tenants. Work that is given up while it runs is
//! replaced by another thread, so that what hangs costs a processor's time, but not the pool.

mod shares;

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shares::Shares;
use wrun_protocol::TenantName;

use crate::error::StartError;

/// Stack of a thread: back ends recurse over the graph.
const STACK: usize = 16 << 20;

/// Threads that may be lost to work that hangs, until it ends.
const MAX_LOST: usize = 8;

/// Something to do.
pub(crate) trait Work: Send + Sync {
    /// Does it, on a thread of the pool.
    fn work(self: Arc<Self>);
}

/// The pool. Copies are the same one; it ends with [`Pool::stop`].
#[derive(Clone)]
pub(crate) struct Pool(Arc<Shared>);

struct Shared {
    name: &'static str,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Bounded by who submits: each has one entry at most, or counts its own.
    waiting: VecDeque<(Option<TenantName>, Arc<dyn Work>)>,
    shares: Shares,
    idle: usize,
    /// Threads whose work was given up, and which end when it is over.
    lost: usize,
    stopped: bool,
}

impl Pool {
    pub(crate) fn start(name: &'static str, threads: usize) -> Result<Self, StartError> {
        let shared = Shared { name, state: Mutex::default(), changed: Condvar::new() };
        let pool = Self(Arc::new(shared));
        for _ in 0..threads {
            pool.spawn().map_err(StartError::Thread)?;
        }
        Ok(pool)
    }

    /// Queues work, which will do something for that tenant first; after [`Self::stop`] it is
    /// dropped.
    pub(crate) fn submit(&self, tenant: Option<TenantName>, work: Arc<dyn Work>) {
        let mut state = self.0.state();
        if state.stopped {
            return;
        }
        state.waiting.push_back((tenant, work));
        let wake = state.idle > 0;
        drop(state);
        if wake {
            self.0.changed.notify_one();
        }
    }

    /// Tenants had so much time of a thread together, each the same, for what their weights are.
    pub(crate) fn charge<'a>(
        &self,
        tenants: impl ExactSizeIterator<Item = (&'a TenantName, u32)>,
        time: Duration,
    ) {
        let each = time / u32::try_from(tenants.len().max(1)).unwrap_or(u32::MAX);
        let each = u64::try_from(each.as_nanos()).unwrap_or(u64::MAX);
        let mut state = self.0.state();
        tenants.for_each(|(tenant, weight)| state.shares.charge(tenant, weight, each));
    }

    /// Puts a thread in the place of one whose work hangs. Who does that work calls
    /// [`Self::found`] when it is over after all. `false`: too many are lost already.
    pub(crate) fn lost(&self) -> bool {
        let mut state = self.0.state();
        if state.lost >= MAX_LOST || state.stopped {
            return false;
        }
        state.lost += 1;
        drop(state);
        if let Err(error) = self.spawn() {
            tracing::error!(%error, "no thread in the place of one that hangs");
            self.0.state().lost -= 1;
            return false;
        }
        true
    }

    /// A thread that was lost is back, and not needed any more: it ends after this work.
    pub(crate) fn found(&self) {
        let mut state = self.0.state();
        state.lost = state.lost.saturating_sub(1);
        drop(state);
        ENDS.set(true);
    }

    pub(crate) fn stop(&self) {
        let mut state = self.0.state();
        state.stopped = true;
        let dropped = std::mem::take(&mut state.waiting);
        drop(state);
        drop(dropped);
        self.0.changed.notify_all();
    }

    fn spawn(&self) -> std::io::Result<()> {
        let shared = Arc::clone(&self.0);
        let thread = std::thread::Builder::new().name(shared.name.to_owned()).stack_size(STACK);
        thread.spawn(move || shared.run()).map(drop)
    }
}

thread_local! {
    /// Whether this thread ends after its work.
    static ENDS: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

impl State {
    /// The work whose tenant has had least, of these what has waited longest.
    fn next(&mut self) -> Option<Arc<dyn Work>> {
        let far = |(tenant, _): &(Option<TenantName>, _)| self.shares.of(tenant.as_ref());
        let waiting = self.waiting.iter().map(far).enumerate();
        let (place, at) = waiting.min_by_key(|(place, at)| (*at, *place))?;
        self.shares.begin(at);
        self.waiting.remove(place).map(|(_, work)| work)
    }
}

impl Shared {
    fn run(&self) {
        let mut state = self.state();
        while !state.stopped {
            match state.next() {
                Some(work) => {
                    drop(state);
                    work.work();
                    if ENDS.get() {
                        return;
                    }
                    state = self.state();
                }
                None => {
                    state.idle += 1;
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                    state.idle -= 1;
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
