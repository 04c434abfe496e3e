//! What must hold of an orderly cluster after every instant, worked out from scratch: what
//! was promised, the order of the queue, that room is used, and how long anything waits.

use std::collections::BTreeSet;

use wrun_protocol::JobId;
use wrun_protocol::policy::{BackfillMode, Policy, QueueOrder};

use crate::orderly::{Job, Orderly};
use crate::timeline::{Places, Timeline, Unit};

impl Orderly {
    /// Lets the core place what it will at this instant, and checks it.
    pub(crate) fn settle(&mut self) {
        self.note_elders();
        let started = self.poll();
        self.check_age(&started);
        let queue = self.in_order(&self.waiting);
        match self.policy.backfill.mode {
            BackfillMode::Off => self.check_order(&queue, &started),
            BackfillMode::Easy => self.check_promises(&queue, &started, 1),
            BackfillMode::Conservative => self.check_promises(&queue, &started, usize::MAX),
        }
    }

    /// What runs, and is reserved, but for some jobs.
    fn timeline(&self, without: &BTreeSet<JobId>) -> Timeline {
        let mut timeline = self.empty.clone();
        for (_, id) in self.ends.iter().filter(|(_, id)| !without.contains(id)) {
            let job = &self.jobs[id];
            let places = job.placed.iter().map(|(node, run)| (*node, run.tasks.count));
            timeline.take(&job.draft.unit, job.started.unwrap(), &places.collect::<Vec<_>>());
        }
        timeline
    }

    /// The smaller the sooner; the order of the queue, as the documentation has it.
    fn rank(&self, job: &Job) -> (bool, i128) {
        let submitted = i128::from(job.submitted);
        let aged = self.policy.age_bound_ms.is_some_and(|most| self.now - job.submitted >= most);
        if aged {
            return (false, submitted);
        }
        let Unit { each, count, length } = job.draft.unit;
        let area = i128::from(each.cpu_milli) * i128::from(count) * i128::from(length);
        let rank = match self.policy.order {
            QueueOrder::Multifactor => -i128::from(job.draft.priority),
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

    fn in_order(&self, jobs: &BTreeSet<JobId>) -> Vec<JobId> {
        let mut jobs: Vec<JobId> = jobs.iter().copied().collect();
        jobs.sort_by_key(|id| (self.rank(&self.jobs[id]), *id));
        jobs
    }

    /// Without backfill, nothing is placed that one before it could have been placed for.
    fn check_order(&self, queue: &[JobId], started: &BTreeSet<JobId>) {
        let key = |id: &JobId| (self.rank(&self.jobs[id]), *id);
        for late in queue {
            let passed: BTreeSet<JobId> =
                started.iter().copied().filter(|id| key(id) > key(late)).collect();
            let (at, _) = self.timeline(&passed).earliest(&self.jobs[late].draft.unit, self.now);
            assert!(at > self.now, "{passed:?} were placed before {late}, which had room");
        }
    }

    /// What was placed out of order delays none of the first `promised` that wait, the
    /// first of the queue keeps the start that it could count on, and whatever could be
    /// filled in was.
    fn check_promises(&mut self, queue: &[JobId], started: &BTreeSet<JobId>, promised: usize) {
        let key = |id: &JobId| (self.rank(&self.jobs[id]), *id);
        let one_node = self.empty.nodes.len() == 1;
        let mut head = None;
        // With several nodes the plan depends on which of them the others were promised.
        let planned = if one_node { promised } else { 1 };
        let mut before: Vec<(Unit, u64, Places)> = Vec::new();
        let mut after = self.timeline(&BTreeSet::new());
        for (place, late) in queue.iter().enumerate().take(planned) {
            let passed = started.iter().copied().filter(|id| key(id) > key(late));
            let mut without = self.timeline(&passed.collect());
            for (unit, at, places) in &before {
                without.take(unit, *at, places);
            }
            let unit = self.jobs[late].draft.unit;
            let (could, _) = without.earliest(&unit, self.now);
            let (at, places) = after.earliest(&unit, self.now);
            let what = self.told(queue, started);
            assert!(at <= could, "{late} could start at {could}, and now only at {at}: {what}");
            assert!(at > self.now, "{late} has room and waits: {what}");
            if place == 0 {
                let counted_on = self.head.filter(|(head, _)| head == late);
                head = Some((*late, at));
                // What comes before it may still take its place.
                let overtaken = started.iter().any(|id| key(id) < key(late));
                let sooner = counted_on.filter(|(_, before)| *before < at && !overtaken);
                assert!(sooner.is_none(), "{late} was to start at {sooner:?}, now at {at}");
            }
            after.take(&unit, at, &places);
            before.push((unit, at, places));
        }
        if one_node {
            for idle in queue.iter().skip(planned.min(queue.len())) {
                let (at, _) = after.earliest(&self.jobs[idle].draft.unit, self.now);
                assert!(at > self.now, "{idle} could be filled in and is not");
            }
        }
        self.head = head;
    }

    fn told(&self, queue: &[JobId], started: &BTreeSet<JobId>) -> String {
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
        for id in &self.waiting {
            let elders = self.waiting.range(..*id).count() as u64;
            let job = self.jobs.get_mut(id).unwrap();
            if job.submitted + bound <= self.now && job.elders.is_none() {
                job.elders = Some(elders);
            }
        }
    }

    /// Nothing waits longer than the age bound, and once the longest time limit for each of
    /// those that were older and waited still, and for what ran: the first in the queue
    /// starts at the latest when all that runs has ended.
    fn check_age(&self, started: &BTreeSet<JobId>) {
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
