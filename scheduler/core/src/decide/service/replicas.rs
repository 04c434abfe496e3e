//! Which replicas of a revision are woken, and which go: those that are of least use first,
//! from the nodes that have most of them. One that may have requests is first taken from the
//! gateways, then told to finish, and sleeps when its node says that it has.
//!
//! Replicas on a node that is drained are moved: each stays until another one is ready
//! elsewhere, as long as another node could hold one at all.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wrun_protocol::service::ServiceId;
use wrun_protocol::time::millis;
use wrun_protocol::wire::worker::{Assignment, ToWorker};
use wrun_protocol::{AttemptId, IndexRange, JobId, Timestamp};

use crate::core::Core;
use crate::decide::array::joined;
use crate::fact::Fact;
use crate::state::jobs::{NodeIx, Tasks};
use crate::state::nodes::node_id;
use crate::state::services::Revision;

/// Of how much use a replica is, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    /// It has ended, and is not started again.
    Over,
    /// It failed, and waits to be started again.
    BackingOff,
    /// It waits to be placed.
    Pending,
    /// It is on a node, and gets no requests: it is not ready, or was stopped for others.
    NotReady,
    Ready,
}

/// A replica that could go.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    index: u32,
    of_use: Use,
    /// Where it is, by which attempt and since when.
    at: Option<(NodeIx, u32, Timestamp)>,
}

impl Core {
    /// Wakes replicas, or has some go, so that so many stay.
    pub(super) fn settle_revision(&mut self, id: &ServiceId, number: u32, wanted: u32) {
        let service = self.state.services.get(id);
        let Some(revision) = service.and_then(|of| of.revisions.get(&number)) else { return };
        let (job, drain) = (revision.job, Duration::from_millis(revision.spec.rollout.drain_ms));
        let all = self.candidates(revision);
        let (leaving, staying): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|one| one.at.is_some_and(|(ix, ..)| self.empties(ix)));
        let stay = staying.len() as u32;
        let ready = staying.iter().filter(|one| one.of_use == Use::Ready).count() as u32;
        // Until others are ready, those that leave their node are needed there.
        let moves = !leaving.is_empty() && self.can_move(job);
        let needed = if moves { wanted.saturating_sub(ready) } else { 0 };
        let spare = leaving.len().saturating_sub(needed as usize);
        let mut going = least_useful(staying, stay.saturating_sub(wanted) as usize);
        going.extend(least_useful(leaving, spare));
        self.wake_replicas(job, wanted.saturating_sub(stay));
        self.let_go(job, &going, drain);
    }

    /// Those that are not on their way out.
    fn candidates(&self, revision: &Revision) -> Vec<Candidate> {
        let Some(job) = self.state.jobs.get(revision.job) else { return Vec::new() };
        let Tasks::Many(array) = &job.tasks else { return Vec::new() };
        let over = revision.over.iter().flat_map(|(run, ())| run.tasks.indices());
        let over = over.map(|index| Candidate { index, of_use: Use::Over, at: None });
        let awake = revision.replicas.iter().filter(|(_, replica)| replica.drain.is_none());
        let awake = awake.map(|(index, replica)| {
            let task = revision.job.task(*index);
            let placed = array.placed.get(task).and_then(|(attempt, spot)| {
                let (_, since) = self.state.nodes.get(spot.node)?.tasks.get(task)?;
                Some((spot.node, attempt, since))
            });
            let of_use = match &placed {
                None if array.delayed.contains_key(index) => Use::BackingOff,
                None => Use::Pending,
                Some(_) if replica.is_ready() && !self.stands(task) => Use::Ready,
                Some(_) => Use::NotReady,
            };
            Candidate { index: *index, of_use, at: placed }
        });
        over.chain(awake).collect()
    }

    /// Whether replicas are to leave the node.
    fn empties(&self, ix: NodeIx) -> bool {
        self.state.nodes.get(ix).is_some_and(|node| node.drain || node.session.draining)
    }

    /// Whether a node that takes tasks could hold a replica, were it empty.
    fn can_move(&self, job: JobId) -> bool {
        let group = self.state.jobs.get(job).and_then(|job| self.state.groups.get(job.group));
        let Some(group) = group else { return false };
        self.state.nodes.iter().any(|(_, node)| node.takes_tasks() && node.suits(&group.key))
    }

    fn wake_replicas(&mut self, job: JobId, count: u32) {
        let Some(revision) = self.state.services.revision(job) else { return };
        let (mut replicas, mut left): (Vec<IndexRange>, u32) = (Vec::new(), count);
        for (run, ()) in revision.asleep.iter() {
            if left == 0 {
                break;
            }
            let tasks = IndexRange { count: run.tasks.count.min(left), ..run.tasks };
            left -= tasks.count;
            replicas.push(tasks);
        }
        if !replicas.is_empty() {
            self.append(Fact::ReplicasWoken { at: self.now, job, replicas });
            self.job_changed(job);
        }
    }

    /// Has replicas go. One on a node counts as there until the node says that it has gone, be
    /// it not ready yet: it must not be woken elsewhere before.
    fn let_go(&mut self, job: JobId, going: &[Candidate], drain: Duration) {
        let mut asleep = Vec::new();
        for one in going {
            match one.at {
                Some((ix, attempt, _)) => {
                    self.drain_replica(ix, job.task(one.index).attempt(attempt), drain);
                }
                None => {
                    let tasks = IndexRange::one(one.index);
                    asleep.push(Assignment { job, attempt: 0, tasks });
                }
            }
        }
        self.lay_to_sleep(job, asleep, Vec::new());
    }

    /// Replicas sleep from now on; nodes that have some of them are told to stop.
    pub(super) fn lay_to_sleep(
        &mut self,
        job: JobId,
        replicas: Vec<Assignment>,
        stops: Vec<(NodeIx, Assignment)>,
    ) {
        if replicas.is_empty() {
            return;
        }
        let replicas = joined(replicas);
        self.append(Fact::ReplicasSlept { at: self.now, job, replicas });
        self.send_stops(stops);
        self.job_changed(job);
    }

    fn drain_replica(&mut self, ix: NodeIx, attempt: AttemptId, within: Duration) {
        let (at, until) = (self.now, self.now.after(within));
        self.append(Fact::ReplicaDraining { at, node: node_id(ix), attempt, until });
        self.send_drain(ix, attempt, until);
        self.job_changed(attempt.task.job);
    }

    fn send_drain(&mut self, ix: NodeIx, attempt: AttemptId, until: Timestamp) {
        let within_ms = millis(until.since(self.now));
        self.send(ix, ToWorker::Drain { attempt, within_ms });
    }

    /// A node is back: what it was told before may not have reached it.
    pub(crate) fn repeat_drains(&mut self, ix: NodeIx, adopted: &[Assignment]) {
        let services = &self.state.services;
        let draining = adopted.iter().filter(|run| services.has_job(run.job)).flat_map(|run| {
            let tasks = run.tasks.indices().map(|index| run.job.task(index));
            tasks.filter_map(|task| {
                Some((task.attempt(run.attempt), services.replica(task)?.drain?))
            })
        });
        for (attempt, until) in draining.collect::<Vec<_>>() {
            self.send_drain(ix, attempt, until);
        }
    }
}

