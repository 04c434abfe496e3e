//! Tasks that are alike to placement: one tenant, one priority, one request. A group is
//! one queue entry, and one placement decision serves many of its tasks. The queue
//! orders the heads of groups: by rank, groups of equal rank in lines that are served in
//! turn, within a line by age. Only what an event changed is keyed anew
//! ([`Groups::refresh`]); what time and usage changed, by [`Groups::rank_again`].

mod key;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;

use wrun_protocol::scheduling::Request;
use wrun_protocol::{JobId, Resources};

use super::labels::Labels;
use super::length::{LengthIx, Lengths};
use super::node_set::NodeSet;
use super::queue::{Entry, Place, Queue};
use super::quotas::{QuotaIx, Quotas};
use super::ready::Ready;
use super::room::{Room, Rooms};
use super::spec::Model;
use super::usage::{Accounts, Held};

pub(crate) use key::GroupKey;

/// A group's place in the table.
pub(crate) type GroupIx = u32;
/// A tenant's place in the table.
pub(crate) type TenantIx = u32;

/// A place in the order of the queue: higher goes first.
pub(crate) type Rank = i64;
/// Groups of one rank that stand behind each other: those of a tenant where tenants take
/// turns, else all.
pub(crate) type Line = u32;

/// Where a group stands, by its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Standing {
    pub(crate) rank: Reverse<Rank>,
    pub(crate) line: Line,
    pub(crate) head: JobId,
}

#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) key: GroupKey,
    /// Jobs that have not ended.
    jobs: u32,
    /// Jobs with a task that can be placed.
    pub(crate) ready: Ready,
    /// Tasks that can be placed.
    pub(crate) ready_tasks: u64,
    /// Nodes that have tasks of it.
    pub(crate) on: NodeSet,
    /// No node has room, other than those where room came free since. Not recorded.
    pub(crate) blocked: bool,
    /// Mean wall time of its tasks in microseconds, once one has ended. Not recorded.
    /// Set by [`Groups::observe`].
    pub(crate) wall_us: Option<u64>,
    /// Where what earlier tasks took is kept, where no limit says it.
    pub(crate) length: Option<LengthIx>,
    /// The classes of nodes without cards that serve it. Not recorded.
    pub(crate) plain: u64,
    /// The classes of nodes that carry what it must and nothing that it must not, where
    /// classes tell. Not recorded.
    pub(crate) carriers: Option<u64>,
    /// What its next job's specification may be like. Not recorded.
    pub(crate) model: Option<Model>,
    /// What bounds it; empty where nothing does.
    pub(crate) quotas: Box<[QuotaIx]>,
    /// The quota that it waits for, and its rank when it began to. Not recorded.
    pub(crate) parked: Option<(QuotaIx, Rank)>,
    /// Where it is queued.
    queued: Option<Standing>,
    stale: bool,
}

impl Group {
    /// Looks at each part of it that is used when a task comes or goes.
    pub(super) fn touch(&self) {
        black_box(self.model.as_ref().and_then(|model| model.first()));
        black_box((self.key.wanted.slots, self.jobs, self.ready.first(), self.ready_tasks));
        black_box((self.on.len(), self.wall_us, self.plain, self.queued));
    }

    /// Where it is queued; `None` where nothing of it can be placed.
    pub(crate) fn standing(&self) -> Option<Standing> {
        self.queued
    }

    /// Whether a job has its place in the queue by this group.
    pub(crate) fn queues(&self, job: JobId) -> bool {
        self.queued.is_some() && self.ready.contains(job)
    }
}

/// What the search through the queue looks at, side by side: a group itself is far away
/// in memory.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Glance {
    /// What a task wants.
    pub(crate) wanted: Room,
    /// As [`Group::blocked`].
    pub(crate) blocked: bool,
    /// The last round in which it found no room.
    tried: u64,
}

