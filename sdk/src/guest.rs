//! The context inside a cluster: calls to the node.

use std::time::Duration;

use crate::checkpoint::CheckpointError;
use crate::gang::{GangError, Membership, Message, Peer};
use crate::{Error, Level, Task};

/// Made from the WIT files; the exporting macro is used by the attribute.
#[allow(missing_docs, unsafe_code, unreachable_pub, clippy::all, reason = "generated")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../wit/task",
        world: "task",
        pub_export_macro: true,
        export_macro_name: "export_task",
    });
}

/// Made from the WIT files of gangs: in use only where the task talks to others.
#[allow(missing_docs, unsafe_code, unreachable_pub, clippy::all, reason = "generated")]
mod gang_bindings {
    wit_bindgen::generate!({ path: "../wit/gang", world: "member" });
}

use bindings::exports::wrun::task::handler;
use bindings::wrun::task::context;
use gang_bindings::wrun::gang::exchange;

pub(crate) fn current() -> Task {
    let task = context::current();
    Task {
        job: task.job,
        index: task.index,
        count: task.count,
        attempt: task.attempt,
        tenant: task.tenant,
        remaining: task.remaining_ms.map(Duration::from_millis),
    }
}

pub(crate) fn progress(permille: u16, message: &str) {
    context::progress(permille, message);
}

pub(crate) fn log(level: Level, line: &str) {
    let level = match level {
        Level::Trace => context::Level::Trace,
        Level::Debug => context::Level::Debug,
        Level::Info => context::Level::Info,
        Level::Warn => context::Level::Warn,
        Level::Error => context::Level::Error,
    };
    context::log(level, line);
}

pub(crate) fn save_checkpoint(state: &[u8]) -> Result<(), CheckpointError> {
    context::save_checkpoint(state).map_err(|error| match error {
        context::CheckpointError::TooLarge(most) => CheckpointError::TooLarge { most },
        context::CheckpointError::Unavailable(reason) => CheckpointError::Unavailable(reason),
    })
}

pub(crate) fn stopping() -> Option<Duration> {
    context::stopping().map(Duration::from_millis)
}

pub(crate) fn load_checkpoint() -> Option<Vec<u8>> {
    context::load_checkpoint()
}

impl From<Error> for handler::Error {
    fn from(error: Error) -> Self {
        Self { message: error.message().to_owned(), retryable: error.is_retryable() }
    }
}

pub(crate) fn membership() -> Result<Membership, GangError> {
    let exchange::Membership { rank, size, attempt } = exchange::current()?;
    Ok(Membership { rank, size, attempt })
}

pub(crate) fn peers() -> Result<Vec<Peer>, GangError> {
    let peers = exchange::peers()?.into_iter();
    Ok(peers.map(|exchange::Peer { rank, node }| Peer { rank, node }).collect())
}

pub(crate) fn send(to: u32, content: &[u8]) -> Result<(), GangError> {
    Ok(exchange::send(to, content)?)
}

pub(crate) fn receive(from: Option<u32>) -> Result<Message, GangError> {
    Ok(exchange::receive(from)?.into())
}

pub(crate) fn try_receive(from: Option<u32>) -> Result<Option<Message>, GangError> {
    Ok(exchange::try_receive(from)?.map(Message::from))
}

pub(crate) fn barrier() -> Result<(), GangError> {
    Ok(exchange::barrier()?)
}

impl From<exchange::Message> for Message {
    fn from(exchange::Message { sender, content }: exchange::Message) -> Self {
        Self { sender, content }
    }
}

impl From<exchange::Error> for GangError {
    fn from(error: exchange::Error) -> Self {
        match error {
            exchange::Error::NotAGang => Self::NotAGang,
            exchange::Error::NoSuchRank(size) => Self::NoSuchRank { size },
            exchange::Error::TooLarge(most) => Self::TooLarge { most },
            exchange::Error::Ended(rank) => Self::Ended { rank },
            exchange::Error::Lost => Self::Lost,
            exchange::Error::Stopping => Self::Stopping,
        }
    }
}
