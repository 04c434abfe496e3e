//! The threads that run guests, and the queue they take turns from. I/O has threads of
//! its own: a guest that spins stops no timer and no neighbour.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, Runtime};
use wrun_inference::Engine;

use crate::clock::Clock;
use crate::engines::{Engines, Flavor};
use crate::fair::{FairQueue, Virtual};
use crate::permits::{Demand, Full, Permits};
use crate::ticker::Ticker;
use crate::{SandboxConfig, SandboxError};

/// Threads that wait for files and names on behalf of guests, for each guest thread.
const BLOCKING_PER_THREAD: usize = 8;

/// What takes turns at the guest threads.
pub(crate) trait Guest: Send + Sync {
    /// It has its place in the pool.
    fn on_admitted(self: Arc<Self>);
    /// Whether it no longer waits for one.
    fn has_left(&self) -> bool;
    /// Takes a turn on the calling thread, whose clocks were last looked at just now.
    fn turn(self: Arc<Self>, clock: &mut Clock);
}

/// What must have ended before the threads do.
pub(crate) trait Member: Send + Sync {
    /// Ends soon, and then [leaves](Guests::leave).
    fn close(self: Arc<Self>);
}

/// What all guests share.
pub(crate) struct Guests {
    ticker: Arc<Ticker>,
    io: Handle,
    inference: Option<Engine>,
    runtime: Mutex<Option<Runtime>>,
    stack: usize,
    parallel: usize,
    ready: Mutex<Ready>,
    work: Condvar,
    /// How many are in the queue, to be read without its lock.
    waiting: AtomicUsize,
    /// To be read without the lock too.
    closed: AtomicBool,
    plain: Mutex<Permits<Arc<dyn Guest>>>,
    concurrent: Mutex<Permits<Arc<dyn Guest>>>,
    deterministic: Mutex<Permits<Arc<dyn Guest>>>,
}

struct Ready {
    queue: FairQueue<Arc<dyn Guest>>,
    live: HashMap<u64, Arc<dyn Member>>,
    next: u64,
    threads: usize,
    /// Threads that sleep until they are told of work.
    idle: usize,
    /// Threads that will look at the queue soon: those that were told, and those that are
    /// about to sleep. Waking one costs a system call and a change of threads, so nobody is
    /// woken while there is one of these; who takes work and leaves some wakes the next.
    searching: usize,
    /// Threads that were told and do not know it yet.
    told: usize,
}

impl Ready {
    /// Whether a thread has to be woken for the work that there is; it counts as told.
    fn tell(&mut self) -> bool {
        let wakes = self.idle > 0 && self.searching == 0;
        if wakes {
            self.idle -= 1;
            self.searching += 1;
            self.told += 1;
        }
        wakes
    }
}

/// How long a thread without work lets others run before it sleeps. What a request needs of
/// the threads for I/O mostly takes less, and then nobody has to be woken.
const LINGER: Duration = Duration::from_micros(50);

