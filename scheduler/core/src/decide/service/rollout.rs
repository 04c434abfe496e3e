//! How many replicas of each revision there are to be while one takes the place of another.

use std::collections::BTreeMap;

use wrun_protocol::service::Rollout;

/// What there is of a revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Replicas that are there or are being started, and are to stay.
    pub(super) kept: u32,
    /// Of those, replicas that get requests.
    pub(super) ready: u32,
}

/// How many replicas of each revision are to stay, out of `number` that are wanted in all,
/// while revision `to` takes the place of the others: no more than `surge` above that
/// number, and no fewer ready than `unavailable` below it, as far as there are so many.
pub(super) fn rolling(
    to: u32,
    number: u32,
    rollout: &Rollout,
    seen: &BTreeMap<u32, Seen>,
) -> BTreeMap<u32, u32> {
    let new = seen.get(&to).copied().unwrap_or_default();
    let others = seen.iter().filter(|(revision, _)| **revision != to);
    let old: u32 = others.clone().map(|(_, seen)| seen.kept).sum();
    let room = number.saturating_add(rollout.surge).saturating_sub(old);
    let mut wanted = BTreeMap::from([(to, number.min(room.max(new.kept)))]);
    let mut left = number.saturating_sub(rollout.unavailable).saturating_sub(new.ready);
    // Those of the latest first; one that is not ready serves nobody.
    for (revision, seen) in others.rev() {
        let stay = seen.ready.min(left);
        left -= stay;
        wanted.insert(*revision, stay);
    }
    wanted
}
