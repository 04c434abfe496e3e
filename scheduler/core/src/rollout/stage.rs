//! The stages of a rollout, by its strategy.

use wrun_protocol::Timestamp;
use wrun_protocol::service::{CanaryStep, Rollout, Strategy};

use super::Progress;

/// How long the first replicas of a rolling update are watched for errors when they get too
/// few requests to tell, in milliseconds.
const PROBE_MS: u64 = 10_000;

/// A stage of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The first replicas of a rolling update, where errors are to end it: with replicas that
    /// start within a moment, all would be exchanged before the first error is heard of.
    Probe {
        /// So many replicas.
        goal: u32,
    },
    /// A few requests go to the new revision.
    Canary(CanaryStep),
    /// All replicas of the new revision are to be ready, then all requests go to it.
    Fill {
        /// The old ones stay so long after that, in milliseconds.
        keep_ms: u64,
    },
    /// What is left is exchanged.
    Rest,
}

impl Stage {
    pub(super) fn of(rollout: &Rollout, progress: &Progress) -> Self {
        if progress.back {
            return Self::Rest;
        }
        match (&rollout.strategy, progress.step) {
            (Strategy::Rolling, 0) if rollout.max_errors_milli > 0 => {
                Self::Probe { goal: rollout.surge.max(1) }
            }
            (Strategy::BlueGreen { keep_ms, .. }, 0) => Self::Fill { keep_ms: *keep_ms },
            (Strategy::Canary { steps, .. }, at) => {
                let step = usize::try_from(at).ok().and_then(|at| steps.get(at));
                step.map_or(Self::Rest, |step| Self::Canary(*step))
            }
            _ => Self::Rest,
        }
    }

    /// Replicas of the new revision, where so many are wanted of all.
    pub(super) fn goal(self, wanted: u32) -> u32 {
        match self {
            Self::Probe { goal } => goal.min(wanted),
            Self::Canary(step) => {
                let share = u64::from(wanted) * u64::from(step.percent.min(100));
                u32::try_from(share.div_ceil(100)).unwrap_or(wanted).max(1).min(wanted)
            }
            Self::Fill { .. } | Self::Rest => wanted,
        }
    }

    /// When it is over by itself, where its goal was reached then.
    pub(super) fn over_at(self, reached: Option<Timestamp>) -> Option<Timestamp> {
        let wait_ms = match self {
            Self::Probe { .. } => PROBE_MS,
            Self::Canary(step) => step.wait_ms?,
            Self::Fill { keep_ms } => keep_ms,
            Self::Rest => return None,
        };
        reached.map(|at| Timestamp(at.0.saturating_add(wait_ms)))
    }
}

/// The steps of a canary, where it is one.
pub(super) fn canary_steps<'a>(
    rollout: &'a Rollout,
    progress: &Progress,
) -> Option<&'a [CanaryStep]> {
    match &rollout.strategy {
        Strategy::Canary { steps, .. } if !progress.back && !steps.is_empty() => Some(steps),
        _ => None,
    }
}
