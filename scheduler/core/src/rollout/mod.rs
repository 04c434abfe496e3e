//! How one revision of a service takes the place of others: from how many replicas there
//! are of each to how many are wanted of each, which share of the requests they get, and
//! what comes next.
//!
//! Pure: the same situation always gives the same plan, so that a rollout goes on after a
//! restart, or after a node was lost, as if nothing had been. What it must not forget is in
//! [`Progress`], which facts record.
//!
//! A rollout goes through stages, then moves the rest. In each stage the new revision has a
//! goal; it is reached when so many of its replicas are ready, and the stage's share of the
//! requests goes to it from then on. Whatever the strategy:
//! - never more are awake than are wanted and the surge (twice as many as are wanted, where
//!   all are exchanged at once);
//! - no ready replica is given up while without it fewer were ready than may be unavailable;
//! - a new revision that fails, or whose answers are errors, is given up at any stage.

mod replicas;
mod stage;
#[cfg(test)]
mod tests;
mod weights;

use wrun_protocol::Timestamp;
use wrun_protocol::service::Rollout;
use wrun_protocol::wire::service::RolledBackBy;

use self::replicas::{Room, replicas};
use self::stage::Stage;
pub(crate) use self::weights::Weights;
use self::weights::weights;
use crate::scaling::Watched;

/// Answers of the new revision below which nothing is said of its errors: of fewer, one
/// error would be too many.
const LEAST_ANSWERS: u64 = 20;

/// Failures in a row of one replica that are no accident any more.
const MOST_FAILURES: u32 = 3;

/// How far a rollout is: all that is to be remembered of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Progress {
    /// Stages that are behind it.
    pub(crate) step: u32,
    /// When the goal of this one was reached.
    pub(crate) reached: Option<Timestamp>,
    /// A user lets it go no further.
    pub(crate) paused: bool,
    /// It goes back to a revision that was in place: in no stages, and never back again.
    pub(crate) back: bool,
}

/// Replicas of a revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Side {
    /// Those that are to run; not those that drain.
    pub(crate) awake: u32,
    /// Of those, the ones that are ready.
    pub(crate) ready: u32,
    /// They are of a program: none takes requests.
    pub(crate) is_program: bool,
}

impl Side {
    /// Those that take requests.
    pub(crate) fn able(&self) -> u32 {
        if self.is_program { 0 } else { self.ready }
    }
}

/// What there is.
#[derive(Clone, Debug)]
pub(crate) struct Situation<'a> {
    pub(crate) now: Timestamp,
    /// Replicas that are wanted, of all revisions.
    pub(crate) wanted: u32,
    /// Of the revision that is to be in place.
    pub(crate) new: Side,
    /// Of the others that have replicas: first the one that was in place, then those that
    /// were on their way.
    pub(crate) olds: &'a [Side],
    /// A replica of the new revision has taken too long to be ready.
    pub(crate) late: bool,
    /// The most failures in a row of one of its replicas.
    pub(crate) failures: u32,
    /// Its answers of late.
    pub(crate) answers: Watched,
}

/// What is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Replicas of the new revision that are to be awake.
    pub(crate) new: u32,
    /// Of the others, in their order. Those that are not ready go first.
    pub(crate) olds: Vec<u32>,
    pub(crate) weights: Weights,
    /// Where it goes on now.
    pub(crate) turn: Option<Turn>,
    /// When it goes on by itself, as a user sees it.
    pub(crate) goes_on: Option<Timestamp>,
    /// When to look again although nothing happens.
    pub(crate) look: Option<Timestamp>,
}

/// How a rollout goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The goal of its stage is reached.
    Reached,
    /// Its stage is over.
    Next,
    /// The new revision is in place.
    Done,
    /// The new revision is given up.
    Back(RolledBackBy),
}

impl Progress {
    /// What is to be, as things are.
    pub(crate) fn plan(&self, rollout: &Rollout, situation: &Situation<'_>) -> Plan {
        let stage = Stage::of(rollout, self);
        let room = Room { rollout, stage, reached: self.reached.is_some() };
        let (new, olds) = replicas(room, self.paused, situation);
        let given_up = self.given_up(rollout, situation);
        let turn = given_up.map(Turn::Back).or_else(|| self.turn(stage, situation));
        let goes_on = stage.over_at(self.reached).filter(|_| !self.paused);
        Plan {
            new,
            olds,
            weights: weights(rollout, stage, self, situation),
            turn,
            goes_on,
            look: goes_on.filter(|at| *at > situation.now),
        }
    }

    /// After that turn; a rollout that is done or given up goes no further.
    pub(crate) fn after(mut self, turn: Turn, now: Timestamp) -> Self {
        match turn {
            Turn::Reached => self.reached = Some(now),
            Turn::Next => (self.step, self.reached) = (self.step.saturating_add(1), None),
            Turn::Done | Turn::Back(_) => {}
        }
        self
    }

    /// After a user lets it go on: as it was before the pause, or with what a stage waits for
    /// taken as over. `None`: it waits for nothing but replicas.
    pub(crate) fn resumed(self, rollout: &Rollout, now: Timestamp) -> Option<Self> {
        if self.paused {
            return Some(Self { paused: false, ..self });
        }
        let waits = self.reached.is_some() && !matches!(Stage::of(rollout, &self), Stage::Rest);
        waits.then(|| self.after(Turn::Next, now))
    }

    /// The stage as a user counts them, from 1, and how many there are; where a user made
    /// them and they are not all behind it.
    pub(crate) fn step(&self, rollout: &Rollout) -> Option<(u32, u32)> {
        let steps = stage::canary_steps(rollout, self)?;
        let count = u32::try_from(steps.len()).unwrap_or(u32::MAX);
        Some((self.step.saturating_add(1), count)).filter(|(step, count)| step <= count)
    }

    fn turn(&self, stage: Stage, situation: &Situation<'_>) -> Option<Turn> {
        if self.paused {
            return None;
        }
        let goal = stage.goal(situation.wanted);
        let is_there = situation.new.ready >= goal;
        match (stage, self.reached) {
            (Stage::Rest, _) => {
                let gone = situation.olds.iter().all(|old| old.awake == 0);
                (is_there && gone).then_some(Turn::Done)
            }
            (_, None) => is_there.then_some(Turn::Reached),
            (Stage::Probe { .. }, Some(_)) if situation.answers.answers >= LEAST_ANSWERS => {
                Some(Turn::Next)
            }
            (_, reached) => {
                stage.over_at(reached).filter(|at| *at <= situation.now).map(|_| Turn::Next)
            }
        }
    }

    fn given_up(&self, rollout: &Rollout, situation: &Situation<'_>) -> Option<RolledBackBy> {
        if self.back {
            return None;
        }
        // A revision of which a replica is ready can be; what keeps another from it shows in its
        // failures.
        let late = situation.late && situation.new.ready == 0;
        if late || situation.failures >= MOST_FAILURES {
            return Some(RolledBackBy::NotReady);
        }
        let Watched { answers, errors } = situation.answers;
        let most = u128::from(rollout.max_errors_milli) * u128::from(answers);
        let too_many = rollout.max_errors_milli > 0
            && answers >= LEAST_ANSWERS
            && u128::from(errors) * 1000 >= most;
        too_many.then_some(RolledBackBy::Errors)
    }
}
