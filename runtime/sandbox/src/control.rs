//! What is known of a running execution from every side: the guest's thread, the host
//! functions it calls, and whoever holds its handle. Flags and counters; no execution.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use wrun_protocol::task::Limit;

use crate::account::Account;
use crate::deterministic::World;
use crate::guests::Guests;
use crate::network::Network;
use crate::scratch::Scratch;
use crate::{JobContext, Prepared, TaskEvents};

/// What tasks have in common that follow each other on one seat. Each seat has its own, so
/// that guest threads do not contend for one count of references at every task.
pub(crate) struct Batch {
    pub(crate) job: Arc<JobContext>,
    pub(crate) prepared: Arc<Prepared>,
    pub(crate) events: Arc<dyn TaskEvents>,
    pub(crate) guests: Arc<Guests>,
    pub(crate) network: Option<Arc<Network>>,
}

/// One execution's shared state.
pub(crate) struct Control {
    pub(crate) token: u64,
    pub(crate) batch: Arc<Batch>,
    pub(crate) scratch: Scratch,
    pub(crate) account: Account,
    world: Option<Box<World>>,
    /// Bytes of output and of log that may still be written.
    pub(crate) output_left: AtomicU64,
    pub(crate) log_left: AtomicU64,
    pub(crate) rate: Mutex<Bucket>,
    stopped: AtomicBool,
    frozen: AtomicBool,
    /// Whether it ever was: most tasks never are, and need not look at `pause`.
    paused: AtomicBool,
    reached: OnceLock<(Limit, u64)>,
    started: OnceLock<Instant>,
    cpu: Cpu,
    pause: Mutex<Pause>,
}

/// CPU time in nanoseconds: until the last poll, and the thread's clock when this one began.
#[derive(Default)]
struct Cpu {
    before: AtomicU64,
    since: AtomicU64,
    used: AtomicU64,
    /// The thread's clock when nobody else wanted the CPU, or when this poll began.
    unwanted: AtomicU64,
}

#[derive(Default)]
struct Pause {
    since: Option<Instant>,
    total: Duration,
    /// When it will be stopped, where it was told so.
    stops: Option<Instant>,
}

impl Control {
    /// `seed` makes the task deterministic.
    pub(crate) fn new(
        token: u64,
        batch: Arc<Batch>,
        scratch: Option<PathBuf>,
        seed: Option<[u8; 32]>,
    ) -> Self {
        let JobContext { limits, resources, .. } = &*batch.job;
        Self {
            token,
            scratch: Scratch::new(scratch),
            account: Account::new(resources.memory),
            world: seed.map(|seed| Box::new(World::new(seed))),
            output_left: AtomicU64::new(limits.output_bytes),
            log_left: AtomicU64::new(limits.log_bytes),
            rate: Mutex::new(Bucket::new(limits.log_rate)),
            stopped: AtomicBool::new(false),
            frozen: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            reached: OnceLock::new(),
            started: OnceLock::new(),
            cpu: Cpu::default(),
            pause: Mutex::default(),
            batch,
        }
    }

    pub(crate) fn job(&self) -> &JobContext {
        &self.batch.job
    }

    /// What a deterministic task sees in place of the outside; `None` for any other.
    pub(crate) fn world(&self) -> Option<&World> {
        self.world.as_deref()
    }

    /// How long until it may log again; zero when it may.
    pub(crate) fn log_pause(&self) -> Duration {
        self.rate.lock().unwrap_or_else(PoisonError::into_inner).wait(Instant::now())
    }

    /// Whom to tell.
    pub(crate) fn events(&self) -> &dyn TaskEvents {
        &*self.batch.events
    }

    /// Asks for the end as cancelled.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// The first limit that is reached is why the task ends.
    pub(crate) fn reach(&self, limit: Limit, allowed: u64) {
        let _ = self.reached.set((limit, allowed));
    }

    pub(crate) fn reached(&self) -> Option<(Limit, u64)> {
        self.reached.get().copied()
    }

