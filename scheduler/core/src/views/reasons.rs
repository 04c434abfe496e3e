//! Why tasks of a job wait, and why placed ones stand still: the reason that holds a job
//! first, and all others.

use wrun_protocol::JobId;
use wrun_protocol::time::millis;

use super::place::{MAX_COUNTED, Place};
use super::survey::Survey;
use crate::core::Core;
use crate::decide::outlook::Outlook;
use crate::decide::promise::Promise;
use crate::fact::RequeueCause;
use crate::reason::{Nodes, Notice, PendingReason, Taking};
use crate::state::groups::{Group, GroupIx};
use crate::state::jobs::{Job, NodeIx};
use crate::state::length::Basis;
use crate::state::nodes::Node;
use crate::state::room::{ANY_CLASS, Room, Rooms};

/// Jobs ahead are counted up to this.
const MAX_AHEAD: usize = 1000;
/// Frozen and noticed tasks of a job that are looked at.
const MAX_STOPPED: usize = 10_000;
/// Nodes that are looked at for all rows of a list together.
const MAX_IN_LIST: usize = 40_000;

/// What is known of nodes while a list is made.
#[derive(Default)]
pub(super) struct Looks {
    /// What they have free.
    rooms: Option<Rooms>,
    /// How many were looked at so far.
    taken: usize,
}

impl Core {
    /// Why tasks of a live job wait. `None` when none does. Costs one step for each node.
    pub fn pending_reason(&self, id: JobId) -> Option<PendingReason> {
        self.why_waiting(id).map(|(first, _)| first)
    }

    /// Every reason why tasks of the job wait or stand still, the one that holds it first.
    pub fn pending_reasons(&self, id: JobId) -> Vec<PendingReason> {
        self.all_reasons(id, self.why_waiting(id).as_ref(), self.place_in_queue(id))
    }

    pub(super) fn all_reasons(
        &self,
        id: JobId,
        why: Option<&(PendingReason, Survey)>,
        place: Option<Place>,
    ) -> Vec<PendingReason> {
        let mut reasons = Vec::new();
        if let Some((first, survey)) = why {
            reasons.push(first.clone());
            reasons.extend(self.behind(id).map(|job| PendingReason::Behind { job }));
            let counted = MAX_COUNTED as u64;
            let many = place == Some(Place::BehindMany);
            reasons.extend(many.then_some(PendingReason::BehindMany { counted }));
            let others = survey.reasons().into_iter();
            reasons.extend(others.filter(|reason| reason != first));
        }
        reasons.extend(self.frozen_reason(id));
        reasons.extend(self.notice_reason(id));
        reasons
    }

    pub(super) fn why_waiting(&self, id: JobId) -> Option<(PendingReason, Survey)> {
        let job = self.state.jobs.get(id)?;
        if job.counts().pending == 0 {
            return None;
        }
        let mut outlook = self.outlook_of(id, job.group);
        let survey = self.survey(id, job.group, &mut outlook);
        let first = match self.before_any_node(id, job) {
            Some(first) => first,
            None => self.reason_on_nodes(id, job, &survey, &mut outlook)?,
        };
        Some((first, survey))
    }

    /// The reason that holds the job first, as a row of a list of many says it.
    pub(super) fn reason_in_list(&self, id: JobId, list: &mut Looks) -> Option<PendingReason> {
        let job = self.state.jobs.get(id).filter(|job| job.counts().pending > 0)?;
        if let Some(reason) = self.before_any_node(id, job) {
            return Some(reason);
        }
        let group = self.state.groups.get(job.group)?;
        let rooms = list.rooms.get_or_insert_with(|| self.state.nodes.rooms_now());
        if !rooms.any(&Room::new(&group.key.least(), ANY_CLASS)) {
            // Where a node that suits it takes tasks, it is full.
            let mut nodes = self.state.nodes.iter().map(|(_, node)| node);
            let usable = |node: &Node| node.takes_tasks() && node.suits(&group.key);
            let found = nodes.position(usable);
            list.taken += found.unwrap_or_else(|| self.state.nodes.len());
            if found.is_some() {
                return Some(self.without_room(id, job.group, group));
            }
        }
        if list.taken >= MAX_IN_LIST {
            return Some(PendingReason::NotLookedInto);
        }
        list.taken += self.state.nodes.len();
        self.pending_reason(id)
    }

    /// The promises that the job must not break: those of others that stand before it.
    fn outlook_of(&self, id: JobId, group: GroupIx) -> Outlook {
        let mut outlook = Outlook::default();
        let Some(own) = self.state.groups.get(group) else { return outlook };
        let own = (std::cmp::Reverse(self.rank_of(own, id)), id);
        for promise in self.promises.standing() {
            let unit = promise.unit;
            let Some(other) = self.state.groups.get(unit.group) else { continue };
            if (std::cmp::Reverse(self.rank_of(other, unit.job)), unit.job) < own {
                self.keep(promise.clone(), &mut outlook);
            }
        }
        outlook
    }

