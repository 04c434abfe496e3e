//! The stored and forwarded form of a workflow, in versions that are added to.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Graph, Workflow, WorkflowError};
use crate::limits::MAX_WORKFLOW;

/// A new version is a new variant at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VersionedWorkflow {
    /// The first.
    V1(Box<Workflow>),
}

/// A [`VersionedWorkflow`] as postcard bytes, at most [`MAX_WORKFLOW`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncodedWorkflow(Bytes);

impl EncodedWorkflow {
    /// Checks and encodes.
    ///
    /// # Errors
    /// Names the step and the field.
    pub fn encode(workflow: &Workflow) -> Result<Self, WorkflowError> {
        workflow.check()?;
        let bytes = postcard::to_stdvec(&VersionedWorkflow::V1(Box::new(workflow.clone())))
            .map_err(|error| WorkflowError::Unreadable(error.to_string()))?;
        if bytes.len() > MAX_WORKFLOW {
            return Err(WorkflowError::TooLarge { size: bytes.len() });
        }
        Ok(Self(bytes.into()))
    }

    /// Decodes and checks: the bytes may come from anyone.
    ///
    /// # Errors
    /// Names the step and the field.
    pub fn decode(&self) -> Result<(Workflow, Graph), WorkflowError> {
        let (workflow, _) = self.open()?;
        let graph = workflow.check()?;
        Ok((workflow, graph))
    }

    /// Decodes what was accepted before: it is not judged again by the rules of today.
    ///
    /// # Errors
    /// [`WorkflowError::Unreadable`] or [`WorkflowError::TooLarge`].
    pub fn open(&self) -> Result<(Workflow, Graph), WorkflowError> {
        if self.0.len() > MAX_WORKFLOW {
            return Err(WorkflowError::TooLarge { size: self.0.len() });
        }
        let (VersionedWorkflow::V1(workflow), rest) = postcard::take_from_bytes(&self.0)
            .map_err(|error| WorkflowError::Unreadable(error.to_string()))?;
        if !rest.is_empty() {
            return Err(WorkflowError::Unreadable(format!("{} bytes too many", rest.len())));
        }
        let graph = Graph::of(&workflow);
        Ok((*workflow, graph))
    }

    /// The encoded bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<Bytes> for EncodedWorkflow {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for EncodedWorkflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncodedWorkflow({} bytes)", self.0.len())
    }
}