impl Guests {
    /// Starts the threads.
    pub(crate) fn start(
        config: &SandboxConfig,
        engines: Arc<Engines>,
    ) -> Result<Arc<Self>, SandboxError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .thread_name("wrun-guest-io")
            .worker_threads(config.io_threads)
            .max_blocking_threads((config.threads * BLOCKING_PER_THREAD).max(16))
            .enable_all()
            .build()
            .map_err(SandboxError::Thread)?;
        let permits = |flavor| Mutex::new(Permits::new(engines.pool(flavor), config.max_waiting));
        let guests = Arc::new(Self {
            ticker: Ticker::start(Arc::clone(&engines), config.tick)
                .map_err(SandboxError::Thread)?,
            io: runtime.handle().clone(),
            inference: config.inference.clone(),
            runtime: Mutex::new(Some(runtime)),
            stack: config.stack,
            parallel: config.threads,
            ready: Mutex::new(Ready {
                queue: FairQueue::new(),
                live: HashMap::new(),
                next: 0,
                threads: 0,
                idle: 0,
                searching: 0,
                told: 0,
            }),
            work: Condvar::new(),
            waiting: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            plain: permits(Flavor::Plain),
            concurrent: permits(Flavor::Concurrent),
            deterministic: permits(Flavor::Deterministic),
        });
        for index in 0..config.threads {
            guests.start_thread(index).map_err(SandboxError::Thread)?;
        }
        Ok(guests)
    }

    fn start_thread(self: &Arc<Self>, index: usize) -> io::Result<()> {
        let shared = Arc::clone(self);
        self.lock().threads += 1;
        let started =
            thread::Builder::new().name(format!("wrun-guest-{index}")).spawn(move || shared.run());
        if started.is_err() {
            self.lock().threads -= 1;
            self.close();
        }
        started.map(drop)
    }

    pub(crate) fn io(&self) -> &Handle {
        &self.io
    }

    /// What runs models; `None`: nothing does.
    pub(crate) fn inference(&self) -> Option<&Engine> {
        self.inference.as_ref()
    }

    /// How many guests run side by side.
    pub(crate) fn threads(&self) -> usize {
        self.parallel
    }

    /// Bytes of stack that a guest may use.
    pub(crate) fn stack(&self) -> usize {
        self.stack
    }

    /// Whether a guest that runs should let another run.
    pub(crate) fn others_wait(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Whether every task is to end.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Takes a new member in; `None` when closed. The number names it until it leaves.
    pub(crate) fn enter<M: Member + 'static>(
        &self,
        make: impl FnOnce(u64) -> Arc<M>,
    ) -> Option<Arc<M>> {
        let mut ready = self.lock();
        if self.is_closed() {
            return None;
        }
        let number = ready.next;
        ready.next += 1;
        let member = make(number);
        let held: Arc<dyn Member> = Arc::<M>::clone(&member);
        ready.live.insert(number, held);
        Some(member)
    }

    /// A member is done, and everyone was told.
    pub(crate) fn leave(&self, number: u64) {
        let mut ready = self.lock();
        ready.live.remove(&number);
        if self.is_closed() && ready.live.is_empty() {
            self.work.notify_all();
        }
    }

    /// Asks for a place in the pool; `true` when the guest has it at once.
    pub(crate) fn acquire(
        &self,
        flavor: Flavor,
        demand: Demand,
        guest: Arc<dyn Guest>,
    ) -> Result<bool, Full> {
        Ok(self.permits(flavor).acquire(demand, guest)?.is_some())
    }

    /// Gives a place back and lets in who waits and fits.
    pub(crate) fn release(&self, flavor: Flavor, demand: Demand) {
        let mut permits = self.permits(flavor);
        permits.release(demand);
        while let Some(guest) = permits.next(|guest| guest.has_left()) {
            drop(permits);
            guest.on_admitted();
            permits = self.permits(flavor);
        }
    }

    /// Queues a guest that became ready. Returns its place.
    pub(crate) fn push(&self, at: Virtual, guest: Arc<dyn Guest>) -> Virtual {
        self.queue_with(|queue| queue.push(at, guest))
    }

    /// Queues a guest that has just run and goes on.
    pub(crate) fn requeue(&self, at: Virtual, guest: Arc<dyn Guest>) {
        self.queue_with(|queue| queue.requeue(at, guest));
    }

    fn queue_with<R>(&self, change: impl FnOnce(&mut FairQueue<Arc<dyn Guest>>) -> R) -> R {
        let mut ready = self.lock();
        let result = change(&mut ready.queue);
        self.waiting.store(ready.queue.len(), Ordering::Relaxed);
        let wakes = ready.tell();
        drop(ready);
        if wakes {
            self.work.notify_one();
        }
        result
    }

    /// Ends every task as cancelled, then the threads.
    pub(crate) fn close(&self) {
        let ready = self.lock();
        self.closed.store(true, Ordering::SeqCst);
        let live: Vec<_> = ready.live.values().cloned().collect();
        drop(ready);
        for flavor in [Flavor::Plain, Flavor::Concurrent, Flavor::Deterministic] {
            drop(self.permits(flavor).drain());
        }
        for member in live {
            member.close();
        }
        self.work.notify_all();
    }

    fn run(&self) {
        let entered = self.io.enter();
        self.ticker.on_busy();
        let mut clock = Clock::new();
        while let Some(guest) = self.next(&mut clock) {
            guest.turn(&mut clock);
        }
        self.ticker.on_idle();
        drop(entered);
        self.on_thread_end();
    }

    fn next(&self, clock: &mut Clock) -> Option<Arc<dyn Guest>> {
        let mut ready = self.lock();
        if ready.queue.len() == 0 {
            ready.searching += 1;
            ready = self.rest(ready);
            ready.searching -= 1;
            clock.look();
        }
        let guest = ready.queue.pop();
        self.waiting.store(ready.queue.len(), Ordering::Relaxed);
        let wakes = ready.queue.len() > 0 && ready.tell();
        drop(ready);
        if wakes {
            self.work.notify_one();
        }
        guest
    }

    /// Until there is work, or there will be none.
    fn rest<'a>(&'a self, mut ready: MutexGuard<'a, Ready>) -> MutexGuard<'a, Ready> {
        let until = Instant::now() + LINGER;
        while ready.queue.len() == 0 && !self.is_over(&ready) {
            if Instant::now() < until {
                drop(ready);
                thread::yield_now();
                ready = self.lock();
            } else {
                ready = self.sleep(ready);
            }
        }
        ready
    }

    /// Until the thread is told of work. It does not count as searching before.
    fn sleep<'a>(&'a self, mut ready: MutexGuard<'a, Ready>) -> MutexGuard<'a, Ready> {
        self.ticker.on_idle();
        ready.searching -= 1;
        ready.idle += 1;
        loop {
            ready = self.work.wait(ready).unwrap_or_else(PoisonError::into_inner);
            if ready.told > 0 {
                ready.told -= 1;
                break;
            }
            if self.is_over(&ready) {
                ready.idle -= 1;
                ready.searching += 1;
                break;
            }
        }
        self.ticker.on_busy();
        ready
    }

    /// Whether there will be no more work.
    fn is_over(&self, ready: &Ready) -> bool {
        self.is_closed() && ready.live.is_empty()
    }

    /// The last thread takes ticker and I/O down.
    fn on_thread_end(&self) {
        let mut ready = self.lock();
        ready.threads -= 1;
        let last = ready.threads == 0;
        drop(ready);
        if last {
            self.ticker.close();
            let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(runtime) = runtime {
                runtime.shutdown_background();
            }
        }
    }

    fn permits(&self, flavor: Flavor) -> MutexGuard<'_, Permits<Arc<dyn Guest>>> {
        let permits = match flavor {
            Flavor::Plain => &self.plain,
            Flavor::Concurrent => &self.concurrent,
            Flavor::Deterministic => &self.deterministic,
        };
        permits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
