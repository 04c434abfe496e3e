//! Requests of administrators, and joining.

use wrun_protocol::limits::MAX_NAME;
use wrun_protocol::wire::user::{ErrorCode, RequestError};
use wrun_protocol::wire::worker::ToWorker;
use wrun_protocol::{NodeId, TaskId, Timestamp};

use crate::core::Core;
use crate::effect::Answer;
use crate::fact::Fact;
use crate::state::jobs::NodeIx;
use crate::state::nodes::node_id;

impl Core {
    pub(crate) fn on_set_drain(&mut self, ix: NodeIx, drain: bool) -> Result<Answer, RequestError> {
        let node = self.state.nodes.get(ix).ok_or_else(|| no_node(ix))?;
        if node.drain != drain {
            self.append(Fact::NodeDrained { at: self.now, node: node_id(ix), drain });
        }
        if drain {
            self.recall_all(ix);
        }
        Ok(Answer::Done)
    }

    pub(crate) fn on_remove_node(&mut self, ix: NodeIx) -> Result<Answer, RequestError> {
        let node = self.state.nodes.get(ix).ok_or_else(|| no_node(ix))?;
        let gone = !node.session.connected && (node.lost || node.info.is_none());
        if !gone || node.task_count > 0 {
            return Err(RequestError::new(
                ErrorCode::Conflict,
                format!(
                    "node {} is not lost: drain it, stop its worker, and remove it when its lease is over",
                    node_id(ix)
                ),
            ));
        }
        self.forget_node(ix);
        Ok(Answer::Done)
    }

    fn forget_node(&mut self, ix: NodeIx) {
        self.clear_backlogs(ix);
        self.append(Fact::NodeRemoved { at: self.now, node: node_id(ix) });
    }

    pub(crate) fn on_create_token(
        &mut self,
        hash: [u8; 32],
        expires: Timestamp,
    ) -> Result<Answer, RequestError> {
        if expires <= self.now {
            return Err(RequestError::new(
                ErrorCode::InvalidInput,
                "a token that is never valid: give it a time to live",
            ));
        }
        let valid = self.state.tokens.values().filter(|expires| **expires > self.now).count();
        if valid >= self.config.max_tokens {
            return Err(RequestError::new(
                ErrorCode::LimitReached,
                format!(
                    "{valid} join tokens are valid already: use those, or wait until some expire"
                ),
            ));
        }
        self.append(Fact::TokenCreated { at: self.now, hash, expires });
        Ok(Answer::Done)
    }

    pub(crate) fn on_join(
        &mut self,
        token: [u8; 32],
        name: String,
    ) -> Result<Answer, RequestError> {
        match self.state.tokens.get(&token) {
            Some(expires) if *expires > self.now => {}
            Some(_) => {
                return Err(RequestError::new(
                    ErrorCode::Denied,
                    "the join token has expired: ask an administrator for a new one",
                ));
            }
            None => {
                return Err(RequestError::new(
                    ErrorCode::Denied,
                    "the join token is unknown or was used already: ask an administrator for a new one",
                ));
            }
        }
        let well_formed =
            (1..=MAX_NAME).contains(&name.len()) && !name.chars().any(char::is_control);
        if !well_formed {
            return Err(RequestError::new(
                ErrorCode::InvalidInput,
                format!("the node's name: use 1 to {MAX_NAME} bytes without control characters"),
            ));
        }
        if let Some(namesake) = self.state.nodes.named(&name) {
            let forgettable =
                self.state.nodes.get(namesake).is_some_and(|node| {
                    node.lost && !node.session.connected && node.task_count == 0
                });
            if !forgettable {
                return Err(RequestError::new(
                    ErrorCode::Conflict,
                    format!(
                        "node {} is called `{name}` already: choose another name, or remove that node first",
                        node_id(namesake)
                    ),
                ));
            }
            self.forget_node(namesake);
        }
        let node = NodeId(self.state.next_node);
        self.append(Fact::NodeJoined { at: self.now, node, name, token });
        Ok(Answer::Joined(node))
    }

    pub(crate) fn on_freeze(&mut self, task: TaskId, frozen: bool) -> Result<Answer, RequestError> {
        let found = self.state.jobs.get(task.job).and_then(|job| job.task(task));
        let Some((attempt, spot)) = found else {
            return Err(RequestError::new(
                ErrorCode::NotFound,
                format!("there is no task {task} that has not ended"),
            ));
        };
        let connected = |ix| self.state.nodes.get(ix).is_some_and(|node| node.session.connected);
        let Some(spot) = spot.filter(|spot| connected(spot.node)) else {
            return Err(RequestError::new(
                ErrorCode::Conflict,
                format!(
                    "task {task} is on no connected node now: only a running task can be frozen"
                ),
            ));
        };
        if self.state.frozen.holds(task) {
            return Err(RequestError::new(
                ErrorCode::Conflict,
                format!("task {task} is frozen for more urgent work, and goes on after it"),
            ));
        }
        self.send(spot.node, ToWorker::Freeze { attempt: task.attempt(attempt), frozen });
        Ok(Answer::Done)
    }
}

fn no_node(ix: NodeIx) -> RequestError {
    RequestError::new(ErrorCode::NotFound, format!("there is no node {}", node_id(ix)))
}
