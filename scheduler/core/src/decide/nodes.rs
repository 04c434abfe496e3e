//! Nodes come, go, fall silent and come back.

use wrun_protocol::limits::MAX_NAME;
use wrun_protocol::node::NodeInfo;
use wrun_protocol::scheduling::Offer;
use wrun_protocol::time::millis;
use wrun_protocol::wire::worker::{Assignment, ToWorker};
use wrun_protocol::{AttemptId, IndexRange, Timestamp};

use super::MAX_BATCH;
use crate::core::Core;
use crate::fact::{Fact, RequeueCause};
use crate::state::jobs::{NodeIx, Tasks};
use crate::state::nodes::{Session, node_id};

/// Most stale attempts named one by one in a welcome; the others follow as ranges.
const MAX_STALE: usize = 4096;

impl Core {
    pub(crate) fn start_node(&mut self, ix: NodeIx) {
        let now = self.now;
        let Some(node) = self.state.nodes.get_mut(ix) else { return };
        node.session.last_seen = now;
        self.state.nodes.dirty.insert(ix);
        self.arm_lease(ix);
    }

    fn lease_end(&self, ix: NodeIx) -> Option<Timestamp> {
        let node = self.state.nodes.get(ix)?;
        if node.lost && !node.session.connected {
            // Its attempts were being given up when the server stopped: go on at once.
            return (node.task_count > 0).then_some(self.now);
        }
        node.info.as_ref()?;
        Some(node.session.last_seen.after(self.config.lease + self.config.lease_margin))
    }

    fn arm_lease(&mut self, ix: NodeIx) {
        let Some(end) = self.lease_end(ix) else { return };
        let Some(node) = self.state.nodes.get_mut(ix) else { return };
        if !std::mem::replace(&mut node.session.armed, true) {
            self.leases.insert((end, ix));
        }
    }

    /// The timer is set for a moment when the lease might be over; heartbeats move the
    /// lease and leave the timer alone.
    pub(crate) fn on_lease_timer(&mut self, ix: NodeIx) {
        let Some(node) = self.state.nodes.get_mut(ix) else { return };
        node.session.armed = false;
        match self.lease_end(ix) {
            Some(end) if end <= self.now => self.lose_node(ix),
            Some(_) => self.arm_lease(ix),
            None => {}
        }
    }

    /// Fences the node's attempts: what it says of them from now on is refused.
    fn lose_node(&mut self, ix: NodeIx) {
        let Some(node) = self.state.nodes.get_mut(ix) else { return };
        node.session.unlisted.clear();
        let tasks: Vec<Assignment> = node.tasks.iter().map(|(tasks, _)| tasks).collect();
        if !node.lost {
            self.append(Fact::NodeLost { at: self.now, node: node_id(ix) });
        }
        self.give_up(ix, &tasks, RequeueCause::NodeLost);
        for batch in tasks.chunks(MAX_BATCH) {
            self.send(ix, ToWorker::Stop(batch.to_vec()));
        }
    }

    pub(crate) fn on_node_connected(
        &mut self,
        ix: NodeIx,
        mut info: NodeInfo,
        offer: Offer,
        incarnation: u64,
        listed: &[Assignment],
    ) {
        let Some(node) = self.state.nodes.get(ix) else { return };
        if info.name.is_empty() || info.name.len() > MAX_NAME {
            info.name.clone_from(&node.name);
        }
        let restarted = node.incarnation != incarnation || node.info.is_none();
        let offers = (node.stock.offer != offer).then_some(offer);
        let changed = restarted || node.lost || node.info.as_deref() != Some(&info);
        let held: Vec<Assignment> = node.tasks.iter().map(|(tasks, _)| tasks).collect();
        self.on_node_disconnected(ix);
        if changed {
            let (at, node, info) = (self.now, node_id(ix), Box::new(info));
            self.append(Fact::NodeConnected { at, node, info, incarnation });
        }
        if let Some(offer) = offers {
            self.append(Fact::NodeOffered { at: self.now, node: node_id(ix), offer });
        }
        if restarted {
            self.give_up(ix, &held, RequeueCause::NodeLost);
        }
        self.welcome(ix, listed);
    }

