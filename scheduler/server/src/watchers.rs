//! Who waits for a job to change. Filled by requests, fired by the driver after what
//! changed is durable. It carries no state of a job: a watcher that is woken looks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use wrun_protocol::JobId;

/// What a watcher is told.
#[derive(Clone, Copy, Debug, Default)]
struct Signal {
    /// Counts changes.
    version: u64,
    /// The core has dropped the job: its end is, or is about to be, in the history.
    ended: bool,
}

/// Every job that somebody watches. Bounded by the bound on requests.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    jobs: Mutex<HashMap<JobId, watch::Sender<Signal>>>,
}

/// One watcher's view of one job. Dropping it ends the watch.
#[derive(Debug)]
pub(crate) struct Watcher {
    job: JobId,
    receiver: Option<watch::Receiver<Signal>>,
    all: Arc<Watchers>,
}

impl Watchers {
    /// Watches `job` from now on: subscribe first, look second, and nothing is missed.
    pub(crate) fn watch(self: &Arc<Self>, job: JobId) -> Watcher {
        let mut jobs = self.lock();
        let sender = jobs.entry(job).or_insert_with(|| watch::Sender::new(Signal::default()));
        Watcher { job, receiver: Some(sender.subscribe()), all: Arc::clone(self) }
    }

    /// Says that `job` has changed; `ended` is asked only where somebody watches.
    pub(crate) fn on_changed(&self, job: JobId, ended: impl FnOnce() -> bool) {
        let jobs = self.lock();
        if let Some(sender) = jobs.get(&job) {
            let ended = ended();
            sender.send_modify(|signal| {
                signal.version += 1;
                signal.ended |= ended;
            });
        }
    }

    /// Wakes everyone for good: the server stops.
    pub(crate) fn end(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, watch::Sender<Signal>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher {
    /// The next change since the last call. `false` when the server stops.
    pub(crate) async fn changed(&mut self) -> bool {
        match &mut self.receiver {
            Some(receiver) => receiver.changed().await.is_ok(),
            None => false,
        }
    }

    /// Waits until `earliest`, or less if the job ends before. `false` when the server stops.
    pub(crate) async fn pause_until(&mut self, earliest: Instant) -> bool {
        let Some(receiver) = &mut self.receiver else { return false };
        match tokio::time::timeout_at(earliest, receiver.wait_for(|signal| signal.ended)).await {
            Ok(ended) => ended.is_ok(),
            Err(_) => true,
        }
    }

    /// Waits for the next change, `longest` at most.
    pub(crate) async fn changed_within(&mut self, longest: Duration) -> bool {
        tokio::time::timeout(longest, self.changed()).await.unwrap_or(true)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.receiver = None;
        let mut jobs = self.all.lock();
        if jobs.get(&self.job).is_some_and(|sender| sender.receiver_count() == 0) {
            jobs.remove(&self.job);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_between_subscribing_and_looking_is_not_missed() {
        let watchers = Arc::new(Watchers::default());
        let mut watcher = watchers.watch(JobId(1));
        watchers.on_changed(JobId(1), || false);
        assert!(watcher.changed().await);
    }

    #[tokio::test]
    async fn a_pause_is_cut_short_by_the_end_only() {
        let watchers = Arc::new(Watchers::default());
        let mut watcher = watchers.watch(JobId(1));
        let earliest = Instant::now() + Duration::from_millis(20);
        watchers.on_changed(JobId(1), || false);
        assert!(watcher.pause_until(earliest).await);
        assert!(Instant::now() >= earliest);
        watchers.on_changed(JobId(1), || true);
        let far = Instant::now() + Duration::from_secs(3600);
        assert!(watcher.pause_until(far).await);
        assert!(Instant::now() < far);
    }

    #[test]
    fn nothing_is_kept_of_a_watch_that_is_over() {
        let watchers = Arc::new(Watchers::default());
        drop((watchers.watch(JobId(1)), watchers.watch(JobId(1))));
        assert!(watchers.lock().is_empty());
    }
}
