//! From guest threads to the agent: what happened, in batches. A guest thread takes one
//! of a few locks for a moment and wakes the agent once per batch.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;
use wrun_protocol::task::Usage;
use wrun_protocol::wire::service::Readied;
use wrun_protocol::{AttemptId, JobId};
use wrun_sandbox::{CheckpointDone, TaskEnd};

use crate::slots::Stopping;
use crate::streams::Streams;

const SHARDS: usize = 4;

/// Longest text of a progress message that is kept, in bytes.
const MAX_MESSAGE: usize = 256;

/// What happened to an attempt.
pub(crate) enum Event {
    /// It ended well, with nothing to tell.
    Succeeded { job: JobId, attempt: u32, index: u32, usage: Usage },
    /// It ended otherwise.
    Ended(Box<Ended>),
    /// It waits until its state is saved.
    Checkpoint(Box<Checkpoint>),
    /// A replica is ready, or not any more.
    Readied { token: u64, state: Readied },
}

/// The end of an attempt.
pub(crate) struct Ended {
    pub(crate) attempt: AttemptId,
    pub(crate) end: TaskEnd,
    pub(crate) streams: Option<Arc<Streams>>,
    pub(crate) stopping: Option<Stopping>,
}

/// A state to save.
pub(crate) struct Checkpoint {
    pub(crate) token: u64,
    pub(crate) attempt: AttemptId,
    pub(crate) state: Bytes,
    pub(crate) done: CheckpointDone,
}

/// The last word of each attempt on how far it is.
pub(crate) type Progress = HashMap<u64, (u16, String)>;

/// The queue. What it can hold is bounded by the tasks that are here.
pub(crate) struct EventQueue {
    shards: [Mutex<Vec<Event>>; SHARDS],
    progress: Mutex<Progress>,
    has_progress: AtomicBool,
    signalled: AtomicBool,
    wake: Notify,
}

thread_local! {
    static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The shard of this thread: threads take them in turn.
fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    SHARD.with(|shard| {
        if shard.get() == usize::MAX {
            shard.set(NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS);
        }
        shard.get()
    })
}

impl EventQueue {
    pub(crate) fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            progress: Mutex::default(),
            has_progress: AtomicBool::new(false),
            signalled: AtomicBool::new(false),
            wake: Notify::new(),
        }
    }

    pub(crate) fn push(&self, event: Event) {
        if let Some(shard) = self.shards.get(shard()) {
            shard.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        }
        self.signal();
    }

    pub(crate) fn set_progress(&self, token: u64, permille: u16, message: &str) {
        let end = message.floor_char_boundary(MAX_MESSAGE);
        let message = message.get(..end).unwrap_or_default().to_owned();
        let last = (permille.min(1000), message);
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).insert(token, last);
        if !self.has_progress.swap(true, Ordering::AcqRel) {
            self.signal();
        }
    }

    fn signal(&self) {
        // Looked at before it is written to: on a busy node it is set already, and writing
        // would take it away from every other thread.
        if !self.signalled.load(Ordering::Acquire) && !self.signalled.swap(true, Ordering::AcqRel) {
            self.wake.notify_one();
        }
    }

    /// Waits until something was pushed since the last [`EventQueue::drain`].
    pub(crate) async fn wait(&self) {
        self.wake.notified().await;
    }

    /// Moves all events to `into`.
    pub(crate) fn drain(&self, into: &mut Vec<Event>) {
        // Before looking: what is pushed from here on signals again.
        self.signalled.store(false, Ordering::Release);
        for shard in &self.shards {
            into.append(&mut shard.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Whether an attempt said how far it is.
    pub(crate) fn has_progress(&self) -> bool {
        self.has_progress.load(Ordering::Acquire)
    }

    /// The last words since this was last asked.
    pub(crate) fn take_progress(&self) -> Progress {
        self.has_progress.store(false, Ordering::Release);
        std::mem::take(&mut *self.progress.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
