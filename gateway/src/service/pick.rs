//! Which replica gets a request: first a revision by its weight, then the less busy of two
//! replicas chosen at random.
//!
//! Two random choices are nearly as good as looking at all of them, and many gateways that
//! look at all would all choose the same (Mitzenmacher, "The Power of Two Choices in
//! Randomized Load Balancing", 2001).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use wrun_protocol::AttemptId;

use super::{Lease, Replica, Revision, Service, Shape};

/// What came of looking for a replica.
#[derive(Debug)]
pub(crate) enum Picked {
    /// One, with a permit of it.
    Lease(Lease),
    /// All that there are handle as many requests as they may.
    Full,
    /// There is none.
    Empty,
}

impl Service {
    /// A replica for a request, of the revision that it is pinned to or of any that has a
    /// weight; none of those that were tried.
    pub(crate) fn pick(
        self: &Arc<Self>,
        shape: &Shape,
        pinned: Option<u32>,
        tried: &[AttemptId],
        now: u64,
    ) -> Picked {
        let lease = |(revision, replica): (&Arc<Revision>, Arc<Replica>)| {
            Picked::Lease(Lease::new(Arc::clone(self), Arc::clone(revision), replica))
        };
        if let Some(revision) = pinned.and_then(|number| shape.revision(number)) {
            let taken = revision.take(tried, now).map(|replica| lease((revision, replica)));
            return taken.unwrap_or_else(|| revision.without(tried));
        }
        let first = self.choose(shape);
        let taken = first.and_then(|revision| Some((revision, revision.take(tried, now)?)));
        // The others rather than a wait: a share is for requests that have a choice.
        let other = || {
            let others = shape.revisions.iter().filter(|revision| revision.weight > 0);
            others.into_iter().find_map(|it| it.take(tried, now).map(|replica| (it, replica)))
        };
        if let Some(taken) = taken.or_else(other) {
            return lease(taken);
        }
        let weighted = shape.revisions.iter().filter(|revision| revision.weight > 0);
        let is_full = weighted.into_iter().any(|it| matches!(it.without(tried), Picked::Full));
        if is_full { Picked::Full } else { Picked::Empty }
    }

    /// A revision by its weight, of those that have a replica. Multiples of the golden ratio,
    /// modulo one, are spread evenly however many are taken: so a share of 5 in a hundred is
    /// one in twenty, not five in a row, and nothing is locked.
    fn choose<'a>(&self, shape: &'a Shape) -> Option<&'a Arc<Revision>> {
        /// 2^32 over the golden ratio.
        const STEP: u32 = 0x9E37_79B9;
        let weighted =
            || shape.revisions.iter().filter(|it| it.weight > 0 && !it.replicas.is_empty());
        if weighted().nth(1).is_none() {
            return weighted().next();
        }
        let total: u64 = weighted().map(|revision| u64::from(revision.weight)).sum();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed).wrapping_mul(STEP);
        let mut at = (u64::from(turn) * total) >> 32;
        weighted().find(|revision| {
            let weight = u64::from(revision.weight);
            let is_it = at < weight;
            at = at.saturating_sub(weight);
            is_it
        })
    }
}

impl Revision {
    /// A replica with a permit of it.
    fn take(&self, tried: &[AttemptId], now: u64) -> Option<Arc<Replica>> {
        let fits = |replica: &&Arc<Replica>| !tried.contains(&replica.attempt);
        let room = |index: usize| {
            let replica = self.replicas.get(index).filter(fits)?;
            Some((replica, replica.room(self.concurrency, now)?))
        };
        let count = self.replicas.len();
        let (one, other) = two_of(count);
        let better = match (room(one), room(other)) {
            (Some((a, at_a)), Some((b, at_b))) => {
                let is_b = (at_b, !b.is_local) < (at_a, !a.is_local);
                Some(if is_b { b } else { a })
            }
            (Some((replica, _)), None) | (None, Some((replica, _))) => Some(replica),
            (None, None) => None,
        };
        let acquire = |replica: &&Arc<Replica>| replica.acquire(self.concurrency, now);
        let taken = better.filter(acquire);
        let any = || {
            let from_one = self.replicas.iter().cycle().skip(one).take(count);
            from_one.filter(fits).find(acquire)
        };
        taken.or_else(any).map(Arc::clone)
    }

    /// Why there is no replica to take.
    fn without(&self, tried: &[AttemptId]) -> Picked {
        let usable = |it: &Arc<Replica>| it.is_usable() && !tried.contains(&it.attempt);
        if self.replicas.iter().any(usable) { Picked::Full } else { Picked::Empty }
    }

    /// A request to that replica failed. At most half of the replicas are left out at once:
    /// where more fail, it is not they who are to blame.
    pub(super) fn on_failure(&self, replica: &Replica, now: u64) -> bool {
        replica.health.on_failure(now, || {
            let ejected = self.replicas.iter().filter(|it| it.is_ejected(now)).count();
            (ejected + 1) * 2 <= self.replicas.len()
        })
    }
}

/// Two different ones of so many, the same where there is one.
fn two_of(count: usize) -> (usize, usize) {
    if count < 2 {
        return (0, 0);
    }
    let one = fastrand::usize(..count);
    let other = fastrand::usize(..count - 1);
    (one, if other >= one { other + 1 } else { other })
}
