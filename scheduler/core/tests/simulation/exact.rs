//! What must hold of an orderly cluster after every instant, worked out from scratch: what
//! was promised, the order of the queue, that room is used, and how long anything waits.

use std::collections::BTreeSet;

use wrun_core::views::forecast::Expected;
use wrun_protocol::TaskId;
use wrun_protocol::policy::{Backfill, BackfillMode, Policy, QueueOrder};

use crate::draw::Draft;
use crate::orderly::{Job, Orderly};
use crate::timeline::{Places, Timeline, Unit};

/// Promises of so many of the first in the queue are compared from one instant to the next.
const TOLD: usize = 4;

impl Orderly {
    /// Lets the core place what it will at this instant, and checks it.
    pub(crate) fn settle(&mut self) {
        self.note_elders();
        let shares = self.core.shares();
        self.factors =
            shares.iter().map(|row| (row.tenant.as_str().to_owned(), row.factor)).collect();
        let started = self.poll();
        self.timeline(&BTreeSet::new()).check(self.now);
        self.check_age(&started);
        let queue = self.in_order(&self.waiting);
        let Backfill { mode, promises, .. } = self.policy.backfill;
        match mode {
            BackfillMode::Off => self.check_order(&queue, &started),
            BackfillMode::Easy => self.check_promises(&queue, &started, promises as usize),
            BackfillMode::Conservative => self.check_promises(&queue, &started, usize::MAX),
        }
        self.check_told(&queue, &started);
    }

    /// What runs, and is reserved, but for some.
    fn timeline(&self, without: &BTreeSet<TaskId>) -> Timeline {
        let mut timeline = self.empty.clone();
        for (_, id) in self.ends.iter().filter(|(_, id)| !without.contains(id)) {
            let job = &self.jobs[id];
            let places = job.placed.iter().map(|(node, run)| (*node, run.tasks.count));
            timeline.take(&job.draft.unit, job.started.unwrap(), &places.collect::<Vec<_>>());
        }
        timeline
    }

    fn is_aged(&self, job: &Job) -> bool {
        self.policy.age_bound_ms.is_some_and(|most| self.now - job.submitted >= most)
    }

    /// What starts at once; what has waited too long leaves no headroom.
    fn unit(&self, id: &TaskId) -> Unit {
        let job = &self.jobs[id];
        Unit { aged: self.is_aged(job), ..job.draft.unit }
    }

    /// The smaller the sooner; the order of the queue, as the documentation has it.
    fn rank(&self, id: &TaskId) -> (bool, i128) {
        let job = &self.jobs[id];
        let submitted = i128::from(job.submitted);
        if self.is_aged(job) {
            return (false, submitted);
        }
        let Unit { each, count, length, .. } = job.draft.unit;
        let area = i128::from(each.plain.cpu_milli) * i128::from(count) * i128::from(length);
        let weights = &self.policy.weights;
        let rank = match self.policy.order {
            QueueOrder::Multifactor => {
                let factor = i128::from(self.factors[job.draft.tenant]);
                -i128::from(job.draft.priority) * i128::from(weights.user)
                    - i128::from(weights.fair_share) * factor / 1_000_000
            }
            QueueOrder::Fcfs => submitted,
            QueueOrder::ShortestFirst => length.into(),
            QueueOrder::SmallestAreaFirst => area,
            QueueOrder::Balanced => {
                let balance = &self.policy.balance;
                let full = i128::from(balance.full_area_ms) * i128::from(self.cpu_milli);
                submitted + area.min(full) * i128::from(balance.patience_ms) / full
            }
        };
        (true, rank)
    }

    /// Whether equal ranks of the two leave open who is first: tenants take turns then.
    fn take_turns(&self, one: &TaskId, other: &TaskId) -> bool {
        let tenant = |id| self.jobs[id].draft.tenant;
        self.policy.order == QueueOrder::Multifactor && tenant(one) != tenant(other)
    }

    /// Whether one must go before the other.
    fn precedes(&self, one: &TaskId, other: &TaskId) -> bool {
        let (a, b) = (self.rank(one), self.rank(other));
        a < b || (a == b && one < other && !self.take_turns(one, other))
    }

    fn in_order(&self, units: &BTreeSet<TaskId>) -> Vec<TaskId> {
        let mut units: Vec<TaskId> = units.iter().copied().collect();
        units.sort_by_cached_key(|id| (self.rank(id), *id));
        units
    }

    /// Those of the queue that are promised a start: of each job, and where not all are, of
    /// each kind, the next. As far as it is certain who is before whom.
    fn promised(&self, queue: &[TaskId], most: usize) -> (Vec<TaskId>, bool) {
        let easy = self.policy.backfill.mode == BackfillMode::Easy;
        let mut found: Vec<TaskId> = Vec::new();
        for id in queue {
            let open =
                |other: &TaskId| self.take_turns(id, other) && self.rank(id) == self.rank(other);
            if queue.iter().any(open) {
                return (found, false);
            }
            let Job { draft, .. } = &self.jobs[id];
            let alike = |other: &TaskId| {
                let Job { draft: before, .. } = &self.jobs[other];
                let kind = |draft: &Draft| (draft.unit, draft.priority, draft.tenant);
                other.job == id.job || (easy && kind(before) == kind(draft))
            };
            if !found.iter().any(alike) {
                found.push(*id);
            }
            if found.len() >= most {
                break;
            }
        }
        (found, true)
    }

    /// Without backfill, nothing is placed that one before it could have been placed for.
    fn check_order(&self, queue: &[TaskId], started: &BTreeSet<TaskId>) {
        for late in queue {
            let passed = started.iter().copied().filter(|id| self.precedes(late, id));
            let passed: BTreeSet<TaskId> = passed.collect();
            let (at, _) = self.timeline(&passed).earliest(&self.unit(late), self.now);
            assert!(at > self.now, "{passed:?} were placed before {late}, which had room");
        }
    }

