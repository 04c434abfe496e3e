//! Far memory, brought near in time. Of a large cluster most of what an event is about is in no
//! near memory of the processor, which waits for several such places at once no longer than for
//! one: they are asked for together before they are used one after the other. Nothing follows
//! from what is seen there.

use std::hint::black_box;

use wrun_protocol::JobId;

use super::State;
use super::groups::GroupIx;
use super::jobs::NodeIx;

impl State {
    /// A task of the job is about to leave the node: the records of both, and then what these
    /// point at.
    pub(crate) fn bring_near(&self, ix: NodeIx, id: JobId) {
        let (node, job) = (self.nodes.get(ix), self.jobs.get(id));
        let submit = self.jobs.submit_of(id);
        if let Some(node) = node {
            node.touch();
        }
        if let Some(job) = job {
            let tenant = self.groups.get(job.group).map(|group| {
                group.touch();
                group.on.touch(ix);
                group.key.tenant
            });
            tenant.zip(submit).inspect(|(tenant, id)| self.submits.touch(*tenant, *id));
        }
    }

    /// The records of those jobs are about to be looked at.
    pub(crate) fn bring_jobs_near(&self, jobs: impl Iterator<Item = JobId>) {
        let groups = jobs.filter_map(|id| Some(self.jobs.get(id)?.group));
        black_box(groups.fold(0, GroupIx::max));
    }

    /// Tasks of the group are about to be placed: the records of its next two jobs.
    pub(crate) fn bring_next_near(&self, group: GroupIx) {
        let Some(entry) = self.groups.get(group) else { return };
        let mut next = entry.ready.iter();
        let (first, second) = (next.next(), next.next());
        let submitted = |id: Option<JobId>| self.jobs.get(id?).map(|job| job.submitted);
        black_box((submitted(first), submitted(second)));
        entry.touch();
    }
}