    /// What holds the job whatever nodes there are.
    fn before_any_node(&self, id: JobId, job: &Job) -> Option<PendingReason> {
        if let Some(reason) = self.state.kept_back(id, job) {
            return Some(reason);
        }
        let group = self.state.groups.get(job.group)?;
        if let Some(reason) = self.beyond_all(&group.key, &group.quotas) {
            return Some(reason);
        }
        self.limit_reached(id).map(PendingReason::Limit)
    }

    fn reason_on_nodes(
        &self,
        id: JobId,
        job: &Job,
        survey: &Survey,
        outlook: &mut Outlook,
    ) -> Option<PendingReason> {
        let group = self.state.groups.get(job.group)?;
        let wanted = group.key.wanted;
        Some(match survey {
            Survey { known: false, .. } => PendingReason::NoNodes,
            Survey { suitable: 0, .. } => PendingReason::NoNodeFits { wanted },
            Survey { ready: 0, suitable, .. } => PendingReason::NoNodeReady { suitable: *suitable },
            Survey { roomy: 0, .. } => self.without_room(id, job.group, group),
            _ => match self.before_room(job.group, group) {
                Some(reason) => reason,
                None => self.despite_room(job, group, survey, outlook),
            },
        })
    }

    /// What holds a job of the group before any room on nodes does.
    fn before_room(&self, ix: GroupIx, group: &Group) -> Option<PendingReason> {
        let making = || Some(self.making_room_for(ix)).filter(|tasks| *tasks > 0);
        self.shut_window(group)
            .or_else(|| self.lacking_pool(group))
            .or_else(|| making().map(|tasks| PendingReason::MakingRoom { tasks }))
    }

    /// Why a job waits where every node that it could start on is full.
    fn without_room(&self, id: JobId, ix: GroupIx, group: &Group) -> PendingReason {
        self.before_room(ix, group).unwrap_or_else(|| PendingReason::WaitsForCapacity {
            wanted: group.key.wanted,
            jobs_ahead: group.ready.before(id).take(MAX_AHEAD).count() as u64,
        })
    }

    /// Why a job waits though nodes have room.
    fn despite_room(
        &self,
        job: &Job,
        group: &Group,
        survey: &Survey,
        outlook: &mut Outlook,
    ) -> PendingReason {
        let gang = group.key.gang();
        let count = if gang > 0 { job.ready_tasks() } else { 1 };
        if survey.places < u64::from(count) && gang > 0 {
            let places = u32::try_from(survey.places).unwrap_or(u32::MAX);
            return PendingReason::Gang { places, of: count };
        }
        if survey.usable < u64::from(count) {
            let expected = self.expected_length(group);
            if let Some((free_ms, _)) = survey.longest {
                let (takes_ms, by) = (expected.ms, expected.basis.into());
                return PendingReason::TooLong { takes_ms, by, free_ms };
            }
            let is_of_roomy = |reason: &PendingReason| {
                use PendingReason::{Arranged, Cleared, FrozenFirst, Promised, Reserved};
                matches!(
                    reason,
                    Cleared { .. }
                        | FrozenFirst { .. }
                        | Arranged { .. }
                        | Promised { .. }
                        | Reserved { .. }
                )
            };
            return survey
                .reasons()
                .into_iter()
                .find(is_of_roomy)
                .unwrap_or(PendingReason::Placing);
        }
        if let Some(reason) = self.promised_slots(group, outlook) {
            return reason;
        }
        if self.wants_placement() {
            return PendingReason::Placing;
        }
        let fits = self.within_headroom(job.group, count, &survey.nodes, outlook);
        if fits < count {
            let cpu_milli = self.headroom(group, count, survey.cpu_milli);
            return PendingReason::Headroom { cpu_milli };
        }
        let depth = self.state.rules.policy.backfill.depth;
        let mut looked_at = self.state.groups.in_queue().take(depth as usize);
        if looked_at.all(|(_, group)| group != job.group) {
            return PendingReason::FillDepth { depth };
        }
        PendingReason::Placing
    }

    /// The window of the group's reservation where it is not open.
    fn shut_window(&self, group: &Group) -> Option<PendingReason> {
        let name = group.key.reservation()?;
        let booking = self.state.reservations.get(name);
        if booking.is_some_and(|booking| booking.open(self.now).is_some()) {
            return None;
        }
        let next = booking.and_then(|booking| booking.windows(self.now).next());
        let start = next.map(|(start, _)| start);
        Some(PendingReason::Window { name: name.to_owned(), start })
    }

