//! Gangs: all tasks of a job start in one round, or none does.

use wrun_protocol::JobId;
use wrun_protocol::scheduling::Arrangement;
use wrun_protocol::wire::worker::Grant;

use super::holds::bench_need;
use super::outlook::Outlook;
use super::place::{GangParts, Round};
use crate::core::Core;
use crate::state::groups::{Group, GroupIx};
use crate::state::jobs::NodeIx;
use crate::state::need::{Need, of_nodes};
use crate::state::nodes::Node;

/// Where a gang has room, and how many tasks of it on each node: more than it has together.
type Places = Vec<(NodeIx, u32)>;

impl Core {
    /// The oldest job of the group all of whose tasks wait.
    pub(crate) fn next_gang(&self, group: GroupIx) -> Option<(JobId, u32)> {
        let mut ready = self.state.groups.get(group)?.ready.iter();
        ready.find_map(|id| {
            let job = self.state.jobs.get(id)?;
            let count = job.ready_tasks();
            (count > 0 && count == job.live_tasks()).then_some((id, count))
        })
    }

    /// Places the oldest gang of the group. Returns how many tasks that were.
    pub(crate) fn place_gang(&mut self, group: GroupIx, round: &mut Round) -> u32 {
        let Some((job, count)) = self.next_gang(group) else { return 0 };
        if self.state.groups.get(group).is_some_and(|group| group.key.needs_grant()) {
            return self.place_gang_with(group, (job, count), round);
        }
        let nodes = self.nodes_with_room(group, count, round);
        let room: u64 = nodes.iter().map(|(_, room)| u64::from(*room)).sum();
        if room < u64::from(count)
            || self.within_headroom(group, count, &nodes, &mut round.outlook) < count
        {
            self.block(group, round);
            return 0;
        }
        let mut parts = Vec::new();
        let mut left = count;
        for (ix, room) in &nodes {
            let part = left.min(*room);
            if part > 0 {
                self.assign_gang(*ix, job, part, &mut parts);
                self.count_placed(*ix, group, part, &mut round.outlook);
                left -= part;
            }
        }
        round.gangs.push(parts);
        nodes.iter().for_each(|(ix, _)| self.reindex(*ix, round));
        count
    }

    fn assign_gang(&mut self, ix: NodeIx, job: JobId, count: u32, parts: &mut GangParts) {
        let mut left = count;
        while left > 0 {
            let next = self.state.jobs.get(job).and_then(|entry| entry.next_attempts(job, left));
            let Some(next) = next else { break };
            self.state.place(self.now, ix, next);
            left -= next.tasks.count;
            parts.push((ix, next, None));
        }
    }

    /// The same of a gang whose tasks are told what they hold. All of them are served by
    /// the same of their requests, the preferred that has room for all.
    fn place_gang_with(
        &mut self,
        group: GroupIx,
        (job, count): (JobId, u32),
        round: &mut Round,
    ) -> u32 {
        let timed = self.heeds_time(group, round);
        let mut outlook = std::mem::take(&mut round.outlook);
        let mut found = self.gang_places(group, count, None);
        if timed && found.is_some() {
            self.promise_blocked(group, round, &mut outlook);
            found = self.gang_places(group, count, Some(&mut outlook));
        }
        let found = found
            .filter(|(_, nodes)| self.within_headroom(group, count, nodes, &mut outlook) == count);
        let Some((request, nodes)) = found else {
            round.outlook = outlook;
            self.block(group, round);
            return 0;
        };
        let mut parts = Vec::new();
        let mut left = count;
        for (ix, room) in &nodes {
            let part = left.min(*room);
            for _ in 0..part {
                let Some(grant) = self.grant_on(*ix, group, request, &mut outlook) else { break };
                let next = self.state.jobs.get(job).and_then(|entry| entry.next_attempts(job, 1));
                let Some(next) = next else { break };
                self.state.place_with(self.now, *ix, next, &grant);
                self.count_granted(*ix, group, job.task(next.tasks.first), &mut outlook);
                parts.push((*ix, next, Some(grant)));
            }
            left -= part;
        }
        round.gangs.push(parts);
        round.outlook = outlook;
        nodes.iter().for_each(|(ix, _)| self.reindex(*ix, round));
        count
    }

