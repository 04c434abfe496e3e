//! Gangs: what the sandbox needs of whoever carries messages between their tasks, and the
//! memory that is charged to a task for messages that wait for it or that it has sent.
//! Carries nothing itself.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use wrun_protocol::NodeId;

use crate::account::Account;
use crate::control::Control;

/// What a task waits for.
pub type GangWait<'a, T> = Pin<Box<dyn Future<Output = Result<T, GangError>> + Send + 'a>>;

/// A message that has arrived: who sent it, and what.
pub type Received = (u32, Bytes);

/// One task's seat in its gang. Made when the task first asks for it; dropping it says that
/// the task has ended.
pub trait GangSeat: Send + Sync {
    /// The task's rank.
    fn rank(&self) -> u32;
    /// How many tasks the gang has.
    fn size(&self) -> u32;
    /// Which execution of the gang it is.
    fn attempt(&self) -> u32;
    /// Every rank's node, by rank.
    fn nodes(&self) -> Vec<NodeId>;
    /// Sends a message; waits while too much is on its way to that rank.
    fn send(&self, to: u32, message: Bytes, charge: Charge) -> GangWait<'_, ()>;
    /// The next message of that rank, or of any.
    fn receive(&self, from: Option<u32>) -> GangWait<'_, Received>;
    /// The same, if there is one now.
    fn try_receive(&self, from: Option<u32>) -> Result<Option<Received>, GangError>;
    /// Waits until every task of the gang has come to as many barriers.
    fn barrier(&self) -> GangWait<'_, ()>;
}

/// Why a task cannot send or receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GangError {
    /// There is no such rank.
    #[error("there is no such rank: the gang has {size} tasks")]
    NoSuchRank {
        /// How many there are.
        size: u32,
    },
    /// The task of that rank has ended.
    #[error("the task of rank {rank} has ended")]
    Ended {
        /// Which.
        rank: u32,
    },
    /// A node of the gang cannot be reached.
    #[error("a node of the gang cannot be reached; the gang begins anew")]
    Lost,
    /// The gang is being stopped.
    #[error("the gang is being stopped")]
    Stopping,
    /// The receiver's memory does not hold the message.
    #[error("the task's memory does not hold its messages: give the job more memory")]
    Memory,
}

/// The memory of a task, as far as messages are charged to it.
#[derive(Clone)]
pub struct TaskMemory(Holder);

#[derive(Clone)]
enum Holder {
    Task(Arc<Control>),
    Apart(Arc<Account>),
}

impl Holder {
    fn account(&self) -> &Account {
        match self {
            Self::Task(control) => &control.account,
            Self::Apart(account) => account,
        }
    }
}

impl TaskMemory {
    pub(crate) fn new(control: &Arc<Control>) -> Self {
        Self(Holder::Task(Arc::clone(control)))
    }

    /// Memory of no task: so many bytes, for tests of whoever carries messages.
    #[must_use]
    pub fn apart(limit: u64) -> Self {
        Self(Holder::Apart(Arc::new(Account::new(limit))))
    }

    /// Charges `bytes` to the task until the charge is dropped; `None` where its limit does
    /// not allow them, which is noted against the task only where `needed`.
    pub fn charge(&self, bytes: u64, needed: bool) -> Option<Charge> {
        let account = self.0.account();
        let charged = if needed { account.charge(bytes) } else { account.try_charge(bytes) };
        charged.then(|| Charge { holder: self.0.clone(), bytes })
    }

    /// What is charged now, in bytes.
    pub fn charged(&self) -> u64 {
        self.0.account().used()
    }
}

impl fmt::Debug for TaskMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskMemory({} of {} bytes)", self.charged(), self.0.account().limit())
    }
}

/// Bytes charged to a task; given back when dropped.
pub struct Charge {
    holder: Holder,
    bytes: u64,
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Charge({} bytes)", self.bytes)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.holder.account().release(self.bytes);
    }
}
