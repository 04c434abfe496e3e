//! What happens to tasks here, and what is reported of it.

use std::sync::Arc;

use tokio::time::Instant;
use wrun_protocol::task::{Failure, Outcome, Usage};
use wrun_protocol::wire::worker::{Assignment, FromWorker, Report};
use wrun_protocol::{AttemptId, IndexRange, JobId, limits};
use wrun_sandbox::CheckpointDone;

use super::server::one;
use super::{Agent, BUSY, Done, GATHER, GATHER_AMONG_MANY, Saved};
use crate::events::{Checkpoint, Ended, Event};
use crate::executor::Executor;
use crate::job::{Granted, Setup};
use crate::outbox::add_usage;
use crate::results::{immediate, store_checkpoint, uploaded};
use crate::slots::Stopping;
use crate::streams::Streams;

/// Progress messages passed on in one interval.
const MAX_PROGRESS: usize = 256;

/// A plain success: what is sorted and joined.
struct Success {
    job: JobId,
    attempt: u32,
    index: u32,
    usage: Usage,
}

impl<E: Executor> Agent<E> {
    /// Turns what guest threads have left into reports.
    pub(super) fn on_events(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        self.parts.floor.events.drain(&mut events);
        if events.len() >= BUSY {
            self.gather_until = Some(Instant::now() + self.time_to_gather(events.len()));
        }
        let mut successes = Vec::with_capacity(events.len());
        for event in events.drain(..) {
            match event {
                Event::Succeeded { job, attempt, index, usage } => {
                    successes.push(Success { job, attempt, index, usage });
                }
                Event::Ended(ended) => self.on_ended(*ended),
                Event::Checkpoint(checkpoint) => self.on_checkpoint(*checkpoint),
                Event::Readied { token, state } => self.on_readied(token, state),
            }
        }
        self.events = events;
        self.on_succeeded(successes);
        self.sweep_soon();
    }

    /// For how long to let events gather, when `last` came since the last time.
    fn time_to_gather(&self, last: usize) -> std::time::Duration {
        let queued = self.parts.floor.slots().queued_count();
        if queued >= 4 * last as u64 { GATHER_AMONG_MANY } else { GATHER }
    }

    fn on_succeeded(&mut self, mut successes: Vec<Success>) {
        successes.sort_unstable_by_key(|each| (each.job, each.attempt, each.index));
        let mut rest = successes.into_iter();
        let Some(first) = rest.next() else { return };
        let (mut tasks, mut usage) = (first.tasks(), first.usage);
        for next in rest {
            let adjacent = next.job == tasks.job
                && next.attempt == tasks.attempt
                && next.index == tasks.tasks.end();
            if adjacent {
                tasks.tasks.count += 1;
                add_usage(&mut usage, &next.usage);
            } else {
                self.report_succeeded(tasks, usage);
                (tasks, usage) = (next.tasks(), next.usage);
            }
        }
        self.report_succeeded(tasks, usage);
    }

    fn report_succeeded(&mut self, tasks: Assignment, usage: Usage) {
        self.outbox.push(Report::Succeeded { tasks, usage });
        self.on_closed(tasks.job, tasks.tasks.count.into());
    }

    fn on_ended(&mut self, ended: Ended) {
        let Ended { attempt, mut end, streams, stopping } = ended;
        let job = attempt.task.job;
        let withdrawn = end.outcome == Outcome::Failed(Failure::Cancelled);
        match stopping {
            Some(Stopping::Silently) => return self.on_closed(job, 1),
            // What a replica wrote is worth more than that it has gone as it was told.
            Some(_) if withdrawn && self.leaves_log(job, streams.as_deref()) => {
                self.notices.remove(&attempt);
            }
            Some(Stopping::Preempted) if withdrawn => {
                return self.on_preempted(attempt, end.usage);
            }
            Some(Stopping::Returned) if withdrawn => return self.give_back(vec![one(attempt)]),
            Some(_) => {}
            None if self.is_to_give_back(attempt, &mut end) => {
                return self.give_back(vec![one(attempt)]);
            }
            None => {}
        }
        let dir = self.parts.floor.spill.clone();
        if let Some(result) = immediate(&end, streams.as_deref(), &dir) {
            self.outbox.push(Report::Ended { attempt, result: Box::new(result) });
            return self.on_closed(job, 1);
        }
        self.finishing.insert(attempt);
        let (blobs, done) = (self.parts.blobs.clone(), self.done.0.clone());
        tokio::spawn(async move {
            // The only other end is the worker's own.
            if let Ok(result) = uploaded(&blobs, job, end, streams, dir).await {
                let _ = done.send(Done::Uploaded(attempt, Box::new(result))).await;
            }
        });
    }

    /// Whether it is a replica, and has written something.
    fn leaves_log(&self, job: JobId, streams: Option<&Streams>) -> bool {
        let of = self.jobs.get(&job);
        of.is_some_and(|entry| entry.job.spec.service.is_some())
            && streams.is_some_and(|streams| !streams.log.is_empty())
    }

