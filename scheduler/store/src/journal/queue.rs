//! The bounded hand-over between who appends and the writer, and the journal's fate.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use wrun_core::Fact;

use super::error::JournalError;

pub(crate) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    max_waiting: usize,
}

struct State {
    batches: Vec<Vec<Fact>>,
    /// Facts not known to be durable, those that the writer has taken included.
    waiting: usize,
    last_seq: u64,
    closed: bool,
    failure: Option<JournalError>,
}

impl Queue {
    pub(crate) fn new(last_seq: u64, max_waiting: usize) -> Self {
        let state =
            State { batches: Vec::new(), waiting: 0, last_seq, closed: false, failure: None };
        Self { state: Mutex::new(state), arrived: Condvar::new(), max_waiting }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, facts: Vec<Fact>) -> Result<u64, JournalError> {
        let mut state = self.state();
        state.check()?;
        if facts.is_empty() {
            return Ok(state.last_seq);
        }
        // A hand-over larger than the bound itself is taken when nothing waits.
        if state.waiting > 0 && state.waiting + facts.len() > self.max_waiting {
            return Err(JournalError::Full { waiting: state.waiting });
        }
        state.waiting += facts.len();
        state.last_seq += facts.len() as u64;
        state.batches.push(facts);
        let last = state.last_seq;
        drop(state);
        self.arrived.notify_one();
        Ok(last)
    }

    /// Everything that has arrived; waits for something. `None` when closed and empty.
    pub(crate) fn take(&self) -> Option<Vec<Vec<Fact>>> {
        let mut state = self.state();
        while state.batches.is_empty() {
            if state.closed {
                return None;
            }
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Some(std::mem::take(&mut state.batches))
    }

    pub(crate) fn on_durable(&self, facts: usize) {
        let mut state = self.state();
        state.waiting = state.waiting.saturating_sub(facts);
    }

    /// The first failure stays.
    pub(crate) fn fail(&self, error: JournalError) {
        self.state().failure.get_or_insert(error);
    }

    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.arrived.notify_all();
    }

    pub(crate) fn check(&self) -> Result<(), JournalError> {
        self.state().check()
    }

    /// How it ended.
    pub(crate) fn outcome(&self) -> Result<(), JournalError> {
        self.state().failure.clone().map_or(Ok(()), Err)
    }
}

impl State {
    fn check(&self) -> Result<(), JournalError> {
        match &self.failure {
            Some(error) => Err(error.clone()),
            None if self.closed => Err(JournalError::Closed),
            None => Ok(()),
        }
    }
}
