//! Replicas that get ready, fail and drain, and a rollout that is followed to the letter.

use wrun_protocol::Timestamp;
use wrun_protocol::service::{CanaryStep, HeaderMatch, Rollout, Strategy};

use crate::rollout::{Plan, Progress, Side, Situation, Turn};
use crate::scaling::Watched;

#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) rollout: Rollout,
    pub(super) progress: Progress,
    pub(super) wanted: u32,
    pub(super) new: Side,
    pub(super) olds: Vec<Side>,
    pub(super) now: Timestamp,
    pub(super) late: bool,
    pub(super) failures: u32,
    pub(super) answers: Watched,
    /// Its turns, in order.
    pub(super) turns: Vec<Turn>,
}

pub(super) fn rolling(surge: u32, unavailable: u32) -> Rollout {
    Rollout { surge, unavailable, ..Rollout::default() }
}

pub(super) fn canary(steps: &[(u8, Option<u64>)]) -> Rollout {
    let steps =
        steps.iter().map(|(percent, wait_ms)| CanaryStep { percent: *percent, wait_ms: *wait_ms });
    let header = Some(HeaderMatch { name: "x-canary".to_owned(), value: "1".to_owned() });
    let strategy = Strategy::Canary { steps: steps.collect(), header };
    Rollout { strategy, ..Rollout::default() }
}

pub(super) fn blue_green(keep_ms: u64) -> Rollout {
    let strategy = Strategy::BlueGreen { header: None, keep_ms };
    Rollout { strategy, ..Rollout::default() }
}

impl Model {
    /// So many replicas of the old revision are in place.
    pub(super) fn new(rollout: Rollout, wanted: u32) -> Self {
        Self {
            rollout,
            progress: Progress::default(),
            wanted,
            new: Side::default(),
            olds: vec![Side { awake: wanted, ready: wanted, ..Side::default() }],
            now: Timestamp(1_000_000),
            late: false,
            failures: 0,
            answers: Watched::default(),
            turns: Vec::new(),
        }
    }

    pub(super) fn plan(&self) -> Plan {
        let situation = Situation {
            now: self.now,
            wanted: self.wanted,
            new: self.new,
            olds: &self.olds,
            late: self.late,
            failures: self.failures,
            answers: self.answers,
        };
        self.progress.plan(&self.rollout, &situation)
    }

    /// Whether it has ended.
    pub(super) fn is_done(&self) -> bool {
        self.turns.last() == Some(&Turn::Done)
    }

    /// Does as the plan says until nothing is left to do at this instant.
    pub(super) fn follow(&mut self) -> &mut Self {
        for _ in 0..200 {
            if self.is_done() {
                return self;
            }
            let before = (self.new, self.olds.clone(), self.progress);
            self.step();
            if before == (self.new, self.olds.clone(), self.progress) {
                return self;
            }
        }
        panic!("it never comes to rest: {self:?}");
    }

    fn step(&mut self) {
        let plan = self.plan();
        self.check(&plan);
        let ready = self.ready();
        set(&mut self.new, plan.new);
        self.olds.iter_mut().zip(&plan.olds).for_each(|(old, to)| set(old, *to));
        let least = self.wanted.saturating_sub(self.rollout.unavailable).min(ready);
        assert!(self.ready() >= least, "{} ready of {least}: {self:?}", self.ready());
        self.late &= self.new.ready == 0 && self.new.awake > 0;
        let Some(turn) = plan.turn else { return };
        self.turns.push(turn);
        self.progress = self.progress.after(turn, self.now);
        if let Turn::Back(_) = turn {
            self.go_back();
        }
    }

    /// The old revision is to be in place again.
    pub(super) fn go_back(&mut self) {
        let new = std::mem::replace(&mut self.olds[0], self.new);
        self.new = new;
        self.progress = Progress { back: true, ..Progress::default() };
        (self.late, self.failures, self.answers) = (false, 0, Watched::default());
    }

    fn check(&self, plan: &Plan) {
        let awake = plan.new + plan.olds.iter().sum::<u32>();
        let exchanged = matches!(self.rollout.strategy, Strategy::BlueGreen { .. })
            && !self.progress.back
            && self.progress.step == 0;
        let most = if exchanged { 2 * self.wanted } else { self.wanted + self.rollout.surge };
        assert!(awake <= most, "{awake} awake of {most}: {plan:?} of {self:?}");
        assert!(plan.new <= self.wanted, "{plan:?} of {self:?}");
        let weights = plan.weights.new + plan.weights.olds.iter().sum::<u32>();
        assert!(weights > 0 || self.ready() == 0, "{plan:?} of {self:?}");
        let sides = [self.new].into_iter().chain(self.olds.iter().copied());
        let each = [plan.weights.new].into_iter().chain(plan.weights.olds.iter().copied());
        for (side, weight) in sides.zip(each) {
            assert!(side.ready > 0 || weight == 0 || self.ready() == 0, "{plan:?} of {self:?}");
        }
        assert!(plan.look.is_none_or(|at| at > self.now), "{plan:?} of {self:?}");
    }

    pub(super) fn ready(&self) -> u32 {
        self.new.ready + self.olds.iter().map(|old| old.ready).sum::<u32>()
    }

    /// Everything that is awake gets ready.
    pub(super) fn all_ready(&mut self) -> &mut Self {
        self.new.ready = self.new.awake;
        self.olds.iter_mut().for_each(|old| old.ready = old.awake);
        self.follow()
    }

    pub(super) fn wait(&mut self, ms: u64) -> &mut Self {
        self.now = Timestamp(self.now.0 + ms);
        self.follow()
    }

    /// Replicas get ready and time passes until it has ended, or nothing happens any more.
    pub(super) fn end(&mut self) -> bool {
        for _ in 0..500 {
            self.all_ready();
            if self.is_done() {
                return true;
            }
            if let Some(at) = self.plan().look {
                self.now = at;
            }
        }
        false
    }

    /// Awake of the new revision, and of the old ones.
    pub(super) fn awake(&self) -> (u32, u32) {
        (self.new.awake, self.olds.iter().map(|old| old.awake).sum())
    }
}

/// So many are to be awake: those that are not ready go first.
fn set(side: &mut Side, awake: u32) {
    side.awake = awake;
    side.ready = side.ready.min(awake);
}
