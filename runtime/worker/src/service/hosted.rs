//! A replica that is open on this node.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{Request, Response};
use tokio::runtime::Handle;
use tokio::sync::watch;
use wrun_protocol::AttemptId;
use wrun_protocol::task::{Failure, Outcome, Usage};
use wrun_protocol::time::millis;
use wrun_sandbox::{Body, CallError, TaskEnd};

use crate::executor::Executor;

/// Between two lines in a replica's log on requests that failed: a guest that fails with
/// each must not drown what it says itself.
const COMPLAIN_EVERY: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct Hosted<E: Executor> {
    attempt: AttemptId,
    replica: E::Replica,
    opened: Instant,
    phase: watch::Sender<Phase>,
    /// Why it was given up as failed.
    verdict: Mutex<Option<String>>,
    complaints: Mutex<Complaints>,
    /// Guests end on threads that are none of the runtime's.
    runtime: Handle,
}

/// What a replica is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It takes requests.
    Serving,
    /// The same, and handles none now.
    Frozen,
    /// It takes none any more.
    Leaving,
}

#[derive(Default)]
struct Complaints {
    last: Option<Instant>,
    kept_back: u64,
}

impl<E: Executor> Hosted<E> {
    /// That one, as of now.
    pub(crate) fn new(attempt: AttemptId, replica: E::Replica, runtime: Handle) -> Self {
        Self {
            attempt,
            replica,
            opened: Instant::now(),
            phase: watch::Sender::new(Phase::Serving),
            verdict: Mutex::default(),
            complaints: Mutex::default(),
            runtime,
        }
    }

    /// Which it is.
    pub(crate) fn attempt(&self) -> AttemptId {
        self.attempt
    }

    /// Hands it a request; never waits itself.
    pub(crate) fn call(
        &self,
        request: Request<Body>,
        deadline: Instant,
    ) -> impl Future<Output = Result<Response<Body>, CallError>> + Send + 'static {
        E::call(&self.replica, request, deadline)
    }

    /// What it is about, from now on.
    pub(crate) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    fn set_phase(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            // There is no way back.
            let changes = *now != Phase::Leaving && *now != phase;
            if changes {
                *now = phase;
            }
            changes
        });
    }

    /// Takes the CPU away, or gives it back.
    pub(crate) fn freeze(&self, frozen: bool) {
        E::freeze_replica(&self.replica, frozen);
        self.set_phase(if frozen { Phase::Frozen } else { Phase::Serving });
    }

    /// Takes no more requests; ends when those under way are over.
    pub(crate) fn drain(&self) {
        self.set_phase(Phase::Leaving);
        let replica = self.replica.clone();
        self.runtime.spawn(async move { E::drain(&replica).await });
    }

    /// Ends, and the requests under way with it.
    pub(crate) fn stop(&self) {
        self.set_phase(Phase::Leaving);
        E::stop_replica(&self.replica);
    }

    /// Ends as failed, unless it is ending already.
    pub(crate) fn fail(&self, why: String) {
        let is_first = *self.phase.borrow() != Phase::Leaving;
        if is_first {
            *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        }
        self.stop();
    }

    /// How it has ended.
    pub(crate) fn end(&self) -> TaskEnd {
        self.set_phase(Phase::Leaving);
        let verdict = self.verdict.lock().unwrap_or_else(PoisonError::into_inner).take();
        let failure = match verdict {
            Some(message) => Failure::Setup { message },
            None => Failure::Cancelled,
        };
        let used = E::usage(&self.replica);
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let usage = Usage {
            wall_us: micros(self.opened.elapsed()),
            cpu_us: micros(used.cpu),
            frozen_us: 0,
            peak_memory: used.peak_memory,
        };
        TaskEnd { outcome: Outcome::Failed(failure), usage, output: None }
    }

    /// The line for its log on a request that failed by what the guest did, if it is time for
    /// one.
    pub(crate) fn complaint(&self, error: &CallError) -> Option<String> {
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if complaints.last.is_some_and(|last| now < last + COMPLAIN_EVERY) {
            complaints.kept_back += 1;
            return None;
        }
        complaints.last = Some(now);
        let more = match std::mem::take(&mut complaints.kept_back) {
            0 => String::new(),
            more => format!(" (and {more} more failed since the last line)"),
        };
        Some(format!("[wrun: a request failed: {error}{more}]\n"))
    }
}

/// The deadline of a request that may take so long.
pub(super) fn within(time: u64) -> Instant {
    Instant::now() + Duration::from_millis(time.min(wrun_protocol::limits::MAX_TIME_MS))
}

/// A time in words.
pub(super) fn in_words(time: Duration) -> String {
    format!("{} ms", millis(time))
}
