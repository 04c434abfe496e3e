//! What the agent asks of gangs, and how the end of a gang's task is told where the gang was over
//! before it.

use wrun_protocol::AttemptId;
use wrun_protocol::task::{Failure, Outcome};
use wrun_protocol::wire::worker::FromWorker;
use wrun_sandbox::{GangError, TaskEnd};

use super::Agent;
use crate::executor::Executor;

impl<E: Executor> Agent<E> {
    /// Tasks here have waited long for others of their gangs. Without a session nobody is asked:
    /// who still waits has it asked again.
    pub(super) fn ask_for_members(&mut self) {
        let gangs = self.parts.gangs.questions().take();
        if self.session.as_ref().is_some_and(|session| session.welcomed) {
            self.urgent.extend(gangs.into_iter().map(FromWorker::AskMembers));
        }
    }

    /// A task that fails for want of the others has not failed by itself. Where a node of the
    /// gang was lost, it is told as lost with it, which counts as such. Where the gang is
    /// being stopped, of which the server knows, it is given back: says whether.
    pub(super) fn is_to_give_back(&self, attempt: AttemptId, end: &mut TaskEnd) -> bool {
        let failed = match &end.outcome {
            Outcome::Succeeded | Outcome::Failed(Failure::Cancelled) => false,
            Outcome::Failed(_) => true,
        };
        if !failed {
            return false;
        }
        let AttemptId { task, attempt } = attempt;
        match self.parts.gangs.over(task.job, task.index, attempt) {
            None => false,
            Some(GangError::Lost) => {
                end.outcome = Outcome::Failed(Failure::NodeLost);
                false
            }
            Some(_) => true,
        }
    }
}
