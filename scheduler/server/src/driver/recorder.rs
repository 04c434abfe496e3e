//! Opens the history and feeds durable facts to it, on a thread of its own: rows are written
//! while the core goes on, and the server works before an old history is open.
//!
//! A snapshot of the core passes through here too. It is handed to the journal when the
//! history has all that is before it: jobs that ended before a snapshot are not in it, and
//! nothing else could tell the history of them after a restart.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use wrun_core::{EndedJob, Fact};
use wrun_protocol::Timestamp;
use wrun_store::{History, Journal};

use crate::ServerError;
use crate::history::{self, Opened, Opening};

/// Records that wait for the history.
const MAX_RECORDS: usize = 4;

/// Facts in one record, ended jobs counted too, unless one fact has more.
const MAX_BATCH: usize = 4096;

/// A fact that tells the history something, and the jobs that it ends.
pub(crate) struct Told {
    pub(crate) seq: u64,
    pub(crate) fact: Fact,
    pub(crate) ended: Vec<EndedJob>,
}

impl Told {
    fn weight(&self) -> usize {
        1 + self.ended.len()
    }
}

/// Facts in order that the history has not been told.
#[derive(Default)]
pub(crate) struct Untold {
    facts: VecDeque<Told>,
    weight: usize,
}

impl Untold {
    /// Adds the fact `seq`, if it tells the history anything.
    pub(crate) fn push(&mut self, seq: u64, fact: &Fact) {
        if History::is_told(fact) {
            self.facts.push_back(Told { seq, fact: fact.clone(), ended: Vec::new() });
            self.weight += 1;
        }
    }

    /// Adds a job that the last fact ends.
    pub(crate) fn push_ended(&mut self, job: EndedJob) {
        if let Some(last) = self.facts.back_mut() {
            last.ended.push(job);
            self.weight += 1;
        }
    }

    /// Facts and ended jobs that wait.
    pub(crate) fn len(&self) -> usize {
        self.weight
    }

    /// Takes facts up to `durable`, about [`MAX_BATCH`] at most, and says how far they reach.
    fn take(&mut self, durable: u64) -> (Vec<Told>, u64) {
        let (mut batch, mut weight, mut up_to) = (Vec::new(), 0, durable);
        while let Some(next) = self.facts.front().filter(|next| next.seq <= durable) {
            if weight >= MAX_BATCH {
                up_to = next.seq - 1;
                break;
            }
            weight += next.weight();
            batch.extend(self.facts.pop_front());
        }
        self.weight -= weight;
        (batch, up_to)
    }
}

enum Record {
    /// Facts up to a sequence, and the time that it has reached.
    Facts { told: Vec<Told>, up_to: u64, at: Timestamp },
    /// A snapshot of the core after a fact.
    Snapshot { seq: u64, bytes: Vec<u8> },
}

/// What the journal knows of the past, for a history that does not have all of it.
pub(crate) struct Begin {
    pub(crate) journal: Arc<Journal>,
    pub(crate) past: history::Past,
}