    /// The pool that keeps every request of the group from being served.
    fn lacking_pool(&self, group: &Group) -> Option<PendingReason> {
        let sizes = &self.state.rules.policy.pools;
        let lacking = |need: crate::state::need::Need<'_>| {
            let devices = need.devices?;
            let name = self.state.pools.lacking(devices, sizes)?;
            let wanted = devices.pools.get(name).copied().unwrap_or_default();
            Some((name.to_owned(), wanted))
        };
        let lacks: Option<Vec<_>> = group.key.needs().map(lacking).collect();
        let (name, wanted) = lacks?.into_iter().next()?;
        let size = sizes.get(&name).copied().unwrap_or_default();
        let left = u64::from(size).saturating_sub(self.state.pools.taken(&name));
        Some(PendingReason::Pool { name, wanted, left })
    }

    /// To whom slots are promised without which no request of the group can be served.
    fn promised_slots(&self, group: &Group, outlook: &mut Outlook) -> Option<PendingReason> {
        let mut wanted = Vec::new();
        for need in group.key.needs() {
            let devices = need.devices.filter(|devices| outlook.has_promised_slots(devices))?;
            if self.slots_in_time(group, devices, outlook) > 0 {
                return None;
            }
            wanted.extend(devices.pools.keys());
        }
        let takes = |promise: &&Promise| {
            let pools = promise.devices.iter().flat_map(|devices| devices.pools.keys());
            pools.into_iter().any(|pool| wanted.contains(&pool))
        };
        let Promise { unit, start, end, .. } = outlook.promises.iter().find(takes)?;
        let (job, start, end, nodes) = (unit.job, *start, *end, Nodes::default());
        Some(PendingReason::Promised { job, start, end, nodes })
    }

    /// The job that stands first in the queue, where that is another and this one is in it.
    fn behind(&self, id: JobId) -> Option<JobId> {
        let job = self.state.jobs.get(id)?;
        let group = self.state.groups.get(job.group)?;
        if job.ready_tasks() == 0 || group.parked.is_some() {
            return None;
        }
        let (standing, _) = self.state.groups.in_queue().next()?;
        Some(standing.head).filter(|head| *head != id)
    }

    /// Tasks of the job that stand still for the sake of others.
    fn frozen_reason(&self, id: JobId) -> Option<PendingReason> {
        let all = self.state.frozen.of_job(id).take(MAX_STOPPED);
        let mut tasks = 0;
        let mut first = None;
        for (task, node, since) in all {
            tasks += 1;
            if first.is_none_or(|(_, _, before)| since < before) {
                first = Some((task, node, since));
            }
        }
        let (_, node, since) = first?;
        Some(PendingReason::Frozen { tasks, since, by: self.frozen_for(id, node, since) })
    }

    /// The job that was placed on the node when tasks of the other were frozen there.
    fn frozen_for(
        &self,
        id: JobId,
        node: NodeIx,
        since: wrun_protocol::Timestamp,
    ) -> Option<JobId> {
        let key_of = |job| {
            let group = self.state.jobs.get(job)?.group;
            self.state.groups.get(group).map(|group| &group.key)
        };
        let frozen = key_of(id)?;
        let placed = self.state.nodes.get(node)?.tasks.iter().filter(|(_, at)| *at >= since);
        let may = |job| key_of(job).is_some_and(|by| self.state.rules.may_preempt(by, frozen));
        let by = placed.filter(|(run, _)| may(run.job)).min_by_key(|(run, at)| (*at, run.job));
        by.map(|(run, _)| run.job)
    }

    /// Tasks of the job that were told that they will be stopped.
    fn notice_reason(&self, id: JobId) -> Option<PendingReason> {
        let all = self.state.noticed.range(id.task(0)..=id.task(u32::MAX)).take(MAX_STOPPED);
        let (mut tasks, mut last) = (0, None);
        for (task, until) in all {
            tasks += 1;
            last = last.max(Some((*until, *task)));
        }
        let (until, task) = last?;
        let node = self.state.jobs.get(id)?.task(task)?.1.map(|spot| spot.node)?;
        let why = match self.asked_back.get(&task) {
            Some(RequeueCause::Requested) => Notice::User,
            Some(RequeueCause::Gang) => Notice::Gang,
            Some(RequeueCause::Preempted) => self.cleared_by(node, until),
            _ => Notice::Other,
        };
        Some(PendingReason::Noticed { tasks, until, why })
    }

    /// For whom a node is being cleared until then.
    fn cleared_by(&self, ix: NodeIx, until: wrun_protocol::Timestamp) -> Notice {
        let group = self.cleared_for(ix).and_then(|group| self.state.groups.get(group));
        if let Some(job) = group.and_then(|group| group.ready.first()) {
            return Notice::For(job);
        }
        let name = self.state.nodes.get(ix).map(|node| node.name.as_str()).unwrap_or_default();
        let notice = self.state.rules.policy.preemption.notice_ms;
        let mut bookings = self.state.reservations.of_node(ix, name);
        let booking = bookings.find(|(booking, _)| {
            let next = booking.windows(self.now).next();
            next.is_some_and(|(start, _)| start <= until || millis(start.since(self.now)) <= notice)
        });
        booking.map_or(Notice::Other, |(booking, _)| {
            Notice::Reservation(booking.reservation.name.clone())
        })
    }
}

impl From<Basis> for Taking {
    fn from(basis: Basis) -> Self {
        match basis {
            Basis::Limit => Self::Limit,
            Basis::Prediction => Self::Earlier,
            Basis::Default => Self::Default,
        }
    }
}
