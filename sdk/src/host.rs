//! The context outside a cluster: what the test at hand set up, on its own thread.

use std::time::Duration;

use crate::checkpoint::CheckpointError;
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