/// The driver's end of the history's thread.
pub(crate) struct Recorder {
    begin: Option<std::sync::mpsc::Sender<Begin>>,
    records: Option<mpsc::Sender<Record>>,
    recorded: watch::Receiver<u64>,
    opening: Opening,
    /// The last fact that was sent.
    sent: u64,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Recorder {
    /// Starts the thread, which opens the history with `open`.
    pub(crate) fn start(
        open: impl FnOnce(&history::Past) -> Result<Opened, ServerError> + Send + 'static,
    ) -> std::io::Result<Self> {
        let (begin, begun) = std::sync::mpsc::channel();
        let (records, receiver) = mpsc::channel(MAX_RECORDS);
        let (done, recorded) = watch::channel(0);
        let (opened, opening) = watch::channel(None);
        let run = move || {
            // Without a beginning the server has not started either.
            let Ok(Begin { journal, past }) = begun.recv() else { return };
            match open(&past) {
                Ok(open) => {
                    let history = Arc::clone(&open.history);
                    opened.send_replace(Some(Ok(open)));
                    record(&history, &journal, receiver, &done);
                }
                Err(error) => drop(opened.send_replace(Some(Err(Arc::new(error))))),
            }
        };
        let thread = std::thread::Builder::new().name("wrun-history".to_owned()).spawn(run)?;
        let (begin, records) = (Some(begin), Some(records));
        let opening = Opening::new(opening);
        Ok(Self { begin, records, recorded, opening, sent: 0, thread: Some(thread) })
    }

    /// Says what the journal knows. To be called once, before anything is sent.
    pub(crate) fn begin(&mut self, begin: Begin) {
        if let Some(to) = self.begin.take() {
            // A thread that has ended is noticed by `send`.
            let _ = to.send(begin);
        }
    }

    /// The history, once it is open.
    pub(crate) fn opening(&self) -> &Opening {
        &self.opening
    }

    /// Hands over the facts up to `durable`, as far as there is room. `at` is the time.
    pub(crate) fn send(
        &mut self,
        untold: &mut Untold,
        durable: u64,
        at: Timestamp,
    ) -> Result<(), ServerError> {
        let Some(records) = &self.records else { return Ok(()) };
        while self.sent < durable {
            match records.try_reserve() {
                Ok(room) => {
                    let (told, up_to) = untold.take(durable);
                    self.sent = up_to;
                    room.send(Record::Facts { told, up_to, at });
                }
                Err(mpsc::error::TrySendError::Full(())) => return Ok(()),
                Err(mpsc::error::TrySendError::Closed(())) => return Err(self.ended()),
            }
        }
        Ok(())
    }

    /// The same at recovery; waits for room.
    pub(crate) fn send_all(
        &mut self,
        untold: &mut Untold,
        durable: u64,
        at: Timestamp,
    ) -> Result<(), ServerError> {
        while self.sent < durable {
            let (told, up_to) = untold.take(durable);
            self.sent = up_to;
            let record = Record::Facts { told, up_to, at };
            let sent = self.records.as_ref().map(|records| records.blocking_send(record).is_ok());
            if sent != Some(true) {
                return Err(self.ended());
            }
        }
        Ok(())
    }

    /// Hands over a snapshot of the core after the fact `seq`, if every fact before it was
    /// sent and there is room; else gives it back.
    pub(crate) fn send_snapshot(&mut self, seq: u64, bytes: Vec<u8>) -> Option<Vec<u8>> {
        match &self.records {
            Some(records) if self.sent >= seq => {
                let record = Record::Snapshot { seq, bytes };
                match records.try_send(record) {
                    Err(mpsc::error::TrySendError::Full(Record::Snapshot { bytes, .. })) => {
                        Some(bytes)
                    }
                    // A thread that has ended is noticed by `send`.
                    _ => None,
                }
            }
            _ => Some(bytes),
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
        (self.begin, self.records) = (None, None);
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let joined = tokio::task::spawn_blocking(move || thread.join().is_ok()).await;
        match joined {
            Ok(true) => Ok(()),
            _ => Err(ServerError::History("the history's thread failed".to_owned())),
        }
    }

    fn ended(&self) -> ServerError {
        let reason = match self.opening.failure() {
            Some(error) => error.to_string(),
            None => "the history's thread has ended".to_owned(),
        };
        ServerError::History(reason)
    }
}

fn record(
    history: &History,
    journal: &Journal,
    mut records: mpsc::Receiver<Record>,
    done: &watch::Sender<u64>,
) {
    let mut forgotten = 0;
    while let Some(record) = records.blocking_recv() {
        match record {
            Record::Facts { told, up_to, at } => {
                for Told { seq, fact, ended } in told {
                    history.apply(seq, &fact, ended);
                }
                history.advance(up_to, at);
                done.send_replace(up_to);
            }
            Record::Snapshot { seq, bytes } => {
                // Where it cannot be kept, the history is given up and live work goes on.
                if let Err(error) = history.settle() {
                    tracing::warn!(%error, "the history does not have what a snapshot covers");
                }
                if let Err(error) = journal.snapshot(seq, bytes) {
                    tracing::debug!(%error, "a snapshot came too late");
                }
            }
        }
        let applied = history.applied();
        if applied > forgotten {
            forgotten = applied;
            journal.forget_up_to(applied);
        }
    }
}

#[cfg(test)]
mod tests {
    use wrun_protocol::JobId;

    use super::*;

    fn cancelled(job: u64) -> Fact {
        Fact::JobCancelled { at: Timestamp(job), job: JobId(job) }
    }

    #[test]
    fn only_durable_facts_are_taken_and_what_tells_nothing_is_left_out() {
        let mut untold = Untold::default();
        untold.push(1, &cancelled(1));
        untold.push(2, &Fact::NodeLost { at: Timestamp(2), node: wrun_protocol::NodeId(1) });
        untold.push(3, &cancelled(3));
        let (batch, up_to) = untold.take(2);
        assert_eq!((batch.len(), batch.first().map(|told| told.seq), up_to), (1, Some(1), 2));
        assert_eq!(untold.len(), 1);
        assert_eq!(untold.take(3).0.len(), 1);
        assert_eq!((untold.len(), untold.take(9).1), (0, 9));
    }

    #[test]
    fn a_long_list_is_taken_in_parts_that_leave_no_fact_out() {
        let mut untold = Untold::default();
        let last = 3 * MAX_BATCH as u64;
        (1..=last).for_each(|seq| untold.push(seq, &cancelled(seq)));
        let (mut next, mut reached) = (1, 0);
        while reached < last {
            let (batch, up_to) = untold.take(last);
            assert_eq!(batch.first().map(|told| told.seq), Some(next));
            assert_eq!(batch.last().map(|told| told.seq), Some(up_to));
            (next, reached) = (up_to + 1, up_to);
        }
        assert_eq!(untold.len(), 0);
    }
}
