//! Messages between the tasks of a gang: the tasks of a job that was submitted with
//! `gang = true`, which start together and are known to each other by their rank. Handlers
//! and programs (`fn main`) use it alike.
//!
//! Messages of one task to another arrive in the order in which they were sent, each once;
//! between different pairs there is no order. A task that sends more than another takes
//! waits: nothing is lost, and nothing piles up. If a task fails or its node is lost, the
//! whole gang begins anew, and what was sent before is gone with it.
//!
//! The sum of what all tasks have, in every one of them:
//!
//! ```
//! use wrun_sdk::{Error, gang};
//!
//! fn sum_of_all(mine: u64) -> Result<u64, Error> {
//!     let me = gang::current()?;
//!     for rank in (0..me.size).filter(|rank| *rank != me.rank) {
//!         gang::send(rank, &mine.to_le_bytes())?;
//!     }
//!     let mut sum = mine;
//!     for _ in 1..me.size {
//!         let message = gang::receive()?;
//!         let bytes = message.content.try_into().map_err(|_| Error::new("not a number"))?;
//!         sum += u64::from_le_bytes(bytes);
//!     }
//!     gang::barrier()?; // nobody goes on before all are here
//!     Ok(sum)
//! }
//!
//! // Outside a cluster a task is the only one of its gang.
//! assert_eq!(sum_of_all(7).unwrap(), 7);
//! ```

use std::fmt;

use crate::platform;

/// This task's place in its gang.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Its rank, from 0; the same as its index.
    pub rank: u32,
    /// How many tasks the gang has.
    pub size: u32,
    /// Which execution of the gang as a whole, from 1.
    pub attempt: u32,
}

impl Membership {
    /// The rank after this one, the first after the last: a ring.
    pub fn next(&self) -> u32 {
        if self.rank + 1 < self.size { self.rank + 1 } else { 0 }
    }

    /// The rank before this one, the last before the first.
    pub fn previous(&self) -> u32 {
        self.rank.checked_sub(1).unwrap_or(self.size.saturating_sub(1))
    }
}

/// A task of the gang, and where it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its rank.
    pub rank: u32,
    /// The number of its node. Messages between tasks on one node do not use the network.
    pub node: u64,
}

/// A message that has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The rank of who sent it.
    pub sender: u32,
    /// What was sent.
    pub content: Vec<u8>,
}

/// Why a task cannot talk to the others of its gang.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GangError {
    /// The job is no gang.
    NotAGang,
    /// There is no such rank.
    NoSuchRank {
        /// How many tasks the gang has.
        size: u32,
    },
    /// Larger than a message may be.
    TooLarge {
        /// The most, in bytes.
        most: u64,
    },
    /// The task of that rank has ended.
    Ended {
        /// Which.
        rank: u32,
    },
    /// A node of the gang cannot be reached. The gang is stopped and begins anew.
    Lost,
    /// The gang is being stopped.
    Stopping,
}

impl fmt::Display for GangError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAGang => f.write_str("the job is no gang: submit it with `gang = true`"),
            Self::NoSuchRank { size } => {
                write!(f, "there is no such rank: the gang has {size} tasks, counted from 0")
            }
            Self::TooLarge { most } => write!(f, "a message has at most {most} bytes: send parts"),
            Self::Ended { rank } => write!(f, "the task of rank {rank} has ended"),
            Self::Lost => f.write_str("a node of the gang cannot be reached; it begins anew"),
            Self::Stopping => f.write_str("the gang is being stopped"),
        }
    }
}

impl std::error::Error for GangError {}

/// This task's place in its gang.
///
/// # Errors
/// [`GangError::NotAGang`], or that the gang is over.
pub fn current() -> Result<Membership, GangError> {
    platform::membership()
}

/// All tasks of the gang, by rank.
///
/// # Errors
/// [`GangError::NotAGang`], or that the gang is over.
pub fn peers() -> Result<Vec<Peer>, GangError> {
    platform::peers()
}

/// Sends a message to the task of rank `to`, which may be this one. Returns as soon as it is
/// on its way; waits while too much is on its way to that task.
///
/// # Errors
/// There is no such rank, the message is too large, that task has ended, or the gang is over.
pub fn send(to: u32, content: &[u8]) -> Result<(), GangError> {
    platform::send(to, content)
}

/// The next message of whatever task; waits until there is one.
///
/// # Errors
/// All other tasks have ended and have sent nothing more, or the gang is over.
pub fn receive() -> Result<Message, GangError> {
    platform::receive(None)
}

/// The next message of the task of rank `from`; waits until there is one.
///
/// # Errors
/// There is no such rank, that task has ended and has sent nothing more, or the gang is over.
pub fn receive_from(from: u32) -> Result<Vec<u8>, GangError> {
    platform::receive(Some(from)).map(|message| message.content)
}

/// The next message of whatever task, if one has arrived.
///
/// # Errors
/// The gang is over.
pub fn try_receive() -> Result<Option<Message>, GangError> {
    platform::try_receive(None)
}

/// The next message of the task of rank `from`, if one has arrived.
///
/// # Errors
/// There is no such rank, that task has ended and has sent nothing more, or the gang is over.
pub fn try_receive_from(from: u32) -> Result<Option<Vec<u8>>, GangError> {
    platform::try_receive(Some(from)).map(|message| message.map(|message| message.content))
}

/// Waits until every task of the gang has come here.
///
/// # Errors
/// A task that is waited for has ended, or the gang is over. No barrier can be passed after
/// that; others may wait for this task until it ends or tells them.
pub fn barrier() -> Result<(), GangError> {
    platform::barrier()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_has_no_end() {
        let ring = |rank| Membership { rank, size: 3, attempt: 1 };
        let around = [0, 1, 2].map(|rank| (ring(rank).previous(), ring(rank).next()));
        assert_eq!(around, [(2, 1), (0, 2), (1, 0)]);
        let alone = Membership { rank: 0, size: 1, attempt: 1 };
        assert_eq!((alone.previous(), alone.next()), (0, 0));
    }

    #[test]
    fn outside_a_cluster_a_task_talks_to_itself() {
        send(0, b"first").unwrap();
        send(0, b"second").unwrap();
        assert_eq!(receive_from(0).unwrap(), b"first");
        assert_eq!(try_receive().unwrap(), Some(Message { sender: 0, content: b"second".into() }));
        assert_eq!(try_receive_from(0), Ok(None));
        assert_eq!(send(1, b""), Err(GangError::NoSuchRank { size: 1 }));
    }
}
