//! The policy is replaced.

use wrun_protocol::policy::Policy;
use wrun_protocol::wire::user::{ErrorCode, RequestError};

use crate::core::Core;
use crate::effect::Answer;
use crate::fact::Fact;

impl Core {
    pub(crate) fn on_set_policy(&mut self, policy: Box<Policy>) -> Result<Answer, RequestError> {
        policy
            .check()
            .map_err(|error| RequestError::new(ErrorCode::InvalidInput, error.to_string()))?;
        self.append(Fact::PolicySet { at: self.now, policy });
        self.ranking.void = true;
        Ok(Answer::Done)
    }
}
