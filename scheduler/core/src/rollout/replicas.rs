//! How many replicas of each revision are to be awake.

use wrun_protocol::service::Rollout;

use super::stage::Stage;
use super::{Side, Situation};

/// By what the numbers are bounded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room<'a> {
    pub(super) rollout: &'a Rollout,
    pub(super) stage: Stage,
    /// Whether the stage's goal was reached.
    pub(super) reached: bool,
}

/// How many are to be awake: of the new revision, and of the others in their order.
pub(super) fn replicas(room: Room<'_>, paused: bool, situation: &Situation<'_>) -> (u32, Vec<u32>) {
    let Situation { wanted, new, olds, .. } = *situation;
    let total = |of: fn(&Side) -> u32| {
        let each = olds.iter().map(of);
        each.fold(0_u32, u32::saturating_add)
    };
    let (awake, ready) = (total(|old| old.awake), total(|old| old.ready));
    let most = room.most(wanted);
    let goal = room.stage.goal(wanted);
    let goal = if paused { goal.min(new.awake) } else { goal };
    // Of the old ones so many are needed, and of those that are ready none is given up for
    // room; what else there is room for is the new one's, then theirs again.
    let need = room.olds_needed(wanted, goal, new.ready, awake);
    let kept = need.min(ready);
    let of_new = new.awake.min(most.saturating_sub(kept)).max(most.saturating_sub(need)).min(goal);
    // Where the goal is less than it was, those that are ready stay until others are.
    let of_new = of_new.max(new.ready.min(room.enough(wanted).saturating_sub(ready)));
    let left = most.saturating_sub(of_new);
    let of_olds = if paused { need.max(awake).min(left) } else { need.min(left) };
    (of_new, shared(of_olds, olds))
}

impl Room<'_> {
    /// The most that are awake.
    fn most(&self, wanted: u32) -> u32 {
        match self.stage {
            Stage::Fill { .. } => wanted.saturating_mul(2),
            _ => wanted.saturating_add(self.rollout.surge),
        }
    }

    /// How many are to be ready.
    fn enough(&self, wanted: u32) -> u32 {
        wanted.saturating_sub(self.rollout.unavailable)
    }

    /// How many of the old revisions are to be ready.
    fn olds_needed(&self, wanted: u32, goal: u32, new_ready: u32, awake: u32) -> u32 {
        match self.stage {
            Stage::Fill { .. } if self.reached => wanted.min(awake),
            Stage::Fill { .. } => wanted,
            _ => {
                let missing = self.enough(wanted).saturating_sub(new_ready);
                missing.max(wanted.saturating_sub(goal)).max(self.least(wanted, goal))
            }
        }
    }

    /// While a canary gets a part of the requests, the others need somewhere to go, and while
    /// the first replicas of a rolling update are watched, there is to be somewhere to go back
    /// to; be the service as small as one replica.
    fn least(&self, wanted: u32, goal: u32) -> u32 {
        let both = match self.stage {
            Stage::Probe { .. } => true,
            Stage::Canary(step) => step.percent < 100,
            Stage::Fill { .. } | Stage::Rest => false,
        };
        if both && goal > 0 { self.most(wanted).saturating_sub(goal).min(1) } else { 0 }
    }
}

/// So many among the old revisions: those that are ready in their order, then the first.
fn shared(count: u32, olds: &[Side]) -> Vec<u32> {
    let mut left = count;
    let mut shares: Vec<u32> = Vec::with_capacity(olds.len());
    for old in olds {
        let share = old.ready.min(left);
        left -= share;
        shares.push(share);
    }
    if let Some(first) = shares.first_mut() {
        *first = first.saturating_add(left);
    }
    shares
}
