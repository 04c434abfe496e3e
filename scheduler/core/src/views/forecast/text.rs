//! What is said of an expected start.

use std::fmt;

use super::{Forecast, Rests, Unknown};
use crate::reason::Lasting;

/// On what assumption.
impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.promised {
            f.write_str("promised, ")?;
        }
        match self.rests {
            Rests::Nothing | Rests::Overdue(_) => {}
            Rests::Limits => f.write_str("by time limits, ")?,
            Rests::Earlier => f.write_str("by how long earlier tasks took, ")?,
            Rests::Default => write!(
                f,
                "taking tasks without time limit and history to need {}, ",
                Lasting(self.default_ms)
            )?,
        }
        if self.one_in > 1 {
            write!(f, "estimated from one in {} nodes, ", self.one_in)?;
        }
        f.write_str("if nothing of higher priority arrives")
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held => f.write_str("never, until it is released"),
            Self::Deadline => f.write_str("never, unless its deadline or time limit is changed"),
            Self::Beyond => f.write_str("never, unless it is made smaller or the cluster larger"),
            Self::NoNode => f.write_str("unknown: no node that suits it takes tasks"),
            Self::NoRoom => f.write_str("unknown: by all that is known it finds no room"),
            Self::Dependency(job) => {
                write!(f, "unknown: when job {job}, on which it depends, has come that far")
            }
            Self::Limit(limit) => {
                write!(f, "unknown: when enough has ended that counts for {}", limit.scope)
            }
            Self::Overdue(job) => write!(
                f,
                "unknown: job {job} has to end first, has no time limit and runs longer than expected"
            ),
            Self::TooFar { looked_at } => {
                write!(f, "unknown: more than {looked_at} tasks are before it")
            }
        }
    }
}
