//! What the server says, and what is done about it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use wrun_net::close_code;
use wrun_protocol::inference::NodeInference;
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::scheduling::Offer;
use wrun_protocol::task::Content;
use wrun_protocol::wire::service::GatewayAddresses;
use wrun_protocol::wire::worker::{Assignment, ComponentKind, FromWorker, Report, ToWorker};
use wrun_protocol::{AttemptId, IndexRange, JobId, TenantName};

use super::{Agent, Done, JobEntry, Session};
use crate::executor::Executor;
use crate::job::{Granted, Job};
use crate::link::LinkEvent;
use crate::results::not_set_up;
use crate::service::Entrance;
use crate::slots::{Running, Stopping};

/// Jobs known on one session. A server that lets more stand has forgotten to say `Forget`.
const MAX_JOBS: usize = 200_000;

impl<E: Executor> Agent<E> {
    pub(super) fn on_link(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Connected(outgoing, connection) => {
                let hello = Instant::now();
                self.session = Some(Session { outgoing, connection, hello, welcomed: false });
                self.send_hello();
            }
            LinkEvent::Received(messages) => messages.into_iter().for_each(|m| self.on_message(m)),
            LinkEvent::Lost => {
                self.session = None;
                self.urgent.clear();
                self.lease.on_disconnected();
            }
        }
    }

    /// The server does not answer: another connection may reach it.
    pub(super) fn give_up_session(&mut self) {
        self.lease.on_disconnected();
        if let Some(session) = &self.session {
            tracing::warn!("the server does not answer heartbeats: connecting again");
            session.connection.close(close_code::GOING_AWAY, "no answer to heartbeats");
        }
    }

    /// Says what is here. Jobs without tasks are dropped: on a new session the server sends
    /// a job again before its first assignment.
    fn send_hello(&mut self) {
        self.jobs.retain(|_, entry| entry.open > 0);
        self.parts.gangs.drop_unused(|job| self.jobs.contains_key(&job));
        self.unreadable.clear();
        self.outbox.rewind();
        self.urgent.clear();
        let hello = FromWorker::Hello {
            info: self.parts.info.clone(),
            incarnation: self.parts.incarnation,
            attempts: self.held(),
        };
        if self.parts.offer != Offer::default() {
            self.urgent.push_back(FromWorker::Offer(self.parts.offer.clone()));
        }
        self.urgent.extend(self.parts.listens.map(FromWorker::Listens));
        let gateway = self.parts.entrance.as_ref().map(Entrance::addresses).unwrap_or_default();
        if gateway != GatewayAddresses::default() {
            self.urgent.push_back(FromWorker::Gateway(gateway));
        }
        if self.parts.inference != NodeInference::default() {
            self.urgent.push_back(FromWorker::Inference(self.parts.inference.clone()));
        }
        self.urgent.push_back(hello);
        if self.is_leaving() {
            self.urgent.push_back(FromWorker::Draining);
        }
    }

    /// Attempts whose end the server does not know, those in reports included that it has
    /// not acknowledged: it may ask for lost ones before it has read every report.
    fn held(&self) -> Vec<Assignment> {
        let slots = self.parts.floor.slots();
        let mut held: Vec<_> = slots
            .queued()
            .map(|(_, queued)| queued)
            .chain(
                slots
                    .running()
                    .filter(|running| running.stopping != Some(Stopping::Silently))
                    .map(|running| running.assignment()),
            )
            .chain(self.finishing.iter().chain(&self.resuming).map(|attempt| one(*attempt)))
            .chain(self.outbox.told())
            .collect();
        drop(slots);
        join_adjacent(&mut held);
        held
    }

    fn on_message(&mut self, message: ToWorker) {
        let welcomed = self.session.as_ref().is_some_and(|session| session.welcomed);
        match message {
            ToWorker::Welcome { lease_ms, heartbeat_ms, now: _, stale } if !welcomed => {
                self.on_welcome(lease_ms, heartbeat_ms, stale);
            }
            _ if !welcomed => self.refuse_session("the first message was no welcome"),
            ToWorker::Welcome { .. } => self.refuse_session("a second welcome"),
            ToWorker::Job { job, tenant, kind, spec } => self.on_job(job, tenant, kind, &spec),
            ToWorker::Assign(assignments) => self.on_assign(&assignments),
            ToWorker::Resume { attempt, checkpoint } => {
                self.on_resume(attempt, checkpoint, Granted::default())
            }
            ToWorker::Stop(assignments) => self.on_stop(&assignments),
            ToWorker::Recall(assignments) => self.on_recall(&assignments),
            ToWorker::Forget(job) => self.on_forget(job),
            ToWorker::Freeze { attempt, frozen } => {
                self.parts.floor.freeze(&one(attempt), frozen);
                // Its CPU may be what the next in the queue waits for.
                self.start_ready();
            }
            ToWorker::Acknowledge { report } => self.on_acknowledged(report),
            ToWorker::HeartbeatAck { beat } => self.lease.on_answer(beat),
            ToWorker::AssignWith { tasks, grant } => {
                self.enqueue_granted(&tasks, None, grant.into());
                self.start_ready();
            }
            ToWorker::Preempt { attempt, notice_ms } => self.on_preempt(attempt, notice_ms),
            ToWorker::ResumeWith { attempt, checkpoint, grant } => {
                self.on_resume(attempt, checkpoint, grant.into());
            }
            ToWorker::Gang { job, attempt, members } => {
                self.parts.gangs.on_members(job, attempt, &members);
            }
            ToWorker::Services { .. } | ToWorker::ServicesGone(_) | ToWorker::Nodes(_) => {
                self.on_told(message);
            }
            ToWorker::Drain { attempt, within_ms } => self.on_preempt(attempt, within_ms),
        }
    }

    /// The server does what the protocol does not know: another session may go better.
    fn refuse_session(&mut self, why: &str) {
        tracing::error!(why, "the server does not follow the protocol; connecting again");
        if let Some(session) = &self.session {
            session.connection.close(close_code::PROTOCOL, why);
        }
    }

    fn on_welcome(&mut self, lease_ms: u64, heartbeat_ms: u64, stale: Vec<AttemptId>) {
        let Some(session) = &mut self.session else { return };
        session.welcomed = true;
        let (lease, every) = (Duration::from_millis(lease_ms), Duration::from_millis(heartbeat_ms));
        self.lease.on_welcome(session.hello, lease, every);
        let stale: Vec<_> = stale.into_iter().map(one).collect();
        self.on_stop(&stale);
        self.tell_readiness();
        self.tell_models_anew();
        self.tell_cards();
    }

    /// Tells how the cards are, where there are any.
    pub(super) fn tell_cards(&mut self) {
        let cards = self.parts.cards.borrow_and_update().clone();
        if !cards.is_empty() && self.session.as_ref().is_some_and(|session| session.welcomed) {
            self.urgent.push_back(FromWorker::Cards(cards));
        }
    }

    fn on_job(&mut self, id: JobId, tenant: TenantName, kind: ComponentKind, spec: &EncodedSpec) {
        if self.jobs.contains_key(&id) {
            return;
        }
        if self.jobs.len() + self.unreadable.len() >= MAX_JOBS {
            return self.refuse_session("too many jobs without tasks are kept here");
        }
        match Job::decode(id, tenant, kind, spec) {
            Ok(job) => {
                let job = Arc::new(job);
                let entry = JobEntry { job, open: 0, setting_up: false, forget: false };
                self.jobs.insert(id, entry);
            }
            Err(error) => {
                let problem = format!(
                    "this node cannot read the job: {error}; its version of wrun may be too old"
                );
                self.unreadable.insert(id, problem);
            }
        }
    }

    fn on_assign(&mut self, assignments: &[Assignment]) {
        for assignment in assignments {
            self.enqueue_granted(assignment, None, Granted::default());
        }
        self.start_ready();
    }

    /// Queues attempts, or says at once why they cannot run here.
    pub(super) fn enqueue_granted(
        &mut self,
        assignment: &Assignment,
        checkpoint: Option<bytes::Bytes>,
        granted: Granted,
    ) {
        // A range that ends beyond all numbers is cut to those that are.
        let first = assignment.tasks.first;
        let tasks = IndexRange { first, count: assignment.tasks.end() - first };
        let assignment = Assignment { tasks, ..*assignment };
        if tasks.count == 0 {
            return;
        }
        if self.is_leaving() {
            self.outbox.push(Report::Returned(assignment));
            return;
        }
        let Some(entry) = self.jobs.get_mut(&assignment.job) else {
            return self.refuse_unknown(&assignment);
        };
        if entry.job.setup.get().is_none()
            && let Some(setup) = self.parts.workshop.set_up_now(&entry.job)
        {
            // Losing against a set-up that ended right now changes nothing.
            let _ = entry.job.setup.set(setup);
        }
        if entry.job.request(&granted).is_none() {
            return self.fail(&assignment, "the server granted a request that the job has not");
        }
        if granted.cards().iter().any(|card| usize::from(*card) >= self.parts.offer.gpus.len()) {
            return self.fail(&assignment, "the server granted a card that this node has not");
        }
        let queued = self.parts.floor.slots().enqueue_granted(
            &entry.job,
            assignment.attempt,
            assignment.tasks,
            checkpoint,
            granted,
        );
        match queued {
            Ok(()) => {
                entry.open += u64::from(tasks.count);
                self.ensure_set_up(assignment.job);
            }
            Err(_) => {
                tracing::warn!(job = %assignment.job, "more tasks are assigned than may wait here");
                self.outbox.push(Report::Returned(assignment));
            }
        }
    }

    fn refuse_unknown(&mut self, assignment: &Assignment) {
        let problem = self.unreadable.get(&assignment.job).cloned();
        let problem = problem.unwrap_or_else(|| "the server never said what the job is".to_owned());
        self.fail(assignment, &problem);
    }

    /// Every one of these could not be set up.
    pub(super) fn fail(&mut self, assignment: &Assignment, problem: &str) {
        // More than may be queued can only be a lie, and is not worth a report each.
        for index in assignment.tasks.indices().take(crate::slots::MAX_QUEUED as usize) {
            let attempt = assignment.job.task(index).attempt(assignment.attempt);
            self.outbox.push(Report::Ended { attempt, result: Box::new(not_set_up(problem)) });
        }
    }

    fn ensure_set_up(&mut self, id: JobId) {
        let Some(entry) = self.jobs.get_mut(&id) else { return };
        if entry.setting_up {
            return;
        }
        if entry.job.setup.get().is_some() {
            self.parts.floor.slots().on_set_up(id);
            return;
        }
        entry.setting_up = true;
        let (job, workshop, done) =
            (entry.job.clone(), self.parts.workshop.clone(), self.done.0.clone());
        tokio::spawn(async move {
            let setup = workshop.set_up(&job).await;
            // The agent may be gone; then nobody waits.
            let _ = done.send(Done::SetUp(job.id, setup)).await;
        });
    }

    /// Fetches the checkpoint; then the attempt is queued with what was granted to it.
    fn on_resume(&mut self, attempt: AttemptId, checkpoint: Content, granted: Granted) {
        let Some(entry) = self.jobs.get_mut(&attempt.task.job) else {
            return self.refuse_unknown(&one(attempt));
        };
        if self.resuming.len() as u64 >= crate::slots::MAX_QUEUED || !self.resuming.insert(attempt)
        {
            return;
        }
        entry.open += 1;
        let (workshop, done) = (self.parts.workshop.clone(), self.done.0.clone());
        tokio::spawn(async move {
            let bytes = workshop.checkpoint(attempt.task.job, checkpoint).await;
            let _ = done.send(Done::Resumable(attempt, granted, bytes)).await;
        });
    }

    /// Those of `assignments` whose checkpoints are being fetched: they are no longer.
    pub(super) fn take_resuming(&mut self, assignments: &[Assignment]) -> Vec<Assignment> {
        self.resuming.extract_if(.., |attempt| covered(assignments, attempt)).map(one).collect()
    }

    fn on_stop(&mut self, assignments: &[Assignment]) {
        if assignments.is_empty() {
            return;
        }
        let mut gone = self.parts.floor.slots().take_queued(assignments);
        self.parts
            .floor
            .stop(Stopping::Silently, |running| assignments.iter().any(|each| running.is_of(each)));
        gone.extend(self.take_resuming(assignments));
        self.finishing.retain(|attempt| !covered(assignments, attempt));
        gone.iter().for_each(|each| self.on_closed(each.job, each.tasks.count.into()));
        // What is next in the queue may fit now.
        self.start_ready();
    }

    fn on_recall(&mut self, assignments: &[Assignment]) {
        let mut returned = self.parts.floor.slots().take_queued(assignments);
        returned.extend(self.take_resuming(assignments));
        self.give_back(returned);
        self.start_ready();
    }

    /// Reports that these did not run.
    pub(super) fn give_back(&mut self, mut returned: Vec<Assignment>) {
        join_adjacent(&mut returned);
        for each in returned {
            self.outbox.push(Report::Returned(each));
            self.on_closed(each.job, each.tasks.count.into());
        }
    }

    fn on_forget(&mut self, job: JobId) {
        self.unreadable.remove(&job);
        if let Some(entry) = self.jobs.get_mut(&job) {
            entry.forget = true;
            self.on_closed(job, 0);
        }
    }

    /// `count` tasks of the job are no longer here.
    pub(super) fn on_closed(&mut self, job: JobId, count: u64) {
        if let Some(entry) = self.jobs.get_mut(&job) {
            entry.open = entry.open.saturating_sub(count);
            if entry.open == 0 && entry.forget {
                self.jobs.remove(&job);
                self.parts.gangs.forget(job);
            }
        }
    }

    fn on_acknowledged(&mut self, report: u64) {
        self.outbox.on_acknowledged(report);
        while let Some(entry) = self.saving.first_entry() {
            if *entry.key() > report {
                break;
            }
            let (attempt, done) = entry.remove();
            done.saved();
            self.on_saved_durably(attempt);
        }
    }

    /// The server counts on this worker no longer, so tasks that must never run twice end.
    pub(super) fn on_lease_ended(&mut self) {
        tracing::warn!("the lease is over: the server has not been heard of for too long");
        let mut slots = self.parts.floor.slots();
        let queued: Vec<_> = slots
            .queued()
            .filter(|(job, _)| job.stops_with_lease())
            .map(|(_, assignment)| assignment)
            .collect();
        let mut gone = slots.take_queued(&queued);
        drop(slots);
        let stops = |running: &Running<E>| running.job.stops_with_lease();
        let stopped = self.parts.floor.stop(Stopping::Silently, stops);
        let jobs = &self.jobs;
        let must_stop = |attempt: &AttemptId| {
            jobs.get(&attempt.task.job).is_some_and(|entry| entry.job.stops_with_lease())
        };
        gone.extend(self.resuming.extract_if(.., |attempt| must_stop(attempt)).map(one));
        if stopped + gone.len() > 0 {
            tracing::warn!(running = stopped, "stopped tasks whose jobs ask for it");
        }
        gone.iter().for_each(|each| self.on_closed(each.job, each.tasks.count.into()));
    }
}

/// The attempt as an assignment.
pub(super) fn one(attempt: AttemptId) -> Assignment {
    Assignment {
        job: attempt.task.job,
        attempt: attempt.attempt,
        tasks: IndexRange::one(attempt.task.index),
    }
}

/// Whether the attempt is one of `assignments`.
fn covered(assignments: &[Assignment], attempt: &AttemptId) -> bool {
    assignments.iter().any(|each| {
        each.job == attempt.task.job
            && each.attempt == attempt.attempt
            && each.tasks.contains(attempt.task.index)
    })
}

/// Joins ranges that touch.
fn join_adjacent(assignments: &mut Vec<Assignment>) {
    assignments.sort_unstable_by_key(|each| (each.job, each.attempt, each.tasks.first));
    assignments.dedup_by(|next, kept| {
        let touches = next.job == kept.job
            && next.attempt == kept.attempt
            && next.tasks.first <= kept.tasks.end();
        if touches {
            kept.tasks.count = next.tasks.end().max(kept.tasks.end()) - kept.tasks.first;
        }
        touches
    });
}
