//! Wakes those who wait for a time: deadlines and delays of queues, limits of loads. One
//! thread, asleep while there is nothing to wait for; it decides nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use crate::error::StartError;

/// Who can be woken.
pub(crate) trait Wake: Send + Sync {
    /// It is that time. A call too many does no harm.
    fn wake(&self, now: Instant);
}

/// A wake-up that is set. Those of one time are told apart by a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timer {
    pub(crate) at: Instant,
    number: u64,
}

/// The clock. Copies are the same one; it ends with [`Clock::stop`].
#[derive(Clone)]
pub(crate) struct Clock(Arc<Shared>);

struct Shared {
    timers: Mutex<Timers>,
    changed: Condvar,
}

#[derive(Default)]
struct Timers {
    due: BTreeMap<Timer, Weak<dyn Wake>>,
    next: u64,
    stopped: bool,
}

impl Clock {
    pub(crate) fn start() -> Result<Self, StartError> {
        let shared = Arc::new(Shared { timers: Mutex::default(), changed: Condvar::new() });
        let its = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("wrun-infer-clock".to_owned());
        thread.spawn(move || its.run()).map_err(StartError::Thread)?;
        Ok(Self(shared))
    }

    /// Wakes `who` at that time, if it is still there, and not for `instead` any more.
    pub(crate) fn at(&self, at: Instant, who: Weak<dyn Wake>, instead: Option<Timer>) -> Timer {
        let mut timers = self.0.timers();
        timers.next += 1;
        let timer = Timer { at, number: timers.next };
        if let Some(instead) = instead {
            timers.due.remove(&instead);
        }
        let is_first = timers.due.first_key_value().is_none_or(|(first, _)| at < first.at);
        timers.due.insert(timer, who);
        drop(timers);
        if is_first {
            self.0.changed.notify_one();
        }
        timer
    }

    /// Does not wake for that any more.
    pub(crate) fn forget(&self, timer: Timer) {
        self.0.timers().due.remove(&timer);
    }

    pub(crate) fn stop(&self) {
        self.0.timers().stopped = true;
        self.0.changed.notify_one();
    }
}

impl Shared {
    fn run(&self) {
        let mut timers = self.timers();
        while !timers.stopped {
            let now = Instant::now();
            match timers.due.first_entry() {
                Some(entry) if entry.key().at <= now => {
                    let who = entry.remove();
                    drop(timers);
                    if let Some(who) = who.upgrade() {
                        who.wake(now);
                    }
                    timers = self.timers();
                }
                Some(entry) => {
                    let time = entry.key().at.saturating_duration_since(now);
                    let waited = self.changed.wait_timeout(timers, time);
                    timers = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                None => {
                    timers = self.changed.wait(timers).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    fn timers(&self) -> MutexGuard<'_, Timers> {
        self.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
