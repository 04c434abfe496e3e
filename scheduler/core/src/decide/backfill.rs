//! Placement where what comes behind a blocked group is not simply the rest of the queue:
//! in an order of its own, or job by job where every blocked one is promised a start.

use std::cmp::Reverse;
use std::collections::{BTreeSet, VecDeque};

use wrun_protocol::JobId;
use wrun_protocol::policy::{BackfillMode, QueueOrder};

use super::place::Round;
use super::rank::first_where;
use crate::core::Core;
use crate::state::groups::{GroupIx, Rank};

/// A group by one of its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Next {
    rank: Reverse<Rank>,
    job: JobId,
    group: GroupIx,
}

/// How far a round is.
struct Line {
    next: BTreeSet<Next>,
    /// The order that age counts in too is that of the queue.
    order: Option<QueueOrder>,
    blocked: BTreeSet<GroupIx>,
}

impl Core {
    /// Whether groups are not simply served one after the other.
    pub(crate) fn fills_apart(&self) -> bool {
        let policy = &self.state.rules.policy;
        let other = |order| order != policy.order || policy.age_bound_ms.is_some();
        match policy.backfill.mode {
            BackfillMode::Off => false,
            BackfillMode::Easy => policy.fill_order.is_some_and(other),
            BackfillMode::Conservative => true,
        }
    }

    /// Serves groups in the order of the queue until as many are blocked as are promised
    /// a start, then the others in the order of filling.
    pub(crate) fn fill_apart(&mut self, round: &mut Round) {
        let depth = self.state.rules.policy.backfill.depth as usize;
        let next = self.state.groups.in_queue().take(depth);
        let next = next.map(|(at, group)| Next { rank: at.rank, job: at.head, group }).collect();
        let mut line = Line { next, order: None, blocked: BTreeSet::new() };
        let mut looked_at = 0;
        while looked_at < depth && self.any_room(round) {
            let Some(next) = line.next.pop_first() else { return };
            if self.serve_next(next, &line, round) {
                self.refresh_queue();
                let head = self.state.groups.get(next.group).map(|entry| entry.ready.first());
                let head = head.flatten();
                line.next.extend(head.and_then(|head| self.next_in(line.order, next.group, head)));
                continue;
            }
            looked_at += 1;
            if self.state.groups.get(next.group).is_some_and(|entry| entry.parked.is_some()) {
                self.refresh_queue();
                continue;
            }
            line.blocked.insert(next.group);
            self.step_over(next, &mut line, round);
        }
    }

    fn serve_next(&mut self, next: Next, line: &Line, round: &mut Round) -> bool {
        // One that is alike had no room before.
        if line.blocked.contains(&next.group) || !self.may_fit_group(next.group, round) {
            return false;
        }
        let until = line.next.first().and_then(|other| self.first_after(line.order, next, *other));
        self.place_group(next.group, u32::MAX, until, round) > 0
    }

    fn step_over(&mut self, next: Next, line: &mut Line, round: &mut Round) {
        let backfill = self.state.rules.policy.backfill;
        if backfill.mode == BackfillMode::Conservative {
            round.outlook.blocked.push_back((next.group, next.job));
            line.next.extend(self.next_after(line.order, next.group, next.job));
            return;
        }
        let promised = line.blocked.iter().filter(|group| self.is_serviceable(**group));
        if line.order.is_none() && promised.count() >= backfill.promises as usize {
            line.order = self.state.rules.policy.fill_order;
            let before = std::mem::take(&mut line.next);
            let again =
                before.iter().filter_map(|next| self.next_in(line.order, next.group, next.job));
            line.next = again.collect();
        }
    }

    /// Whether a node that takes tasks could hold one of the group.
    fn is_serviceable(&self, group: GroupIx) -> bool {
        let Some(group) = self.state.groups.get(group) else { return false };
        self.state.nodes.iter().any(|(_, node)| node.takes_tasks() && node.suits(&group.key))
    }

    /// The job of the group that follows `job`.
    fn next_after(&self, order: Option<QueueOrder>, group: GroupIx, job: JobId) -> Option<Next> {
        let next = self.state.groups.get(group)?.ready.after(job).next()?;
        self.next_in(order, group, next)
    }

    /// The first job of a group, but for its head, that the other stands before.
    fn first_after(&self, order: Option<QueueOrder>, this: Next, other: Next) -> Option<JobId> {
        let group = self.state.groups.get(this.group)?;
        first_where(group, this.job, |job| {
            self.next_in(order, this.group, job).is_some_and(|next| next > other)
        })
    }

    fn next_in(&self, order: Option<QueueOrder>, group: GroupIx, job: JobId) -> Option<Next> {
        let entry = self.state.groups.get(group)?;
        let submitted = self.state.jobs.get(job)?.submitted;
        let (rules, lengths) = (&self.state.rules, &self.state.groups.lengths);
        let rank = match order {
            None => self.ranking.rank(rules, lengths, entry, submitted),
            Some(order) => self.ranking.rank_in(order, rules, lengths, entry, submitted),
        };
        Some(Next { rank: Reverse(rank), job, group })
    }
}

/// Blocked jobs, in order, that wait for a promise.
pub(crate) type Blocked = VecDeque<(GroupIx, JobId)>;
