//! One revision takes the place of another: what there is of each is put before
//! [`crate::rollout`], and what that says is made so.

use std::collections::BTreeMap;

use wrun_protocol::service::ServiceId;
use wrun_protocol::wire::service::{RolledBackBy, RolloutAction, RolloutRow};
use wrun_protocol::wire::user::{ErrorCode, RequestError};

use crate::core::Core;
use crate::effect::Answer;
use crate::fact::Fact;
use crate::rollout::{Plan, Progress, Side, Situation, Turn};
use crate::state::services::{Revision, Service};

/// Turns of a rollout at one instant: more than a canary has steps, each of which is reached
/// and over.
const MOST_TURNS: usize = 128;

/// What is to be of a rollout.
pub(crate) struct Planned {
    /// The revisions that make room, as the plan has them in order.
    pub(crate) olds: Vec<u32>,
    pub(crate) plan: Plan,
    /// Replicas of the new revision that get requests.
    ready: u32,
}

impl Planned {
    /// How many replicas of each revision are to stay.
    fn replicas(&self, new: u32) -> impl Iterator<Item = (u32, u32)> {
        let olds = self.olds.iter().copied().zip(self.plan.olds.iter().copied());
        olds.chain([(new, self.plan.new)])
    }

    /// The share of the requests of each revision.
    pub(crate) fn weights(&self, new: u32) -> impl Iterator<Item = (u32, u32)> {
        let weights = &self.plan.weights;
        let olds = self.olds.iter().copied().zip(weights.olds.iter().copied());
        olds.chain([(new, weights.new)])
    }
}

impl Core {
    pub(crate) fn on_rollout(
        &mut self,
        id: &ServiceId,
        action: RolloutAction,
    ) -> Result<Answer, RequestError> {
        let service = self.standing(id)?;
        let moving = service.rollout.map(|moving| moving.progress);
        let none = || conflict(format!("no rollout of `{}` is under way", id.name));
        match action {
            RolloutAction::Pause => {
                let progress = moving.ok_or_else(none)?;
                if !progress.paused {
                    self.append_moved(id, Progress { paused: true, ..progress });
                }
            }
            RolloutAction::Resume => {
                let progress = moving.ok_or_else(none)?;
                let rollout = service.wanted().map(|wanted| &wanted.spec.rollout);
                let resumed = rollout.and_then(|rollout| progress.resumed(rollout, self.now));
                let resumed = resumed.ok_or_else(|| {
                    conflict("it is not paused: it waits for replicas to be ready".to_owned())
                })?;
                self.append_moved(id, resumed);
            }
            RolloutAction::Undo { to } => {
                let to = self.undo_to(id, to)?;
                self.append_rolled_back(id, to, RolledBackBy::User);
            }
        }
        Ok(Answer::Done)
    }

    /// The revision to which a user wants to go back.
    fn undo_to(&self, id: &ServiceId, named: Option<u32>) -> Result<u32, RequestError> {
        let service = self.standing(id)?;
        let Some(to) = named.or_else(|| service.revision_before()) else {
            return Err(conflict(format!(
                "there is no earlier revision of `{}` to go back to; deploy what is wanted",
                id.name
            )));
        };
        let Some(revision) = service.revisions.get(&to) else {
            return Err(RequestError::new(
                ErrorCode::NotFound,
                format!(
                    "revision {to} of `{}` is not known, or not any more; `wrun service {}` lists those that are",
                    id.name, id.name
                ),
            ));
        };
        if to == service.wanted {
            return Err(conflict(format!("revision {to} is the one that is wanted already")));
        }
        self.check_routes(id, &revision.spec)?;
        Ok(to)
    }

    /// Takes every turn of a rollout whose time has come.
    pub(super) fn settle_rollout(&mut self, id: &ServiceId) {
        for _ in 0..MOST_TURNS {
            let Some(service) = self.state.services.get(id) else { return };
            let Some((moving, planned)) = service.rollout.zip(self.planned(id, service)) else {
                return;
            };
            match planned.plan.turn {
                None => return,
                Some(Turn::Done) => {
                    let revision = service.wanted;
                    let service = id.clone();
                    self.append(Fact::RolledOut { at: self.now, service, revision });
                }
                // What was forgotten meanwhile nobody can go back to.
                Some(Turn::Back(_)) if !service.revisions.contains_key(&moving.from) => return,
                Some(Turn::Back(why)) => self.append_rolled_back(id, moving.from, why),
                Some(turn) => self.append_moved(id, moving.progress.after(turn, self.now)),
            }
        }
    }

    fn append_moved(&mut self, id: &ServiceId, progress: Progress) {
        let (at, service) = (self.now, id.clone());
        let Progress { step, reached, paused, back: _ } = progress;
        self.append(Fact::RolloutMoved { at, service, step, reached, paused });
    }

    fn append_rolled_back(&mut self, id: &ServiceId, to: u32, why: RolledBackBy) {
        self.append(Fact::RolledBack { at: self.now, service: id.clone(), to, why });
    }

    /// What is to be of a service's rollout, if one is under way.
    pub(crate) fn planned(&self, id: &ServiceId, service: &Service) -> Option<Planned> {
        let moving = service.rollout.as_ref().filter(|_| !service.stopping)?;
        let wanted = service.wanted()?;
        let side = |revision: &Revision| Side {
            awake: revision.kept(),
            ready: self.ready_replicas(revision).count() as u32,
            is_program: revision.spec.http().is_none(),
        };
        // The one that was in place comes first, whether or not it has a replica now.
        let from = service.revisions.get(&moving.from).map(|of| (moving.from, side(of)));
        let others = service.revisions.iter().filter(|(number, of)| {
            **number != service.wanted && **number != moving.from && !of.replicas.is_empty()
        });
        let others = others.map(|(number, of)| (*number, side(of)));
        let (olds, sides): (Vec<u32>, Vec<Side>) = from.into_iter().chain(others).unzip();
        let new = side(wanted);
        let failures = wanted.replicas.values().map(|replica| replica.failures).max();
        let situation = Situation {
            now: self.now,
            wanted: service.number,
            new,
            olds: &sides,
            late: wanted.replicas.values().any(|replica| replica.late),
            failures: failures.unwrap_or(0),
            answers: self.scalers.watched(id, service.wanted, self.now),
        };
        let plan = moving.progress.plan(&wanted.spec.rollout, &situation);
        Some(Planned { olds, plan, ready: new.ready })
    }

    /// How many replicas of each revision are to stay, those on their way out not counted.
    pub(crate) fn share_out(&self, id: &ServiceId) -> BTreeMap<u32, u32> {
        let Some(service) = self.state.services.get(id) else { return BTreeMap::new() };
        let mut replicas: BTreeMap<u32, u32> =
            service.revisions.keys().map(|number| (*number, 0)).collect();
        match self.planned(id, service) {
            Some(planned) => replicas.extend(planned.replicas(service.wanted)),
            None => _ = replicas.insert(service.wanted, service.number),
        }
        replicas
    }

    /// The rollout that is under way, as a user sees it.
    pub(crate) fn rollout_row(&self, id: &ServiceId, service: &Service) -> Option<RolloutRow> {
        let moving = service.rollout.as_ref()?;
        let planned = self.planned(id, service)?;
        Some(RolloutRow {
            from: moving.from,
            to: service.wanted,
            ready: (planned.ready, planned.plan.new),
            step: moving.progress.step(&service.wanted()?.spec.rollout),
            next: planned.plan.goes_on,
            paused: moving.progress.paused,
        })
    }
}

fn conflict(text: String) -> RequestError {
    RequestError::new(ErrorCode::Conflict, text)
}
