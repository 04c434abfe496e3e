//! The thread that writes snapshots and drops what they and the history cover. A failure
//! here is reported and harms nothing: the facts stay.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::format;
use super::recover::Recovered;
use super::writer::{segment_path, write_whole};
use crate::disk::Disk;

pub(crate) struct Snapshots {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    offered: Option<(u64, Vec<u8>)>,
    /// Facts that are durable: no snapshot may be ahead of them.
    durable: u64,
    /// Sequence of the snapshot on disk; 0 without one.
    written: u64,
    /// What the history holds.
    history: u64,
    /// First sequences of the segments, ascending; the last is written to.
    segments: Vec<u64>,
    /// Something was covered since the last look.
    look: bool,
    closed: bool,
}

impl State {
    /// Whether a snapshot can be written. One whose facts never become durable is not.
    fn is_ready(&self) -> bool {
        self.offered.as_ref().is_some_and(|(seq, _)| *seq <= self.durable)
    }
}

pub(crate) fn snapshot_path(dir: &Path, seq: u64) -> PathBuf {
    dir.join(format!("{seq:020}.snapshot"))
}

impl Snapshots {
    pub(crate) fn new<T>(disk: Arc<dyn Disk>, dir: &Path, recovered: &Recovered<T>) -> Self {
        let state = State {
            written: recovered.covered(),
            segments: recovered.segments(),
            durable: recovered.last_seq(),
            ..State::default()
        };
        Self { disk, dir: dir.to_owned(), state: Mutex::new(state), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_one();
    }

    pub(crate) fn offer(&self, seq: u64, bytes: Vec<u8>) {
        self.change(|state| state.offered = Some((seq, bytes)));
    }

    pub(crate) fn on_durable(&self, seq: u64) {
        let mut state = self.state();
        state.durable = seq;
        if state.is_ready() {
            self.changed.notify_one();
        }
    }

    pub(crate) fn forget_up_to(&self, seq: u64) {
        self.change(|state| {
            state.history = state.history.max(seq);
            state.look = true;
        });
    }

    pub(crate) fn on_segment(&self, first_seq: u64) {
        self.change(|state| {
            state.segments.push(first_seq);
            state.look = true;
        });
    }

    /// Ends the thread once it has written what was offered.
    pub(crate) fn close(&self) {
        self.change(|state| state.closed = true);
    }

    pub(crate) fn run(&self) {
        loop {
            let mut state = self.state();
            while !state.is_ready() && !state.look {
                if state.closed {
                    return;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.look = false;
            let offered = if state.is_ready() { state.offered.take() } else { None };
            drop(state);
            if let Some((seq, bytes)) = offered {
                self.write(seq, &bytes);
            }
            self.drop_covered();
        }
    }

    fn write(&self, seq: u64, state: &[u8]) {
        let before = self.state().written;
        if seq <= before {
            return;
        }
        let path = snapshot_path(&self.dir, seq);
        let header = format::snapshot_header(seq, state);
        match write_whole(&*self.disk, &self.dir, &path, &[&header, state]) {
            Ok(()) => {
                self.state().written = seq;
                if before > 0 {
                    self.remove(&snapshot_path(&self.dir, before));
                }
            }
            Err((action, error)) => {
                let path = path.display();
                tracing::warn!(%path, action, %error, "a snapshot was not written; its facts are kept");
                let _ = self.disk.remove(&snapshot_path(&self.dir, seq).with_extension("tmp"));
            }
        }
    }

    fn drop_covered(&self) {
        loop {
            let mut state = self.state();
            let covered = state.written.min(state.history);
            let goes = matches!(state.segments.get(1), Some(next) if *next <= covered + 1);
            if !goes {
                return;
            }
            // Oldest first, so that what stays has no hole.
            let first = state.segments.remove(0);
            drop(state);
            self.remove(&segment_path(&self.dir, first));
        }
    }

    fn remove(&self, path: &Path) {
        if let Err(error) = self.disk.remove(path) {
            tracing::warn!(path = %path.display(), %error, "a file that is not needed was not removed");
        }
    }
}
