//! Typed identifiers. A number of one kind cannot be passed for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A job, numbered by the cluster from 1 in order of submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobId(pub u64);

/// A node, numbered by the cluster from 1 in order of joining. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u64);

/// One task of a job. `index` runs from 0 to the job's count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    /// The job the task belongs to.
    pub job: JobId,
    /// Its place in the array; 0 for a job of one task.
    pub index: u32,
}

/// One execution of a task. `attempt` counts from 1 and is never used twice, so that
/// what a stale execution reports can be told apart and refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId {
    /// The task that is executed.
    pub task: TaskId,
    /// Which execution of it, from 1.
    pub attempt: u32,
}

/// Made by the client for each submission, so that repeating a submission after a
/// lost answer returns the same job.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SubmitId(pub [u8; 16]);

/// A run of consecutive task indices: `first`, `first + 1`, … `count` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IndexRange {
    /// The lowest index.
    pub first: u32,
    /// How many; at least 1 in any message.
    pub count: u32,
}

impl IndexRange {
    /// The range that holds `index` alone.
    pub fn one(index: u32) -> Self {
        Self { first: index, count: 1 }
    }

    /// One past the highest index. Saturates, since a range from the wire may lie.
    pub fn end(self) -> u32 {
        self.first.saturating_add(self.count)
    }

    /// The indices in ascending order.
    pub fn indices(self) -> std::ops::Range<u32> {
        self.first..self.end()
    }

    /// Whether `index` lies in the range.
    pub fn contains(self, index: u32) -> bool {
        self.indices().contains(&index)
    }
}

/// The text is not an identifier of the wanted kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {wanted}")]
pub struct ParseIdError {
    text: String,
    wanted: &'static str,
}

impl JobId {
    /// The tasks's identifier at `index`.
    pub fn task(self, index: u32) -> TaskId {
        TaskId { job: self, index }
    }
}

impl TaskId {
    /// The identifier of its execution number `attempt`.
    pub fn attempt(self, attempt: u32) -> AttemptId {
        AttemptId { task: self, attempt }
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for JobId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wanted = "job id (a whole number from 1, as `wrun submit` prints it)";
        match text.parse() {
            Ok(number) if number > 0 => Ok(Self(number)),
            _ => Err(ParseIdError { text: text.to_owned(), wanted }),
        }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

impl FromStr for NodeId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wanted = "node id (`n` and a whole number, as `wrun nodes` prints it)";
        match text.strip_prefix('n').map(str::parse) {
            Some(Ok(number)) => Ok(Self(number)),
            _ => Err(ParseIdError { text: text.to_owned(), wanted }),
        }
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.job, self.index)
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.task, self.attempt)
    }
}

impl fmt::Debug for SubmitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubmitId(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_what_they_print() {
        assert_eq!("17".parse(), Ok(JobId(17)));
        assert_eq!(NodeId(3).to_string().parse(), Ok(NodeId(3)));
        assert_eq!(JobId(17).task(4).attempt(2).to_string(), "17.4#2");
    }

    #[test]
    fn text_that_is_no_id_is_refused_by_name() {
        for text in ["", "0", "-1", "x", "1.5", "99999999999999999999"] {
            let error = text.parse::<JobId>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}` is not a job id")), "{error}");
        }
        assert!("3".parse::<NodeId>().is_err());
    }

    #[test]
    fn a_range_from_the_wire_cannot_overflow() {
        let range = IndexRange { first: u32::MAX, count: 7 };
        assert_eq!(range.indices().count(), 0);
    }
}
