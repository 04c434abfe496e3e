//! The context outside a cluster: what the test at hand set up, on its own thread.

use std::time::Duration;

use crate::checkpoint::CheckpointError;
use crate::gang::{GangError, Membership, Message, Peer};
use crate::{Level, Task, testing};

pub(crate) fn current() -> Task {
    testing::with(|run| run.task.clone())
}

pub(crate) fn progress(permille: u16, message: &str) {
    testing::with(|run| run.progress = Some((permille, message.to_owned())));
}

pub(crate) fn log(level: Level, line: &str) {
    eprintln!("{level:?}: {line}");
    testing::with(|run| run.log.push((level, line.to_owned())));
}

pub(crate) fn save_checkpoint(state: &[u8]) -> Result<(), CheckpointError> {
    testing::with(|run| match run.refusal.take() {
        Some(refusal) => Err(refusal),
        None => {
            run.checkpoint = Some(state.to_vec());
            Ok(())
        }
    })
}

pub(crate) fn stopping() -> Option<Duration> {
    testing::with(|run| run.stopping)
}

pub(crate) fn load_checkpoint() -> Option<Vec<u8>> {
    testing::with(|run| run.checkpoint.clone())
}

/// Outside a cluster a task is the only one of its gang, whatever array it is of.
const ALONE: Membership = Membership { rank: 0, size: 1, attempt: 1 };

pub(crate) fn membership() -> Result<Membership, GangError> {
    Ok(ALONE)
}

pub(crate) fn peers() -> Result<Vec<Peer>, GangError> {
    Ok(vec![Peer { rank: 0, node: 1 }])
}

pub(crate) fn send(to: u32, content: &[u8]) -> Result<(), GangError> {
    check(to)?;
    testing::with(|run| run.messages.push_back(content.to_vec()));
    Ok(())
}

/// What nobody has sent nobody will send: a task that would wait for ever is told so.
pub(crate) fn receive(from: Option<u32>) -> Result<Message, GangError> {
    try_receive(from)?.ok_or(GangError::Stopping)
}

pub(crate) fn try_receive(from: Option<u32>) -> Result<Option<Message>, GangError> {
    check(from.unwrap_or(0))?;
    let content = testing::with(|run| run.messages.pop_front());
    Ok(content.map(|content| Message { sender: 0, content }))
}

pub(crate) fn barrier() -> Result<(), GangError> {
    Ok(())
}

fn check(rank: u32) -> Result<(), GangError> {
    if rank == 0 { Ok(()) } else { Err(GangError::NoSuchRank { size: 1 }) }
}
