//! The policy is replaced.

use std::collections::BTreeSet;

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
        self.check_names_in_use(&policy)?;
        self.append(Fact::PolicySet { at: self.now, policy });
        self.ranking.void = true;
        Ok(Answer::Done)
    }

    /// Refuses a policy without a partition or class that live jobs are in.
    fn check_names_in_use(&self, policy: &Policy) -> Result<(), RequestError> {
        let partitions = policy.partitions.iter().map(|partition| partition.name.as_str());
        let classes = policy.qos.iter().map(|qos| qos.name.as_str());
        let (partitions, classes): (BTreeSet<_>, BTreeSet<_>) =
            (partitions.collect(), classes.collect());
        let keys = self.state.groups.in_order().filter_map(|group| self.state.groups.get(group));
        for wishes in keys.filter_map(|group| group.key.wishes.as_deref()) {
            let named =
                [("partition", &wishes.partition, &partitions), ("QoS", &wishes.qos, &classes)];
            for (what, name, known) in named {
                if let Some(name) = name.as_deref().filter(|name| !known.contains(name)) {
                    return Err(RequestError::new(
                        ErrorCode::Conflict,
                        format!(
                            "{what} `{name}` has jobs that have not ended: keep it in the policy until they have, or move them elsewhere first"
                        ),
                    ));
                }
            }
        }
        Ok(())
    }
}
