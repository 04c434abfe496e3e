//! The context inside a cluster: calls to the node.

use std::time::Duration;

use crate::checkpoint::CheckpointError;
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

use bindings::exports::wrun::task::handler;
use bindings::wrun::task::context;

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
