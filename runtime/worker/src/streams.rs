//! What flows into and out of one running task: its log, and its standard input where a
//! client is attached.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use wrun_protocol::JobSpec;

use crate::log::TaskLog;

/// Pieces of standard input between the client's stream and the guest; a client that
/// sends more waits.
const STDIN_PIECES: usize = 8;

/// Made when a task first logs, is followed, or is to be attached.
pub(crate) struct Streams {
    pub(crate) log: TaskLog,
    stdin: Mutex<Stdin>,
    /// The guest took its end of standard input.
    taken: Notify,
}

struct Stdin {
    sender: Option<mpsc::Sender<Bytes>>,
    receiver: Option<mpsc::Receiver<Bytes>>,
}

impl Streams {
    /// Nothing has flowed yet.
    pub(crate) fn new(spec: &JobSpec) -> Self {
        let (sender, receiver) = mpsc::channel(STDIN_PIECES);
        let limits = &spec.limits;
        let log = match spec.service {
            Some(_) => TaskLog::newest(limits.log_bytes),
            None => TaskLog::first(limits.log_bytes.saturating_add(limits.output_bytes)),
        };
        let stdin = Stdin { sender: Some(sender), receiver: Some(receiver) };
        Self { log, stdin: Mutex::new(stdin), taken: Notify::new() }
    }

    /// The guest's end of standard input; there is one.
    pub(crate) fn take_stdin(&self) -> Option<mpsc::Receiver<Bytes>> {
        let taken = self.stdin.lock().unwrap_or_else(PoisonError::into_inner).receiver.take();
        self.taken.notify_waiters();
        taken
    }

    /// Waits until the guest has its end of standard input.
    pub(crate) async fn stdin_taken(&self) {
        let taken = self.taken.notified();
        tokio::pin!(taken);
        // From here on no notification is missed.
        taken.as_mut().enable();
        if self.stdin.lock().unwrap_or_else(PoisonError::into_inner).receiver.is_some() {
            taken.await;
        }
    }

    /// The client's end, until its end was said.
    pub(crate) fn stdin(&self) -> Option<mpsc::Sender<Bytes>> {
        self.stdin.lock().unwrap_or_else(PoisonError::into_inner).sender.clone()
    }

    /// No more input will come.
    pub(crate) fn end_stdin(&self) {
        self.stdin.lock().unwrap_or_else(PoisonError::into_inner).sender = None;
    }

    /// The task has ended, or will never start.
    pub(crate) fn close(&self) {
        self.log.close();
        self.end_stdin();
    }
}