/// So many of them: of least use first, then from where there are most, then the newest.
fn least_useful(mut all: Vec<Candidate>, count: usize) -> Vec<Candidate> {
    let mut on: BTreeMap<NodeIx, u32> = BTreeMap::new();
    all.iter().filter_map(|one| one.at).for_each(|(ix, ..)| *on.entry(ix).or_default() += 1);
    all.sort_by_key(|one| {
        (one.of_use, Reverse(one.at.map(|(.., since)| since)), Reverse(one.index))
    });
    let mut going: Vec<Candidate> = Vec::new();
    let mut ready: BTreeSet<usize> = BTreeSet::new();
    for (place, one) in all.iter().enumerate() {
        if one.of_use == Use::Ready {
            ready.insert(place);
        } else if going.len() < count {
            going.push(*one);
            one.at.iter().for_each(|(ix, ..)| *on.entry(*ix).or_default() -= 1);
        }
    }
    while going.len() < count {
        let crowd = |place: &usize| {
            let at = all.get(*place).and_then(|one| one.at);
            at.and_then(|(ix, ..)| on.get(&ix)).copied().unwrap_or_default()
        };
        let Some(place) = ready.iter().copied().min_by_key(|place| (Reverse(crowd(place)), *place))
        else {
            break;
        };
        ready.remove(&place);
        let Some(one) = all.get(place) else { break };
        one.at.iter().for_each(|(ix, ..)| *on.entry(*ix).or_default() -= 1);
        going.push(*one);
    }
    going
}
