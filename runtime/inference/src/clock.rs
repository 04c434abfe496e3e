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

/// The clock. Copies are the same one; it ends with [`Clock::stop`].
#[derive(Clone)]
pub(crate) struct Clock(Arc<Shared>);

struct Shared {
    timers: Mutex<Timers>,
    changed: Condvar,
}

#[derive(Default)]
struct Timers {
    /// In the order of their times; the number tells those of one time apart.
    due: BTreeMap<(Instant, u64), Weak<dyn Wake>>,
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

    /// Wakes `who` at that time, if it is still there.
    pub(crate) fn at(&self, at: Instant, who: Weak<dyn Wake>) {
        let mut timers = self.0.timers();
        timers.next += 1;
        let number = timers.next;
        let is_first = timers.due.first_key_value().is_none_or(|((first, _), _)| at < *first);
        timers.due.insert((at, number), who);
        drop(timers);
        if is_first {
            self.0.changed.notify_one();
        }
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
                Some(entry) if entry.key().0 <= now => {
                    let who = entry.remove();
                    drop(timers);
                    if let Some(who) = who.upgrade() {
                        who.wake(now);
                    }
                    timers = self.timers();
                }
                Some(entry) => {
                    let time = entry.key().0.saturating_duration_since(now);
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
