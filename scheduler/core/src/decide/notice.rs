//! Attempts that are stopped so that their tasks run again later. A task never runs twice
//! at a time by the server's own doing: it is placed again only when its worker says that
//! it has stopped, or when the node is lost.

use std::time::Duration;

use wrun_protocol::time::millis;
use wrun_protocol::wire::worker::{Assignment, ToWorker};
use wrun_protocol::{AttemptId, TaskId, Timestamp};

use crate::core::Core;
use crate::fact::{Fact, RequeueCause};
use crate::state::jobs::NodeIx;
use crate::state::nodes::node_id;

impl Core {
    /// Tells attempts that they will be stopped after `notice` at the latest.
    pub(crate) fn give_notice(
        &mut self,
        runs: &[(NodeIx, Assignment)],
        notice: Duration,
        cause: RequeueCause,
    ) {
        let until = self.now.after(notice);
        if self.asked_back.len() > 64 + 2 * self.state.noticed.len() {
            self.asked_back.retain(|task, _| self.state.noticed.contains_key(task));
        }
        for (ix, run) in runs {
            for index in run.tasks.indices() {
                let attempt = run.job.task(index).attempt(run.attempt);
                let earlier = self.state.noticed.get(&attempt.task);
                if earlier.is_none_or(|earlier| until < *earlier) {
                    let (at, node) = (self.now, node_id(*ix));
                    self.append(Fact::Noticed { at, node, attempt, until });
                    self.asked_back.insert(attempt.task, cause);
                    self.send_notice(*ix, attempt, until);
                }
            }
        }
    }

    /// A node is back: what it was told before may not have reached it.
    pub(crate) fn repeat_notices(&mut self, ix: NodeIx, adopted: &[Assignment]) {
        for run in adopted {
            let tasks = run.job.task(run.tasks.first)..run.job.task(run.tasks.end());
            let noticed: Vec<(TaskId, Timestamp)> =
                self.state.noticed.range(tasks).map(|(task, until)| (*task, *until)).collect();
            for (task, until) in noticed {
                self.send_notice(ix, task.attempt(run.attempt), until);
            }
        }
    }

    fn send_notice(&mut self, ix: NodeIx, attempt: AttemptId, until: Timestamp) {
        let notice_ms = millis(until.since(self.now));
        self.send(ix, ToWorker::Preempt { attempt, notice_ms });
    }

    /// An attempt has stopped as it was told. After a restart nobody knows for whose sake.
    pub(crate) fn on_preempted(&mut self, ix: NodeIx, run: Assignment) {
        let cause = self.asked_back.remove(&run.job.task(run.tasks.first));
        self.give_up(ix, &[run], cause.unwrap_or(RequeueCause::Preempted));
    }
}
