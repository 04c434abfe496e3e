//! Users change jobs that have not ended; deadlines come.

use wrun_protocol::limits::MAX_TIME_MS;
use wrun_protocol::scheduling::MAX_NICE;
use wrun_protocol::wire::policy::JobChange;
use wrun_protocol::wire::user::{ErrorCode, RequestError};
use wrun_protocol::{JobId, JobSpec};

use crate::core::Core;
use crate::effect::Answer;
use crate::fact::Fact;
use crate::state::groups::{GroupKey, TenantIx};

impl Core {
    pub(crate) fn on_change(
        &mut self,
        id: JobId,
        change: JobChange,
    ) -> Result<Answer, RequestError> {
        let Some(mut spec) = self.state.spec_of(id) else { return Err(self.not_live(id)) };
        self.check_no_revision(id)?;
        check_change(&change, &spec)?;
        if let Some(tenant) = self.job_tenant(id).cloned()
            && names_or_times(&change, &mut spec)
        {
            self.check_wishes(&tenant, &mut spec)?;
            if matches!(change, JobChange::Partition(_) | JobChange::Qos(_)) {
                let of = self.state.tenants.find(&tenant).unwrap_or(TenantIx::MAX);
                self.check_at_once(&tenant, &GroupKey::of(of, id, spec))?;
            }
        }
        let limits =
            matches!(change, JobChange::TimeLimit(_) | JobChange::Partition(_) | JobChange::Qos(_));
        self.append(Fact::JobChanged { at: self.now, job: id, change });
        if limits {
            self.forget_sent(id);
        }
        self.job_changed(id);
        Ok(Answer::Done)
    }

    /// Nodes are to be sent the specification again before the job's next task there.
    fn forget_sent(&mut self, id: JobId) {
        for ix in self.knowing(id) {
            if let Some(node) = self.state.nodes.get_mut(ix) {
                node.session.known.remove(&id);
            }
        }
    }

    /// Opens and shuts gates by time, and cancels what is of no use any more.
    pub(crate) fn on_job_timers(&mut self) {
        for job in self.state.turn_gates(self.now) {
            // It lives: timers of jobs that end are removed.
            let _ = self.on_cancel(job);
        }
    }
}

/// Puts a change over the specification that the policy has a say in. `false` for others.
fn names_or_times(change: &JobChange, spec: &mut JobSpec) -> bool {
    let wishes = &mut spec.scheduling;
    match change {
        JobChange::Partition(partition) => wishes.partition.clone_from(partition),
        JobChange::Qos(qos) => wishes.qos.clone_from(qos),
        JobChange::TimeLimit(limit) => spec.limits.wall_ms = *limit,
        JobChange::Begin(begin) => wishes.begin = *begin,
        JobChange::Deadline(deadline) => wishes.deadline = *deadline,
        JobChange::Hold(_)
        | JobChange::Priority(_)
        | JobChange::Nice(_)
        | JobChange::MaxRunning(_) => return false,
    }
    true
}

/// Checks a change in itself.
fn check_change(change: &JobChange, spec: &JobSpec) -> Result<(), RequestError> {
    let invalid = |message: String| Err(RequestError::new(ErrorCode::InvalidInput, message));
    match change {
        JobChange::Nice(nice) if !(-MAX_NICE..=MAX_NICE).contains(nice) => {
            invalid(format!("nice {nice}: use -{MAX_NICE} to {MAX_NICE}"))
        }
        JobChange::TimeLimit(Some(limit)) if !(1..=MAX_TIME_MS).contains(limit) => {
            invalid("the time limit: use more than zero and at most a year".to_owned())
        }
        JobChange::MaxRunning(Some(0)) => invalid("max_running: use at least 1".to_owned()),
        JobChange::MaxRunning(Some(_)) if spec.scheduling.gang => {
            invalid("a gang starts as a whole: it has no bound on running tasks".to_owned())
        }
        _ => Ok(()),
    }
}