    /// What was placed out of order delays none of the first `promised` that wait, the
    /// first of the queue keeps the start that it could count on, and whatever could be
    /// filled in was. Short ones may use the headroom, also where that delays a long one.
    fn check_promises(&mut self, queue: &[TaskId], started: &BTreeSet<TaskId>, promised: usize) {
        let one_node = self.empty.nodes.len() == 1;
        let firm = self.empty.headroom.is_none();
        let mut head = None;
        // With several nodes the plan depends on which of them the others were promised.
        let (planned, certain) = self.promised(queue, if one_node { promised } else { 1 });
        let mut before: Vec<(Unit, u64, Places)> = Vec::new();
        let mut after = self.timeline(&BTreeSet::new());
        for (place, late) in planned.iter().enumerate() {
            let passed = started.iter().copied().filter(|id| self.precedes(late, id));
            let mut without = self.timeline(&passed.collect());
            for (unit, at, places) in &before {
                without.take(unit, *at, places);
            }
            let unit = self.unit(late);
            let (could, _) = without.earliest(&unit, self.now);
            let (at, places) = after.earliest(&unit, self.now);
            let what = self.told(queue, started);
            assert!(
                at <= could || !firm,
                "{late} could start at {could}, and now only at {at}: {what}"
            );
            assert!(at > self.now, "{late} has room and waits: {what}");
            if place == 0 {
                let counted_on = self.head.filter(|(head, _)| head == late);
                head = Some((*late, at));
                // What comes before it may still take its place.
                let overtaken = started.iter().any(|id| self.precedes(id, late));
                let sooner = counted_on.filter(|(_, before)| *before < at && !overtaken && firm);
                assert!(sooner.is_none(), "{late} was to start at {sooner:?}, now at {at}");
            }
            after.take(&unit, at, &places);
            before.push((unit, at, places));
        }
        if one_node && certain && firm {
            for idle in queue.iter().filter(|id| !planned.contains(id)) {
                let (at, _) = after.earliest(&self.unit(idle), self.now);
                assert!(at > self.now, "{idle} could be filled in and is not");
            }
        }
        self.head = head;
    }

    /// On however many nodes, what was promised to one of the queue is kept, as long as all
    /// before it keeps what it was promised.
    fn check_told(&mut self, queue: &[TaskId], started: &BTreeSet<TaskId>) {
        if self.empty.headroom.is_some() || self.policy.backfill.mode == BackfillMode::Off {
            return;
        }
        let (first, _) = self.promised(queue, TOLD);
        let told = |id: &TaskId| match self.core.expected_start(id.job) {
            Some(Expected::At(forecast)) if forecast.promised => Some(forecast.at.0),
            _ => None,
        };
        let now: Vec<(TaskId, Option<u64>)> = first.iter().map(|id| (*id, told(id))).collect();
        for ((id, was), (other, is)) in self.told.iter().zip(&now) {
            let (Some(was), Some(is)) = (was, is) else { break };
            if id != other || started.iter().any(|sooner| self.precedes(sooner, id)) {
                break;
            }
            assert!(is <= was, "{id} was promised to start at {was}, now {is}");
            if is < was {
                break;
            }
        }
        self.told = now;
    }

    fn told(&self, queue: &[TaskId], started: &BTreeSet<TaskId>) -> String {
        let Policy { order, fill_order, age_bound_ms, backfill, .. } = &self.policy;
        let (mode, now) = (backfill.mode, self.now);
        format!(
            "at {now}, {order:?} {fill_order:?} {age_bound_ms:?} {mode:?}, {} nodes, started {started:?}, waiting {queue:?}",
            self.empty.nodes.len()
        )
    }

    /// Notes of what has now waited for the age bound how much stands before it.
    fn note_elders(&mut self) {
        let Some(bound) = self.policy.age_bound_ms else { return };
        let older = |other: &TaskId, id: &TaskId| {
            let (a, b) = (self.jobs[other].submitted, self.jobs[id].submitted);
            a < b || (a == b && (other < id || self.take_turns(other, id)))
        };
        let due = |id: &&TaskId| {
            let job = &self.jobs[id];
            job.submitted + bound <= self.now && job.elders.is_none()
        };
        let elders = |id: &TaskId| self.waiting.iter().filter(|other| older(other, id)).count();
        let noted: Vec<(TaskId, u64)> =
            self.waiting.iter().filter(due).map(|id| (*id, elders(id) as u64)).collect();
        for (id, elders) in noted {
            self.jobs.get_mut(&id).unwrap().elders = Some(elders);
        }
    }

    /// Nothing waits longer than the age bound, and once the longest time limit for each of
    /// those that were older and waited still, and for what ran: the first in the queue
    /// starts at the latest when all that runs has ended.
    fn check_age(&self, started: &BTreeSet<TaskId>) {
        let none = self.policy.backfill.mode == BackfillMode::Off;
        let Some(bound) = self.policy.age_bound_ms.filter(|_| !none) else { return };
        // Maintenance is nobody's fault.
        if !self.empty.blocks.is_empty() {
            return;
        }
        let longest = self.jobs.values().map(|job| job.draft.unit.length).max().unwrap_or(0);
        for id in started {
            let job = &self.jobs[id];
            let most = bound + (job.elders.unwrap_or(0) + 1) * longest;
            let waited = self.now - job.submitted;
            assert!(waited <= most, "{id} waited {waited} ms, and {most} at most");
        }
    }
}
