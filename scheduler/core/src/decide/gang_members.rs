//! Who is of a gang, and where: told to every node that has a part of it before that part is
//! assigned, and again when one of these nodes comes back, so that the tasks can exchange
//! messages without the server; and to a node that asks, since a task that ended without a word
//! to another node is known to have ended here alone.

use std::collections::BTreeSet;

use wrun_protocol::JobId;
use wrun_protocol::wire::worker::{Assignment, GangMember, ToWorker};

use crate::core::Core;
use crate::state::jobs::{NodeIx, Place, Tasks};
use crate::state::nodes::node_id;

impl Core {
    /// The jobs among these that are gangs.
    fn gangs_among<'a>(&self, runs: impl Iterator<Item = &'a Assignment>) -> BTreeSet<JobId> {
        let mut gangs = BTreeSet::new();
        let mut seen = None;
        for run in runs {
            if seen.replace(run.job) != Some(run.job) && self.is_gang(run.job) {
                gangs.insert(run.job);
            }
        }
        gangs
    }

    fn is_gang(&self, id: JobId) -> bool {
        let group = self.state.jobs.get(id).and_then(|job| self.state.groups.get(job.group));
        group.is_some_and(|group| group.key.gang() > 0)
    }

    /// Tells every node that has a part of the gangs among these who is where. A node that is
    /// back, maybe elsewhere, is of concern to the others too.
    pub(crate) fn tell_members<'a>(&mut self, runs: impl Iterator<Item = &'a Assignment>) {
        for job in self.gangs_among(runs) {
            if self.is_broken_gang(job) {
                // Who is not named counts as ended; it is told anew when all are placed again.
                continue;
            }
            let (nodes, gang) = self.members(job);
            nodes.into_iter().for_each(|ix| self.send(ix, gang.clone()));
        }
    }

    /// A task of the gang has waited long for another on that node. It is told which have not
    /// ended, where some have, unless the gang begins anew; a node that has no task of the gang
    /// is told nothing.
    pub(crate) fn on_members_asked(&mut self, ix: NodeIx, job: JobId) {
        let is_here = self.state.nodes.get(ix).is_some_and(|node| node.has_task_of(job));
        if is_here && self.is_gang(job) && !self.is_broken_gang(job) && self.highest_ended(job) > 0
        {
            let (_, gang) = self.members(job);
            self.send(ix, gang);
        }
    }

    fn members(&self, id: JobId) -> (BTreeSet<NodeIx>, ToWorker) {
        let placed: Vec<(Assignment, NodeIx)> = match self.state.jobs.get(id).map(|job| &job.tasks)
        {
            None => Vec::new(),
            Some(Tasks::Many(array)) => {
                array.placed.iter().map(|(run, spot)| (run, spot.node)).collect()
            }
            Some(Tasks::One(one)) => match one.place {
                Place::On(spot) => {
                    let run = crate::state::apply::alone(id.task(0).attempt(one.attempt));
                    vec![(run, spot.node)]
                }
                Place::Ready | Place::Delayed => Vec::new(),
            },
        };
        let nodes = placed.iter().map(|(_, ix)| *ix).collect();
        let attempt = placed.iter().map(|(run, _)| run.attempt).max().unwrap_or(0);
        let attempt = attempt.max(self.highest_ended(id));
        // Where a node listens is the driver's to know: it changes with each connection.
        let member = |(run, ix): (Assignment, NodeIx)| GangMember {
            tasks: run.tasks,
            attempt: run.attempt,
            node: node_id(ix),
            address: None,
        };
        let members = placed.into_iter().map(member).collect();
        (nodes, ToWorker::Gang { job: id, attempt, members })
    }

    /// The highest attempt among tasks of a gang that have ended.
    fn highest_ended(&self, id: JobId) -> u32 {
        match self.state.jobs.get(id).map(|job| &job.tasks) {
            Some(Tasks::Many(array)) => {
                array.over.iter().map(|(run, _)| run.attempt).max().unwrap_or(0)
            }
            _ => 0,
        }
    }
}