    /// The first request by which all of the gang find room now, and where; with an
    /// outlook, so that no promise is broken and no reservation is run into.
    fn gang_places(
        &self,
        group_ix: GroupIx,
        count: u32,
        mut outlook: Option<&mut Outlook>,
    ) -> Option<(u8, Places)> {
        let group = self.state.groups.get(group_ix)?;
        let sizes = &self.state.rules.policy.pools;
        group.key.needs().find_map(|need| {
            if let Some(devices) = need.devices {
                let slots = outlook.as_deref_mut();
                let in_time = slots.map_or(u32::MAX, |o| self.slots_in_time(group, devices, o));
                if self.state.pools.room(devices, sizes).min(in_time) < count {
                    return None;
                }
            }
            let places = self.places_of_gang(group_ix, group, count, &need, outlook.as_deref_mut());
            let room = places.iter().map(|(_, room)| u64::from(*room)).sum::<u64>();
            (room >= u64::from(count)).then_some((need.number, places))
        })
    }

    /// Nodes with room for tasks of the gang by one of its requests, in the order in which
    /// they are filled: those first where it is in nobody's way, and that take most of it.
    fn places_of_gang(
        &self,
        group_ix: GroupIx,
        group: &Group,
        count: u32,
        need: &Need<'_>,
        mut outlook: Option<&mut Outlook>,
    ) -> Places {
        let arrangement = group.key.arrangement();
        let wants_cards = need.devices.is_some_and(|devices| devices.gpu.is_some());
        let mut places: Vec<((bool, u32), NodeIx, u32)> = Vec::new();
        for (ix, node) in self.state.nodes.iter() {
            let mut room = self.room_of_gang(ix, node, group_ix, group, need);
            if let Some(outlook) = outlook.as_deref_mut() {
                room = self.need_in_time(ix, group_ix, need, room, outlook);
            }
            room = match arrangement {
                Arrangement::SameNode if room < count => 0,
                Arrangement::DifferentNodes => room.min(1),
                _ => room,
            };
            let full = match arrangement {
                Arrangement::Pack | Arrangement::SameNode => room,
                _ => u32::MAX - room,
            };
            if room > 0 {
                places.push(((node.has_cards() && !wants_cards, full), ix, room));
            }
        }
        places.sort_unstable();
        let mut held = 0;
        let enough = places.iter().take_while(|(.., room)| {
            let lacks = held < u64::from(count);
            held += u64::from(*room);
            lacks
        });
        enough.map(|(_, ix, room)| (*ix, *room)).collect()
    }

    fn room_of_gang(
        &self,
        ix: NodeIx,
        node: &Node,
        group_ix: GroupIx,
        group: &Group,
        need: &Need<'_>,
    ) -> u32 {
        if node.loads.waiting > 0 || !node.takes_tasks() || !node.admits(&group.key) {
            return 0;
        }
        let room = node.room_for_need(need);
        if room > 0 && self.may_join(group_ix, ix) { room } else { 0 }
    }

    /// What one task is granted on a node that has room for it.
    fn grant_on(
        &self,
        ix: NodeIx,
        group: GroupIx,
        request: u8,
        outlook: &mut Outlook,
    ) -> Option<Grant> {
        let group = self.state.groups.get(group)?;
        let need = group.key.needs().nth(request.into())?;
        let Some(devices) = need.devices.filter(|devices| of_nodes(devices)) else {
            return Some(Grant { request, gpus: Vec::new() });
        };
        if outlook.has_promised(ix)
            && let Some(gpus) = self.cards_in_time(ix, group, &need, outlook)
        {
            return Some(Grant { request, gpus });
        }
        let node = self.state.nodes.get(ix)?;
        let chosen = node.stock.bench().choose(&bench_need(node, devices)?)?;
        Some(Grant { request, gpus: chosen.cards.map(|cards| cards.places).unwrap_or_default() })
    }
}