    /// Whether the guest must not run any further.
    pub(crate) fn must_end(&self) -> bool {
        self.is_stopped() || self.reached.get().is_some()
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::Acquire)
    }

    /// Changes whether it is frozen; `false` if it was so already.
    pub(crate) fn set_frozen(&self, frozen: bool, now: Instant) -> bool {
        if frozen {
            self.paused.store(true, Ordering::Release);
        }
        let mut pause = self.pause();
        if self.frozen.swap(frozen, Ordering::AcqRel) == frozen {
            return false;
        }
        if frozen {
            pause.since = Some(now);
        } else if let Some(since) = pause.since.take() {
            pause.total += now.saturating_duration_since(since);
        }
        true
    }

    /// It will be stopped at that instant.
    pub(crate) fn notify(&self, stops: Instant) {
        self.pause().stops = Some(stops);
    }

    /// How long it has until it is stopped, where that is known.
    pub(crate) fn stops_in(&self, now: Instant) -> Option<Duration> {
        Some(self.pause().stops?.saturating_duration_since(now))
    }

    /// Time spent frozen since the start.
    pub(crate) fn frozen_time(&self, now: Instant) -> Duration {
        if !self.paused.load(Ordering::Acquire) {
            return Duration::ZERO;
        }
        let pause = self.pause();
        let open = pause.since.map(|since| {
            let from = self.started.get().map_or(since, |started| since.max(*started));
            now.saturating_duration_since(from)
        });
        pause.total + open.unwrap_or_default()
    }

    /// The guest runs for the first time. Time frozen before that does not count.
    pub(crate) fn start(&self, now: Instant) {
        if self.started.set(now).is_ok() && self.paused.load(Ordering::Acquire) {
            self.pause().total = Duration::ZERO;
        }
    }

    /// Time since the start, frozen time included; zero before it.
    pub(crate) fn wall_time(&self, now: Instant) -> Duration {
        self.started.get().map_or(Duration::ZERO, |started| now.saturating_duration_since(*started))
    }

    /// What is left of the wall-time limit; `None` without one.
    pub(crate) fn wall_left(&self, now: Instant) -> Option<Duration> {
        let limit = Duration::from_millis(self.job().limits.wall_ms?);
        let used = self.wall_time(now).saturating_sub(self.frozen_time(now));
        Some(limit.saturating_sub(used))
    }

    /// A guest thread begins to run it; `clock` is the thread's CPU time in nanoseconds.
    pub(crate) fn on_run(&self, clock: u64) {
        self.cpu.since.store(clock, Ordering::Relaxed);
        self.cpu.unwanted.store(clock, Ordering::Relaxed);
    }

    /// Nobody else wants the CPU that it has used until now: it owes nobody for that.
    pub(crate) fn on_unwanted(&self, clock: u64) {
        self.cpu.unwanted.store(clock, Ordering::Relaxed);
    }

    /// The thread's CPU clock is at `clock` now. Notes the time used and checks its limits.
    pub(crate) fn on_clock(&self, clock: u64) {
        let since = self.cpu.since.load(Ordering::Relaxed);
        let used = self.cpu.before.load(Ordering::Relaxed) + clock.saturating_sub(since);
        self.cpu.used.store(used, Ordering::Relaxed);
        let limits = &self.job().limits;
        if let Some(allowed) = limits.cpu_ms
            && used / 1_000_000 >= allowed
        {
            self.reach(Limit::CpuTime, allowed);
        }
        self.check_wall(Instant::now);
    }

    /// Ends the task if its wall time is over.
    pub(crate) fn check_wall(&self, now: impl FnOnce() -> Instant) {
        if let Some(allowed) = self.job().limits.wall_ms
            && self.wall_left(now()).is_some_and(|left| left.is_zero())
        {
            self.reach(Limit::WallTime, allowed);
        }
    }

    /// The guest thread stops running it. Returns the nanoseconds of CPU that this turn
    /// took from others who waited.
    pub(crate) fn on_pause(&self, clock: u64) -> u64 {
        self.on_clock(clock);
        self.cpu.before.store(self.cpu.used.load(Ordering::Relaxed), Ordering::Relaxed);
        clock.saturating_sub(self.cpu.unwanted.load(Ordering::Relaxed))
    }

    /// Thread CPU time until now, as of the last tick.
    pub(crate) fn cpu_used(&self) -> Duration {
        Duration::from_nanos(self.cpu.used.load(Ordering::Relaxed))
    }

    fn pause(&self) -> std::sync::MutexGuard<'_, Pause> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many bytes may be written now, so that over a second no more than `rate` are.
pub(crate) struct Bucket {
    rate: u64,
    tokens: f64,
    filled: Option<Instant>,
}

impl Bucket {
    fn new(rate: u64) -> Self {
        Self { rate, tokens: rate as f64, filled: None }
    }

    /// Bytes that may be written at `now`.
    pub(crate) fn available(&mut self, now: Instant) -> usize {
        let full = self.rate as f64;
        if let Some(filled) = self.filled {
            let more = now.saturating_duration_since(filled).as_secs_f64() * full;
            self.tokens = (self.tokens + more).min(full);
        }
        self.filled = Some(now);
        self.tokens as usize
    }

    /// `bytes` were written.
    pub(crate) fn take(&mut self, bytes: usize) {
        self.tokens -= bytes as f64;
    }

    /// How long until writing is worth while again; zero when it is.
    pub(crate) fn wait(&mut self, now: Instant) -> Duration {
        let worth = (self.rate as f64 / 4.0).min(4096.0);
        let missing = worth - self.available(now) as f64;
        if missing <= 0.0 {
            return Duration::ZERO;
        }
        Duration::from_secs_f64(missing / self.rate.max(1) as f64) + Duration::from_millis(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_rate_is_written_in_a_second() {
        let mut bucket = Bucket::new(1000);
        let mut now = Instant::now();
        let mut written = 0;
        for _ in 0..100 {
            let n = bucket.available(now);
            bucket.take(n);
            written += n;
            now += Duration::from_millis(20);
        }
        // The bucket was full at first, then two seconds passed.
        assert!((2900..=3000).contains(&written), "{written}");
        assert!(bucket.wait(now) > Duration::ZERO);
    }
}
