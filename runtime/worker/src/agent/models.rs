//! What the agent tells of models: which ones this node keeps, so that work is sent where they are,
//! and what services ask of them, so that there are as many replicas as that takes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use wrun_protocol::wire::model::Kept;
use wrun_protocol::wire::service::ModelLoad;
use wrun_protocol::wire::worker::FromWorker;
use wrun_protocol::{Digest, JobId};
use wrun_sandbox::ModelMeter;

use super::Agent;
use super::services::LOADS_AT_ONCE;
use crate::executor::Executor;

/// How long changes gather before they are told.
const GATHER: Duration = Duration::from_millis(200);

/// Models that the server hears of: as many as the scheduler remembers of a node.
const MAX_TOLD: usize = 256;

/// What the server was told, and when it is to be told more.
#[derive(Debug, Default)]
pub(super) struct ModelsTold {
    told: BTreeMap<Digest, Kept>,
    next: Option<Instant>,
    /// Services here that name models, and when what they ask of these was told last.
    services: BTreeMap<JobId, (Arc<ModelMeter>, Instant)>,
}

impl ModelsTold {
    pub(super) fn timeout(&self) -> Option<Instant> {
        self.next
    }
}

impl<E: Executor> Agent<E> {
    /// There is a new session.
    pub(super) fn tell_models_anew(&mut self) {
        self.models.told.clear();
        self.models.next = Some(Instant::now());
    }

    /// A service was set up here that may ask models.
    pub(super) fn watch_models_of(&mut self, job: JobId, asked: Arc<ModelMeter>) {
        self.models.services.insert(job, (asked, Instant::now()));
    }

    /// Tells what services here have asked of models, if any has.
    pub(super) fn tell_model_load(&mut self, now: Instant) {
        let jobs = &self.jobs;
        self.models.services.retain(|job, _| jobs.contains_key(job));
        let loads = self.models.services.iter_mut().filter_map(|(job, (meter, last))| {
            let over = now.saturating_duration_since(std::mem::replace(last, now));
            let answers = meter.take();
            (answers.count() > 0).then(|| ModelLoad {
                job: *job,
                over_ms: u64::try_from(over.as_millis()).unwrap_or(u64::MAX),
                busy_ms: answers.sum() / 1000,
                requests: answers.count(),
                latency: answers.counts().to_vec(),
            })
        });
        let mut loads: Vec<_> = loads.collect();
        // Only of interest now: without a session it is dropped.
        if self.session.as_ref().is_none_or(|session| !session.welcomed) {
            return;
        }
        while !loads.is_empty() {
            let rest = loads.split_off(loads.len().min(LOADS_AT_ONCE));
            self.urgent.push_back(FromWorker::ModelLoad(std::mem::replace(&mut loads, rest)));
        }
    }

    /// A model was loaded or fetched, or has gone.
    pub(super) fn tell_models_soon(&mut self) {
        self.models.next.get_or_insert(Instant::now() + GATHER);
    }

    pub(super) fn on_time_to_tell_models(&mut self, now: Instant) {
        if self.models.next.is_none_or(|next| now < next) {
            return;
        }
        self.models.next = None;
        if self.session.as_ref().is_none_or(|session| !session.welcomed) {
            return;
        }
        let kept = self.parts.workshop.kept_models(MAX_TOLD);
        let before = std::mem::replace(&mut self.models.told, kept.clone());
        let gone = before.keys().filter(|digest| !kept.contains_key(digest));
        let gone = gone.map(|digest| (*digest, None));
        let new = kept.iter().filter(|(digest, kept)| before.get(digest) != Some(kept));
        // What has gone first: the server has room for so many.
        let models: Vec<_> = gone.chain(new.map(|(digest, kept)| (*digest, Some(*kept)))).collect();
        if !models.is_empty() {
            self.urgent.push_back(FromWorker::Models(models));
        }
    }
}