impl Glance {
    /// Whether it is worth serving: it was not tried yet, or may fit where room came free.
    pub(crate) fn may_fit(&self, rooms: &Rooms) -> bool {
        !self.blocked || rooms.any(&self.wanted)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Groups {
    pub(super) table: Vec<Option<Box<Group>>>,
    /// By place in the table.
    glances: Vec<Glance>,
    vacant: Vec<GroupIx>,
    by_key: BTreeMap<GroupKey, GroupIx>,
    pub(crate) lengths: Lengths,
    pub(crate) labels: Labels,
    pub(crate) accounts: Accounts,
    pub(crate) quotas: Quotas,
    /// First to be served first.
    queue: Queue,
    /// By line: when it was last served, counted in servings. Not recorded.
    served: Vec<u64>,
    servings: u64,
    /// Rounds of placement so far.
    rounds: u64,
    /// How many queued groups want this much CPU.
    wanted_cpu: BTreeMap<u32, u32>,
    stale: Vec<GroupIx>,
    /// Those with several ready jobs.
    crowded: BTreeSet<GroupIx>,
    /// How many groups have a mean wall time of so many bits, as far as there are any.
    walls: Vec<u32>,
    /// Groups that got ready tasks since the last placement.
    pub(crate) refilled: BTreeSet<GroupIx>,
}

impl Groups {
    pub(crate) fn get(&self, group: GroupIx) -> Option<&Group> {
        self.table.get(group as usize)?.as_deref()
    }

    pub(crate) fn get_mut(&mut self, group: GroupIx) -> Option<&mut Group> {
        self.table.get_mut(group as usize)?.as_deref_mut()
    }

    pub(crate) fn find(&self, key: &GroupKey) -> Option<GroupIx> {
        self.by_key.get(key).copied()
    }

    /// Every group in order of key, which does not depend on how it came to be.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = GroupIx> {
        self.by_key.values().copied()
    }

    /// The group of a new job.
    pub(crate) fn enter(&mut self, key: GroupKey) -> GroupIx {
        let group = self.find(&key).unwrap_or_else(|| self.start(key));
        self.join(group);
        group
    }

    /// A job more in the group.
    pub(crate) fn join(&mut self, group: GroupIx) {
        if let Some(entry) = self.get_mut(group) {
            entry.jobs += 1;
        }
    }

    /// A group that has no job yet.
    pub(crate) fn start(&mut self, key: GroupKey) -> GroupIx {
        let serving = self.labels.serving(&key.labels);
        let group = Box::new(Group {
            key: key.clone(),
            jobs: 0,
            ready: Ready::default(),
            ready_tasks: 0,
            on: NodeSet::default(),
            blocked: false,
            wall_us: None,
            length: self.lengths.enter(key.tenant, key.length),
            plain: serving.plain,
            carriers: (serving.exactly && key.refuses_nothing()).then_some(serving.any),
            model: None,
            quotas: Box::default(),
            parked: None,
            queued: None,
            stale: false,
        });
        let ix = self.vacant.pop().unwrap_or(self.table.len() as GroupIx);
        let glance =
            Glance { wanted: Room::new(&key.least(), serving.any), blocked: false, tried: 0 };
        match (self.table.get_mut(ix as usize), self.glances.get_mut(ix as usize)) {
            (Some(slot), Some(before)) => (*slot, *before) = (Some(group), glance),
            _ => {
                self.table.push(Some(group));
                self.glances.push(glance);
            }
        }
        self.by_key.insert(key, ix);
        ix
    }

    /// A job of the group ended. The last one takes the group with it.
    pub(crate) fn leave(&mut self, group: GroupIx) {
        let Some(entry) = self.get_mut(group) else { return };
        entry.jobs -= 1;
        if entry.jobs > 0 {
            return;
        }
        self.unpark(group);
        self.requeue(group, None);
        self.refilled.remove(&group);
        self.crowded.remove(&group);
        if let Some(entry) = self.table.get_mut(group as usize).and_then(Option::take) {
            self.count_wall(entry.wall_us, None);
            self.by_key.remove(&entry.key);
            self.lengths.leave(entry.length);
            self.vacant.push(group);
        }
    }

    /// Tasks of the group took `each_us` on average; there were `count` of them.
    pub(crate) fn observe(&mut self, group: GroupIx, each_us: u64, count: u32) {
        let Some(entry) = self.get_mut(group) else { return };
        let now = match entry.wall_us {
            Some(before) if count < 8 => (before * 7 + each_us) / 8,
            Some(_) | None => each_us,
        };
        let before = entry.wall_us.replace(now);
        self.count_wall(before, Some(now));
    }

    fn count_wall(&mut self, before: Option<u64>, now: Option<u64>) {
        let bits = |wall: u64| (u64::BITS - wall.leading_zeros()) as usize;
        let (before, now) = (before.map(bits), now.map(bits));
        if before == now {
            return;
        }
        if let Some(count) = before.and_then(|bits| self.walls.get_mut(bits)) {
            *count -= 1;
        }
        if let Some(bits) = now {
            self.walls.resize(self.walls.len().max(bits + 1), 0);
            if let Some(count) = self.walls.get_mut(bits) {
                *count += 1;
            }
        }
    }

    /// No group is known whose tasks take less on average, in microseconds.
    pub(crate) fn shortest_us(&self) -> Option<u64> {
        let bits = self.walls.iter().position(|groups| *groups > 0)?;
        Some(bits.checked_sub(1).map_or(0, |bits| 1 << bits))
    }

    /// `job` has `tasks` more tasks that can be placed.
    pub(crate) fn add_ready(&mut self, group: GroupIx, job: JobId, tasks: u32) {
        let Some(entry) = self.get_mut(group) else { return };
        entry.ready_tasks += u64::from(tasks);
        let comes = entry.ready.insert(job);
        let crowds = comes && entry.ready.len() == 2;
        if comes && entry.queued.is_none_or(|at| job < at.head) {
            self.mark(group);
        }
        if crowds {
            self.crowded.insert(group);
        }
        self.refilled.insert(group);
    }

    /// `job` has `tasks` fewer tasks that can be placed; `left` says whether it has any.
    pub(crate) fn remove_ready(&mut self, group: GroupIx, job: JobId, tasks: u32, left: bool) {
        let Some(entry) = self.get_mut(group) else { return };
        entry.ready_tasks = entry.ready_tasks.saturating_sub(u64::from(tasks));
        if left || !entry.ready.remove(job) {
            return;
        }
        let (thins, heads) =
            (entry.ready.len() == 1, entry.queued.is_some_and(|at| at.head == job));
        if heads {
            self.mark(group);
        }
        if thins {
            self.crowded.remove(&group);
        }
    }

    /// `job` has `now` tasks that can be placed, and had `before`.
    pub(crate) fn set_ready(&mut self, group: GroupIx, job: JobId, before: u32, now: u32) {
        match now.cmp(&before) {
            std::cmp::Ordering::Greater => self.add_ready(group, job, now - before),
            std::cmp::Ordering::Less => self.remove_ready(group, job, before - now, now > 0),
            std::cmp::Ordering::Equal => {}
        }
    }

    pub(super) fn mark(&mut self, group: GroupIx) {
        let Some(entry) = self.get_mut(group) else { return };
        if !std::mem::replace(&mut entry.stale, true) {
            self.stale.push(group);
        }
    }

    /// Queues anew every group whose head has changed. `stand` says where a group stands
    /// with its head.
    pub(crate) fn refresh(&mut self, stand: impl Fn(&Lengths, &Group, JobId) -> Standing) {
        while let Some(group) = self.stale.pop() {
            let slot = self.table.get_mut(group as usize).and_then(Option::as_deref_mut);
            let Some(entry) = slot else { continue };
            entry.stale = false;
            let head = entry.ready.first().filter(|_| entry.parked.is_none());
            let now = head.map(|head| stand(&self.lengths, entry, head));
            self.requeue(group, now);
        }
    }

    /// Queues every group anew, by what `stand` says now.
    pub(crate) fn rank_again(&mut self, stand: impl Fn(&Lengths, &Group, JobId) -> Standing) {
        let moved: Vec<(GroupIx, Standing)> = self
            .in_queue()
            .filter_map(|(at, group)| {
                let now = stand(&self.lengths, self.get(group)?, at.head);
                (now != at).then_some((group, now))
            })
            .collect();
        for (group, now) in moved {
            self.requeue(group, Some(now));
        }
    }

    fn requeue(&mut self, group: GroupIx, now: Option<Standing>) {
        let (Some(entry), Some(glance)) = (
            self.table.get_mut(group as usize).and_then(Option::as_deref_mut),
            self.glances.get_mut(group as usize),
        ) else {
            return;
        };
        let before = std::mem::replace(&mut entry.queued, now);
        if before == now {
            return;
        }
        match (before.is_some(), now.is_some()) {
            (false, true) => {
                (entry.blocked, glance.blocked) = (false, false);
                *self.wanted_cpu.entry(glance.wanted.cpu_milli).or_default() += 1;
            }
            (true, false) => decrement(&mut self.wanted_cpu, glance.wanted.cpu_milli),
            _ => {}
        }
        if let Some(before) = before {
            self.queue.remove(&(before, group));
        }
        if let Some(now) = now {
            self.queue.insert(Entry::new(&(now, group), &glance.wanted, glance.blocked));
        }
    }

    /// `count` more tasks of the group hold each what is returned.
    pub(crate) fn hold(&mut self, group: GroupIx, count: u32) -> Resources {
        let Some(key) = self.get(group).map(|group| &group.key) else { return <_>::default() };
        let (each, tenant) = (key.wanted, key.tenant);
        self.accounts.hold(tenant, &Held::of(&each, 0, count));
        each
    }

    /// `count` tasks of the group no longer hold each what is returned.
    pub(crate) fn release(&mut self, group: GroupIx, count: u32) -> Resources {
        let Some(key) = self.get(group).map(|group| &group.key) else { return <_>::default() };
        let (each, tenant) = (key.wanted, key.tenant);
        self.accounts.release(tenant, &Held::of(&each, 0, count));
        each
    }

    /// A task of the group holds what another than its plain request says.
    pub(crate) fn hold_apart(&mut self, group: GroupIx, request: &Request) {
        let Some(tenant) = self.get(group).map(|group| group.key.tenant) else { return };
        self.accounts.hold(tenant, &held_apart(request));
    }

    /// It holds that no more.
    pub(crate) fn release_apart(&mut self, group: GroupIx, request: &Request) {
        let Some(tenant) = self.get(group).map(|group| group.key.tenant) else { return };
        self.accounts.release(tenant, &held_apart(request));
    }

    /// No node has room for the group now.
    pub(crate) fn block(&mut self, group: GroupIx) {
        if let Some(glance) = self.glances.get_mut(group as usize) {
            glance.tried = self.rounds;
        }
        self.set_blocked(group, true);
    }

    /// Something other than room on a node came free that the group waits for.
    pub(crate) fn unblock(&mut self, group: GroupIx) {
        self.set_blocked(group, false);
    }

    fn set_blocked(&mut self, group: GroupIx, blocked: bool) {
        let slot = group as usize;
        let entry = self.table.get_mut(slot).and_then(Option::as_deref_mut);
        if let (Some(entry), Some(glance)) = (entry, self.glances.get_mut(slot))
            && let Some(at) = entry.queued
            && entry.blocked != blocked
        {
            (entry.blocked, glance.blocked) = (blocked, blocked);
            self.queue.remove(&(at, group));
            self.queue.insert(Entry::new(&(at, group), &glance.wanted, blocked));
        }
    }

    /// Whether a queued group may find room on any node.
    pub(crate) fn any_open(&self) -> bool {
        self.queue.open() > 0
    }

    /// The least CPU that a queued group wants.
    pub(crate) fn least_cpu(&self) -> Option<u32> {
        self.wanted_cpu.first_key_value().map(|(cpu, _)| *cpu)
    }

    /// How many groups are queued.
    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// The highest rank in the queue below `rank`; the highest of all without one.
    pub(crate) fn rank_below(&self, rank: Option<Rank>) -> Option<Rank> {
        // Mostly there is one rank alone.
        let last = self.queue.last()?.at().0.rank.0;
        if rank.is_some_and(|rank| last >= rank) {
            return None;
        }
        let after = rank.map(|rank| end_of(rank, Line::MAX));
        self.queue.next(after.as_ref()).map(|entry| entry.at().0.rank.0)
    }

    /// The highest rank in the queue below `rank` with a group that may fit.
    pub(crate) fn likely_rank_below(&self, rank: Option<Rank>, rooms: &Rooms) -> Option<Rank> {
        let after = rank.map(|rank| end_of(rank, Line::MAX));
        let is_likely = |entry: &Entry| self.may_fit(entry.at().1, rooms);
        let found = self.queue.next_fitting(after.as_ref(), rooms.reach(), is_likely);
        found.map(|entry| entry.at().0.rank.0)
    }

    fn may_fit(&self, group: GroupIx, rooms: &Rooms) -> bool {
        self.glance(group).is_some_and(|glance| glance.may_fit(rooms))
    }

    pub(crate) fn glance(&self, group: GroupIx) -> Option<&Glance> {
        self.glances.get(group as usize)
    }

    /// A round of placement begins.
    pub(crate) fn begin_round(&mut self) {
        self.rounds += 1;
    }

    /// The first group in the queue after one place and before another that is blocked:
    /// it found no room in this round, or is `hopeless`.
    pub(crate) fn next_blocked(
        &self,
        after: Option<(Standing, GroupIx)>,
        before: (Standing, GroupIx),
        hopeless: impl Fn(&Glance) -> bool,
    ) -> Option<(Standing, GroupIx)> {
        if after.is_some_and(|after| after >= before) {
            return None;
        }
        let is_blocked = |group: GroupIx| {
            let glance = self.glance(group);
            glance.is_some_and(|glance| hopeless(glance) || glance.tried == self.rounds)
        };
        let stops = |entry: &Entry| entry.at() >= before || is_blocked(entry.at().1);
        let found = self.queue.next_blocked(after.as_ref(), stops).map(|entry| entry.at());
        found.filter(|at| *at < before)
    }

    /// The queued group that follows `after` in its line and may fit, and the head of the
    /// next in that line.
    pub(crate) fn next_likely(
        &self,
        rank: Rank,
        line: Line,
        after: Option<(JobId, GroupIx)>,
        rooms: &Rooms,
    ) -> Option<((JobId, GroupIx), Option<JobId>)> {
        let end = end_of(rank, line);
        let stops = |entry: &Entry| entry.at() > end || self.may_fit(entry.at().1, rooms);
        let from = after_head(rank, line, after);
        let (found, next) = self.queue.next_two(Some(&from), rooms.reach(), stops)?;
        let in_line = |entry: &Entry| (entry.at() <= end).then(|| entry.at());
        let (at, group) = in_line(found)?;
        Some(((at.head, group), next.and_then(in_line).map(|(at, _)| at.head)))
    }

    /// Queued groups with where they stand, first to be served first; groups of equal
    /// rank line by line.
    pub(crate) fn in_queue(&self) -> impl Iterator<Item = (Standing, GroupIx)> {
        self.queue.iter(None).map(|entry| entry.at())
    }

    /// How many groups stand before a job of that rank: by their heads, of equal rank the
    /// older ones.
    pub(crate) fn before(&self, rank: Rank, job: JobId) -> usize {
        let above = self.queue.before(&after_head(rank, 0, None));
        let mut lines = self.lines_in_turn(rank);
        lines.sort_unstable();
        let within = lines.into_iter().map(|line| {
            let upto = self.queue.before(&after_head(rank, line, Some((job, 0))));
            upto - self.queue.before(&after_head(rank, line, None))
        });
        above + within.sum::<usize>()
    }

    /// Whether the group is queued with that head.
    pub(crate) fn stands_at(&self, group: GroupIx, head: JobId) -> bool {
        let at = self.get(group).and_then(Group::standing);
        at.is_some_and(|at| at.head == head)
    }

    /// Groups with several jobs that can be placed.
    pub(crate) fn crowded(&self) -> impl Iterator<Item = &Group> {
        self.crowded.iter().filter_map(|group| self.get(*group))
    }

    /// Groups of one rank, line by line.
    pub(crate) fn of_rank(&self, rank: Rank) -> impl Iterator<Item = GroupIx> {
        let of_rank = self.queue.iter(Some(after_head(rank, 0, None)));
        of_rank.take_while(move |entry| entry.at().0.rank.0 == rank).map(|entry| entry.at().1)
    }

    /// The queued group that follows `after` in its line.
    pub(crate) fn next_head(
        &self,
        rank: Rank,
        line: Line,
        after: Option<(JobId, GroupIx)>,
    ) -> Option<(JobId, GroupIx)> {
        let (at, group) = self.queue.next(Some(&after_head(rank, line, after)))?.at();
        ((at.rank.0, at.line) == (rank, line)).then_some((at.head, group))
    }

    /// Lines with queued groups of a rank, the one that was served longest ago first.
    pub(crate) fn lines_in_turn(&self, rank: Rank) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut from = after_head(rank, 0, None);
        // Mostly there is one line alone.
        let ends = self.queue.first().zip(self.queue.last()).map(|(a, b)| (a.at().0, b.at().0));
        if let Some((first, last)) = ends
            && (first.rank, first.line) == (last.rank, last.line)
        {
            lines.extend((first.rank.0 == rank).then_some(first.line));
            return lines;
        }
        while let Some((at, _)) = self.queue.next(Some(&from)).map(|entry| entry.at())
            && at.rank.0 == rank
        {
            lines.push(at.line);
            from = end_of(rank, at.line);
        }
        if lines.len() > 1 {
            lines.sort_by_key(|line| self.served.get(*line as usize).copied().unwrap_or(0));
        }
        lines
    }

    /// A line has had its turn.
    pub(crate) fn serve_line(&mut self, line: Line) {
        let slot = line as usize;
        if self.served.len() <= slot {
            self.served.resize(slot + 1, 0);
        }
        self.servings += 1;
        if let Some(served) = self.served.get_mut(slot) {
            *served = self.servings;
        }
    }
}

/// The place of a head, or what comes before every group of a line.
fn after_head(rank: Rank, line: Line, head: Option<(JobId, GroupIx)>) -> Place {
    let (head, group) = head.unwrap_or((JobId(0), 0));
    (Standing { rank: Reverse(rank), line, head }, group)
}

/// What follows every group of a line.
fn end_of(rank: Rank, line: Line) -> (Standing, GroupIx) {
    (Standing { rank: Reverse(rank), line, head: JobId(u64::MAX) }, GroupIx::MAX)
}

fn held_apart(request: &Request) -> Held {
    let gpu_milli = request.devices.gpu.as_ref().map_or(0, |gpu| gpu.milli);
    Held::of(&request.resources, gpu_milli, 1)
}

fn decrement<K: Ord + Copy>(counts: &mut BTreeMap<K, u32>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}
