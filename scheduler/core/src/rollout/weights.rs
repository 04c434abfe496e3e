//! Which share of the requests each revision gets.

use wrun_protocol::service::{HeaderMatch, Rollout, Strategy};

use super::stage::{Stage, canary_steps};
use super::{Progress, Side, Situation};

/// Shares of the requests, each against the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weights {
    pub(crate) new: u32,
    /// Of the others, in their order.
    pub(crate) olds: Vec<u32>,
    /// Requests with this go to the new revision, whatever its share.
    pub(crate) header: Option<HeaderMatch>,
}

/// A revision without a ready replica gets none, while another has one.
pub(super) fn weights(
    rollout: &Rollout,
    stage: Stage,
    progress: &Progress,
    situation: &Situation<'_>,
) -> Weights {
    let new = situation.new.able();
    let each = situation.olds.iter().map(Side::able);
    let olds = each.clone().fold(0_u32, u32::saturating_add);
    let by_number = || Weights { new, olds: each.clone().collect(), header: None };
    let weights = if olds == 0 {
        Weights { new: 1, olds: each.map(|_| 0).collect(), header: None }
    } else if new == 0 {
        by_number()
    } else {
        let of_all = |part: u32, whole: u32| part.saturating_mul(100) / whole.max(1);
        match percent(rollout, stage, progress, of_all(new, new.saturating_add(olds))) {
            None => by_number(),
            Some(percent) => Weights {
                new: olds.saturating_mul(percent),
                olds: each.map(|ready| ready.saturating_mul(100 - percent)).collect(),
                header: None,
            },
        }
    };
    let header = header(rollout).filter(|_| !progress.back && new > 0);
    Weights { header: header.cloned(), ..weights }
}

/// The new revision's share in a hundred; `None`: by number of replicas.
fn percent(rollout: &Rollout, stage: Stage, progress: &Progress, number: u32) -> Option<u32> {
    let before = || {
        let steps = canary_steps(rollout, progress)?;
        let step = usize::try_from(progress.step).ok()?.min(steps.len()).checked_sub(1)?;
        steps.get(step).map(|step| u32::from(step.percent.min(100)))
    };
    match stage {
        Stage::Probe { .. } => None,
        Stage::Canary(step) if progress.reached.is_some() => Some(step.percent.min(100).into()),
        // Until it has replicas for more.
        Stage::Canary(_) => Some(before().unwrap_or(0)),
        Stage::Fill { .. } => Some(if progress.reached.is_some() { 100 } else { 0 }),
        Stage::Rest => before().filter(|percent| *percent > number),
    }
}

fn header(rollout: &Rollout) -> Option<&HeaderMatch> {
    match &rollout.strategy {
        Strategy::Rolling => None,
        Strategy::Canary { header, .. } | Strategy::BlueGreen { header, .. } => header.as_ref(),
    }
}

#[cfg(test)]
mod tests {
    use wrun_protocol::Timestamp;
    use wrun_protocol::service::CanaryStep;

    use super::*;
    use crate::scaling::Watched;

    fn situation() -> Situation<'static> {
        Situation {
            now: Timestamp(0),
            wanted: 10,
            new: Side::default(),
            olds: &[],
            late: false,
            failures: 0,
            answers: Watched::default(),
        }
    }

    /// The shares of the requests in a hundred, where so many are ready.
    fn shares(strategy: &Strategy, progress: Progress, new: u32, olds: &[u32]) -> Vec<u32> {
        let rollout = Rollout { strategy: strategy.clone(), ..Rollout::default() };
        let side = |ready: u32| Side { awake: ready, ready, ..Side::default() };
        let olds: Vec<Side> = olds.iter().map(|ready| side(*ready)).collect();
        let situation = Situation { new: side(new), olds: &olds, ..situation() };
        let stage = Stage::of(&rollout, &progress);
        let weights = weights(&rollout, stage, &progress, &situation);
        let all = weights.new + weights.olds.iter().sum::<u32>();
        let all = all.max(1);
        [weights.new].iter().chain(&weights.olds).map(|weight| weight * 100 / all).collect()
    }

    fn canary() -> Strategy {
        let step = |percent| CanaryStep { percent, wait_ms: None };
        Strategy::Canary { steps: vec![step(5), step(40)], header: None }
    }

    fn at(step: u32, reached: bool) -> Progress {
        let reached = reached.then_some(Timestamp(1));
        Progress { step, reached, ..Progress::default() }
    }

    #[test]
    fn a_rolling_update_shares_requests_by_the_number_of_replicas() {
        assert_eq!(shares(&Strategy::Rolling, at(0, false), 1, &[3]), [25, 75]);
        assert_eq!(shares(&Strategy::Rolling, at(0, false), 1, &[2, 1]), [25, 50, 25]);
        assert_eq!(shares(&Strategy::Rolling, at(0, false), 0, &[3]), [0, 100]);
        assert_eq!(shares(&Strategy::Rolling, at(0, false), 0, &[0]), [100, 0]);
    }

    #[test]
    fn a_canary_gets_what_its_step_says_once_it_has_the_replicas_for_it() {
        assert_eq!(shares(&canary(), at(0, false), 1, &[9]), [0, 100]);
        assert_eq!(shares(&canary(), at(0, true), 1, &[9]), [5, 95]);
        assert_eq!(shares(&canary(), at(1, false), 3, &[7]), [5, 95]);
        assert_eq!(shares(&canary(), at(1, true), 4, &[6]), [40, 60]);
        // The rest goes by the number of replicas, but never back.
        assert_eq!(shares(&canary(), at(2, false), 3, &[7]), [40, 60]);
        assert_eq!(shares(&canary(), at(2, false), 8, &[2]), [80, 20]);
    }

    #[test]
    fn whoever_has_no_replica_that_is_ready_gets_no_requests() {
        assert_eq!(shares(&canary(), at(1, true), 0, &[6]), [0, 100]);
        assert_eq!(shares(&canary(), at(0, true), 1, &[0]), [100, 0]);
        let exchange = Strategy::BlueGreen { header: None, keep_ms: 1000 };
        assert_eq!(shares(&exchange, at(0, false), 9, &[10]), [0, 100]);
        assert_eq!(shares(&exchange, at(0, true), 10, &[10]), [100, 0]);
        assert_eq!(shares(&exchange, at(0, true), 0, &[10]), [0, 100]);
    }

    #[test]
    fn where_a_program_was_all_requests_are_for_the_new_revision() {
        let situation = Situation {
            new: Side { awake: 1, ready: 1, is_program: false },
            olds: &[Side { awake: 9, ready: 9, is_program: true }],
            ..situation()
        };
        let rollout = Rollout { strategy: canary(), ..Rollout::default() };
        let progress = at(0, false);
        let weights = weights(&rollout, Stage::of(&rollout, &progress), &progress, &situation);
        assert_eq!((weights.new, weights.olds), (1, vec![0]));
    }
}
