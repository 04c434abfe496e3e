//! Between who applies facts, who reads, and the thread that commits.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wrun_core::{EndedJob, Fact};
use wrun_protocol::{IndexRange, Timestamp};

use super::file::{File, Reader};
use super::layer::{Below, Layer};
use super::{HistoryError, HistoryOptions};

/// A layer of this size, in bytes, waits for the one before it to be committed.
const MAX_LAYER: usize = 24 << 20;
/// A layer of this size, in bytes, is committed without waiting for more.
const LARGE_LAYER: usize = 12 << 20;
/// Tries to commit one layer, and the pause between them.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);

pub(crate) struct Shared {
    state: Mutex<State>,
    /// Something for the committing thread; something for those who wait for it.
    work: Condvar,
    done: Condvar,
    options: HistoryOptions,
}

pub(crate) struct State {
    pub(crate) current: Layer,
    pub(crate) committing: Option<Arc<Layer>>,
    pub(crate) reader: Option<Arc<Reader>>,
    /// The last fact applied, the last one committed, and the last one of the commit before.
    last: u64,
    committed: u64,
    applied: u64,
    since: Option<Instant>,
    flush: bool,
    closed: bool,
    /// Nothing can be stored any more; why.
    failure: Option<String>,
}

struct Under<'a> {
    committing: Option<&'a Layer>,
    reader: Option<&'a Reader>,
}

impl Below for Under<'_> {
    fn task_keys(&self, job: u64, tasks: IndexRange) -> Vec<(u64, u32)> {
        let (first, last) = ((job, tasks.first), (job, tasks.end().saturating_sub(1)));
        let mut keys: Vec<_> = self
            .committing
            .map(|layer| layer.tasks.range(first..=last).map(|(key, _)| *key).collect())
            .unwrap_or_default();
        let rows = self.reader.map(|reader| reader.tasks(first..=last, usize::MAX));
        keys.extend(rows.into_iter().flatten().flatten().map(|row| (job, row.tasks.first)));
        keys
    }
}