    fn on_checkpoint(&mut self, checkpoint: Checkpoint) {
        let Checkpoint { token, attempt, state, done } = checkpoint;
        if state.len() as u64 > limits::MAX_CHECKPOINT {
            return done.unavailable(format!("at most {} bytes", limits::MAX_CHECKPOINT));
        }
        let (blobs, finished) = (self.parts.blobs.clone(), self.done.0.clone());
        tokio::spawn(async move {
            let content = store_checkpoint(&blobs, attempt.task.job, state).await;
            let content = content.map_err(|error| error.to_string());
            let saved = Saved { token, attempt, content, done };
            let _ = finished.send(Done::Saved(Box::new(saved))).await;
        });
    }

    pub(super) fn on_done(&mut self, done: Done<E>) {
        match done {
            Done::SetUp(job, setup) => self.on_set_up(job, setup),
            Done::Resumable(attempt, granted, bytes) => self.on_resumable(attempt, granted, bytes),
            Done::Uploaded(attempt, result) => {
                if self.finishing.remove(&attempt) {
                    self.outbox.push(Report::Ended { attempt, result });
                }
                self.on_closed(attempt.task.job, 1);
            }
            Done::Saved(saved) => self.on_saved(*saved),
            Done::EntranceClosed => self.closing = false,
        }
    }

    fn on_set_up(&mut self, id: JobId, setup: Result<Setup<E>, String>) {
        let Some(entry) = self.jobs.get_mut(&id) else { return };
        entry.setting_up = false;
        match setup {
            Ok(setup) => {
                // It may have been set up from what another job had fetched.
                let asked = Arc::clone(&setup.context.models_asked);
                let _ = entry.job.setup.set(setup);
                let spec = &entry.job.spec;
                let is_service = spec.service.is_some();
                if !spec.inference.models.is_empty() {
                    self.tell_models_soon();
                    if is_service {
                        self.watch_models_of(id, asked);
                    }
                }
                self.parts.floor.slots().on_set_up(id);
                self.start_ready();
            }
            Err(problem) => {
                tracing::warn!(job = %id, problem, "a job cannot be set up");
                let runs = self.parts.floor.slots().take_aside(id);
                for run in runs {
                    let tasks = run.tasks;
                    self.fail(&Assignment { job: id, attempt: run.attempt, tasks }, &problem);
                    self.on_closed(id, tasks.count.into());
                }
            }
        }
    }

    fn on_resumable(
        &mut self,
        attempt: AttemptId,
        granted: Granted,
        bytes: Result<bytes::Bytes, String>,
    ) {
        if !self.resuming.remove(&attempt) {
            return;
        }
        match bytes {
            Ok(bytes) => {
                // Queued anew, it counts anew.
                self.enqueue_granted(&one(attempt), Some(bytes), granted);
                self.on_closed(attempt.task.job, 1);
                self.start_ready();
            }
            Err(problem) => {
                self.fail(&one(attempt), &problem);
                self.on_closed(attempt.task.job, 1);
            }
        }
    }

    fn on_saved(&mut self, saved: Saved) {
        let Saved { token, attempt, content, done } = saved;
        let runs = self.parts.floor.slots().running_mut(token).is_some();
        match content {
            _ if !runs => CheckpointDone::unavailable(done, "the task has ended"),
            Ok(content) => {
                let number = self.outbox.push(Report::Checkpoint { attempt, content });
                self.saving.insert(number, (attempt, done));
            }
            Err(problem) => done.unavailable(problem),
        }
    }

    /// Tells of tasks that run long, and how far those are that say so.
    pub(super) fn on_sweep(&mut self, now: Instant) {
        let (long, go_on) = {
            let mut slots = self.parts.floor.slots();
            (slots.sweep(), slots.wants_sweep())
        };
        for each in long {
            self.outbox.push(Report::Started(each));
        }
        self.pass_progress_on();
        let go_on = go_on || self.parts.floor.events.has_progress();
        self.sweep_at = go_on.then_some(now + self.parts.timing.sweep);
    }

    fn pass_progress_on(&mut self) {
        if !self.parts.floor.events.has_progress() {
            return;
        }
        let words = self.parts.floor.events.take_progress();
        // Only of interest now: without a session it is dropped.
        if self.session.as_ref().is_none_or(|session| !session.welcomed) {
            return;
        }
        let mut slots = self.parts.floor.slots();
        for (token, (permille, message)) in words.into_iter().take(MAX_PROGRESS) {
            let Some(running) = slots.running_mut(token) else { continue };
            let attempt = running.job.id.task(running.index).attempt(running.attempt);
            self.urgent.push_back(FromWorker::Progress { attempt, permille, message });
        }
    }
}

impl Success {
    fn tasks(&self) -> Assignment {
        Assignment { job: self.job, attempt: self.attempt, tasks: IndexRange::one(self.index) }
    }
}