    fn welcome(&mut self, ix: NodeIx, listed: &[Assignment]) {
        self.near.forget(ix);
        let now = self.now;
        let Some(node) = self.state.nodes.get_mut(ix) else { return };
        node.session.connected = true;
        node.session.since = now;
        node.session.last_seen = now;
        let mut unlisted = node.tasks.clone();
        let mut stale = Vec::new();
        let mut adopted = Vec::new();
        for tasks in listed {
            let mut at = tasks.tasks.first;
            node.tasks.overlaps(*tasks, |run, _| {
                push_between(&mut stale, *tasks, at, run.tasks.first);
                at = run.tasks.end();
                adopted.push(run);
            });
            push_between(&mut stale, *tasks, at, tasks.tasks.end());
        }
        adopted.iter().for_each(|run| unlisted.take(*run, |_, _| ()));
        node.session.unlisted = unlisted.iter().map(|(tasks, _)| tasks).collect();
        for run in &adopted {
            if let Some(Tasks::Many(array)) =
                self.state.jobs.get_mut(run.job).map(|job| &mut job.tasks)
            {
                array.known_on.insert(ix);
            }
        }
        self.send_welcome(ix, &stale);
        self.tell_members(adopted.iter());
        self.repeat_notices(ix, &adopted);
        self.repeat_freezes(ix, &adopted);
        self.repeat_drains(ix, &adopted);
        self.state.doubt_services_on(ix);
        self.state.nodes.dirty.insert(ix);
        self.arm_lease(ix);
        if self.state.nodes.get(ix).is_some_and(|node| node.drain) {
            self.recall_all(ix);
        }
    }

    fn send_welcome(&mut self, ix: NodeIx, stale: &[Assignment]) {
        let mut named: Vec<AttemptId> = Vec::new();
        let mut ranges = Vec::new();
        for tasks in stale {
            if named.len() + tasks.tasks.count as usize <= MAX_STALE {
                let attempts = tasks.tasks.indices();
                named.extend(attempts.map(|i| tasks.job.task(i).attempt(tasks.attempt)));
            } else {
                ranges.push(*tasks);
            }
        }
        let welcome = ToWorker::Welcome {
            lease_ms: millis(self.config.lease),
            heartbeat_ms: millis(self.config.heartbeat),
            now: self.now,
            stale: named,
        };
        self.send(ix, welcome);
        for batch in ranges.chunks(MAX_BATCH) {
            self.send(ix, ToWorker::Stop(batch.to_vec()));
        }
    }

    pub(crate) fn on_node_disconnected(&mut self, ix: NodeIx) {
        self.clear_backlogs(ix);
        self.scalers.on_gateway_gone(node_id(ix));
        self.near.forget(ix);
        let Some(node) = self.state.nodes.get_mut(ix) else { return };
        node.session.end();
        self.state.nodes.dirty.insert(ix);
        self.arm_lease(ix);
    }

    pub(crate) fn on_node_draining(&mut self, ix: NodeIx) {
        let Some(node) = self.state.nodes.get_mut(ix) else { return };
        node.session.draining = true;
        self.state.nodes.dirty.insert(ix);
        self.state.doubt_services_on(ix);
        self.recall_all(ix);
    }

    pub(crate) fn on_node_gone(&mut self, ix: NodeIx) {
        if self.state.nodes.get(ix).is_some_and(|node| node.info.is_some()) {
            self.lose_node(ix);
            self.on_node_disconnected(ix);
        }
    }

    pub(crate) fn on_heartbeat(&mut self, ix: NodeIx, beat: u64) {
        let now = self.now;
        let Some(node) = self.state.nodes.get_mut(ix).filter(|node| node.session.connected) else {
            return;
        };
        node.session.last_seen = now;
        node.session.recalled.clear();
        let unlisted = std::mem::take(&mut node.session.unlisted);
        // It was silent for longer than its lease, and its session lives after all.
        let back = node.info.clone().filter(|_| node.lost);
        let incarnation = node.incarnation;
        if let Some(info) = back {
            self.append(Fact::NodeConnected { at: now, node: node_id(ix), info, incarnation });
            self.arm_lease(ix);
        }
        // Their assignment was on the way when the connection broke: they never ran.
        self.give_up(ix, &unlisted, RequeueCause::Returned);
        self.send(ix, ToWorker::HeartbeatAck { beat });
    }
}

impl Session {
    /// What was told in it is void; when the node was last heard of stays.
    fn end(&mut self) {
        self.connected = false;
        self.draining = false;
        self.known.clear();
        self.recalled.clear();
        self.unlisted.clear();
    }
}

/// Adds what of `tasks` lies from `from` to `to`.
fn push_between(runs: &mut Vec<Assignment>, tasks: Assignment, from: u32, to: u32) {
    if from < to {
        let tasks_between = IndexRange { first: from, count: to - from };
        runs.push(Assignment { tasks: tasks_between, ..tasks });
    }
}
