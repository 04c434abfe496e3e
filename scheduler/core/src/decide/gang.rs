//! Gangs: all tasks of a job start in one round, or none does.

use wrun_protocol::JobId;
use wrun_protocol::wire::worker::Assignment;

use super::place::Round;
use crate::core::Core;
use crate::state::groups::GroupIx;
use crate::state::jobs::NodeIx;

impl Core {
    /// The oldest job of the group all of whose tasks wait.
    pub(crate) fn next_gang(&self, group: GroupIx) -> Option<(JobId, u32)> {
        let mut ready = self.state.groups.get(group)?.ready.iter();
        ready.find_map(|id| {
            let job = self.state.jobs.get(*id)?;
            let count = job.ready_tasks();
            (count > 0 && count == job.live_tasks()).then_some((*id, count))
        })
    }

    /// Places the oldest gang of the group. Returns how many tasks that were.
    pub(crate) fn place_gang(&mut self, group: GroupIx, round: &mut Round) -> u32 {
        let Some((job, count)) = self.next_gang(group) else { return 0 };
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

    fn assign_gang(
        &mut self,
        ix: NodeIx,
        job: JobId,
        count: u32,
        parts: &mut Vec<(NodeIx, Assignment)>,
    ) {
        let mut left = count;
        while left > 0 {
            let next = self.state.jobs.get(job).and_then(|entry| entry.next_attempts(job, left));
            let Some(next) = next else { break };
            self.state.place(self.now, ix, next);
            left -= next.tasks.count;
            parts.push((ix, next));
        }
    }
}
