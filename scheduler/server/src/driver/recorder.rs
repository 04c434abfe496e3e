//! Feeds durable facts to the history, on a thread of its own: rows are written while the
//! core goes on.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use wrun_core::Fact;
use wrun_store::{History, Journal};

use crate::ServerError;

/// Batches of facts that wait for the history.
const MAX_BATCHES: usize = 16;

/// Facts in one batch.
const MAX_BATCH: usize = 4096;

/// The driver's end of the history's thread.
pub(crate) struct Recorder {
    batches: Option<mpsc::Sender<Vec<(u64, Fact)>>>,
    recorded: watch::Receiver<u64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Recorder {
    /// Starts the thread. `recorded` is the last fact that the history has been given.
    pub(crate) fn start(
        history: Arc<History>,
        journal: Arc<Journal>,
        recorded: u64,
    ) -> std::io::Result<Self> {
        let (batches, receiver) = mpsc::channel(MAX_BATCHES);
        let (done, recorded) = watch::channel(recorded);
        let thread = std::thread::Builder::new()
            .name("wrun-history".to_owned())
            .spawn(move || record(&history, &journal, receiver, &done))?;
        Ok(Self { batches: Some(batches), recorded, thread: Some(thread) })
    }

    /// Hands over the facts up to `durable`, as far as there is room.
    pub(crate) fn send(
        &mut self,
        facts: &mut VecDeque<(u64, Fact)>,
        durable: u64,
    ) -> Result<(), ServerError> {
        let Some(batches) = &self.batches else { return Ok(()) };
        loop {
            let count = facts.partition_point(|(seq, _)| *seq <= durable).min(MAX_BATCH);
            if count == 0 {
                return Ok(());
            }
            match batches.try_reserve() {
                Ok(room) => room.send(facts.drain(..count).collect()),
                Err(mpsc::error::TrySendError::Full(())) => return Ok(()),
                Err(mpsc::error::TrySendError::Closed(())) => {
                    return Err(ServerError::History("the history's thread has ended".to_owned()));
                }
            }
        }
    }

    /// The last fact that readers of the history see.
    pub(crate) fn recorded(&self) -> u64 {
        *self.recorded.borrow()
    }

    /// Waits until [`Self::recorded`] has moved.
    pub(crate) async fn changed(&mut self) {
        if self.recorded.changed().await.is_err() {
            // The thread is gone; `send` tells.
            std::future::pending::<()>().await;
        }
    }

    /// Lets the thread finish and waits for it.
    pub(crate) async fn close(&mut self) -> Result<(), ServerError> {
        self.batches = None;
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let joined = tokio::task::spawn_blocking(move || thread.join().is_ok()).await;
        match joined {
            Ok(true) => Ok(()),
            _ => Err(ServerError::History("the history's thread failed".to_owned())),
        }
    }
}

fn record(
    history: &History,
    journal: &Journal,
    mut batches: mpsc::Receiver<Vec<(u64, Fact)>>,
    done: &watch::Sender<u64>,
) {
    let mut forgotten = 0;
    while let Some(batch) = batches.blocking_recv() {
        let mut last = None;
        for (seq, fact) in &batch {
            history.apply(*seq, fact);
            last = Some(*seq);
        }
        if let Some(last) = last {
            done.send_replace(last);
        }
        let applied = history.applied();
        if applied > forgotten {
            forgotten = applied;
            journal.forget_up_to(applied);
        }
    }
}