impl Shared {
    pub(crate) fn new(file: &File, options: HistoryOptions) -> Result<Self, HistoryError> {
        let reader = file.reader().map_err(HistoryError::Unreadable)?;
        let applied = file.meta.applied;
        let state = State {
            current: Layer::default(),
            committing: None,
            reader: Some(Arc::new(reader)),
            last: applied,
            committed: applied,
            // The commit that was found may itself be lost: see `History::applied`.
            applied: 0,
            since: None,
            flush: false,
            closed: false,
            failure: None,
        };
        Ok(Self { state: Mutex::new(state), work: Condvar::new(), done: Condvar::new(), options })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn applied(&self) -> u64 {
        let state = self.state();
        if state.failure.is_some() { state.last } else { state.applied }
    }

    pub(crate) fn last(&self) -> u64 {
        self.state().last
    }

    pub(crate) fn apply(&self, seq: u64, fact: &Fact, ended: impl Iterator<Item = EndedJob>) {
        let mut state = self.state();
        if seq <= state.last {
            return;
        }
        state.last = seq;
        if state.failure.is_some() {
            return;
        }
        while state.current.bytes >= MAX_LAYER && state.committing.is_some() {
            state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let State { current, committing, reader, .. } = &mut *state;
        let under = Under { committing: committing.as_deref(), reader: reader.as_deref() };
        let before = current.bytes;
        current.apply(seq, fact, ended, &under);
        self.on_change(state, before);
    }

    pub(crate) fn advance(&self, seq: u64, at: Timestamp) {
        let mut state = self.state();
        if seq <= state.last {
            return;
        }
        state.last = seq;
        if state.failure.is_none() {
            let before = state.current.bytes;
            state.current.advance(seq, at);
            self.on_change(state, before);
        }
    }

    /// The current layer had `before` bytes until now. The committing thread is woken when
    /// that makes a difference, not for every fact: each waking is a system call.
    fn on_change(&self, mut state: MutexGuard<'_, State>, before: usize) {
        let first = state.since.is_none();
        if first {
            state.since = Some(Instant::now());
        }
        if first || (before < LARGE_LAYER && state.current.bytes >= LARGE_LAYER) {
            self.work.notify_one();
        }
    }

    pub(crate) fn flush(&self) -> Result<(), HistoryError> {
        let mut state = self.state();
        let target = state.last;
        state.flush = true;
        self.work.notify_one();
        while state.failure.is_none()
            && !state.closed
            && (state.committed < target || !state.current.is_empty() && state.flush)
        {
            state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.failure.clone().map_or(Ok(()), |reason| Err(HistoryError::Unwritable(reason)))
    }

    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.work.notify_all();
    }

    /// Commits everything, and once more where that is what counts: see [`Self::applied`].
    pub(crate) fn settle(&self) -> Result<(), HistoryError> {
        let mut state = self.state();
        let target = state.last;
        while state.failure.is_none() && !state.closed && state.applied < target {
            if state.current.is_empty() && state.committing.is_none() {
                let last = state.last;
                state.current.advance(last, Timestamp(0));
            }
            if !state.current.is_empty() {
                state.flush = true;
                self.work.notify_one();
            }
            state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.failure.clone().map_or(Ok(()), |reason| Err(HistoryError::Unwritable(reason)))
    }

    /// The committing thread.
    pub(crate) fn run(&self, file: File) {
        let mut file = Some(file);
        while let Some(layer) = self.next_layer() {
            let result = self.commit(&mut file, &layer);
            let mut state = self.state();
            state.committing = None;
            match result {
                Ok(reader) => {
                    state.reader = Some(Arc::new(reader));
                    state.applied = state.committed;
                    state.committed = state.committed.max(layer.seq);
                }
                Err(reason) => {
                    tracing::error!(reason, "the history is given up until the next start");
                    state.reader = None;
                    state.current = Layer::default();
                    state.failure = Some(reason);
                }
            }
            self.done.notify_all();
        }
    }

    /// Waits until a layer is due. `None` when closed and nothing is left, or after a failure.
    fn next_layer(&self) -> Option<Arc<Layer>> {
        let mut state = self.state();
        loop {
            if state.failure.is_some() {
                return None;
            }
            if state.current.is_empty() {
                state.flush = false;
                self.done.notify_all();
                if state.closed {
                    return None;
                }
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let waited = state.since.map_or(Duration::MAX, |since| since.elapsed());
            let now = state.flush || state.closed || state.current.bytes >= LARGE_LAYER;
            match self.options.commit_after.checked_sub(waited) {
                Some(left) if !now && !left.is_zero() => {
                    let woken = self.work.wait_timeout(state, left);
                    state = woken.unwrap_or_else(PoisonError::into_inner).0;
                }
                _ => break,
            }
        }
        let layer = Arc::new(std::mem::take(&mut state.current));
        state.committing = Some(Arc::clone(&layer));
        state.since = None;
        state.flush = false;
        self.done.notify_all();
        Some(layer)
    }

    /// Tries again on a reopened file, and on a fresh one where it turns out damaged.
    fn commit(&self, file: &mut Option<File>, layer: &Layer) -> Result<Reader, String> {
        let mut reason = String::new();
        for attempt in 0..TRIES {
            let mut open = file.take().ok_or_else(|| reason.clone())?;
            if attempt > 0 {
                self.state().reader = None;
                std::thread::sleep(PAUSE);
                let (reopened, warning) = open.reopen().map_err(|error| error.to_string())?;
                open = reopened;
                if let Some(warning) = warning {
                    tracing::error!("{warning}");
                }
            }
            let stored = open.commit(layer, &self.options.retention);
            let result = stored.and_then(|()| open.reader());
            *file = Some(open);
            match result {
                Ok(reader) => return Ok(reader),
                Err(error) => {
                    tracing::error!(error, attempt, "the history was not written");
                    reason = error;
                }
            }
        }
        Err(reason)
    }
}
