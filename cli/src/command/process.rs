//! What the processes that stay share: logging, signals, a runtime of several threads.

use std::future::Future;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::{Context, Ended, slices};
use crate::error::Error;
use crate::exit::Exit;

/// Starts logging to standard error, where `--log` asks for it or there is a default.
pub(crate) fn start_logging(context: &Context, default: Option<&str>) -> Result<(), Error> {
    let Some(filter) = context.global.log.as_deref().or(default) else { return Ok(()) };
    let filter = EnvFilter::try_new(filter).map_err(|cause| {
        Error::new(Exit::Usage, format!("`--log {filter}`: {cause}"))
            .todo("write a level (error, warn, info, debug, trace) or a list of CRATE=LEVEL")
    })?;
    let colour = std::io::IsTerminal::is_terminal(&std::io::stderr())
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    // A second start is that of a test within one process: the first goes on.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .try_init();
    Ok(())
}

/// Starts logging of a back end's process: to the standard error that it has from its node,
/// what a node logs whatever its operator asks for.
pub(crate) fn start_child_logging() {
    // Where it cannot be started the process has other worries.
    let _ = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
}

/// Runs a process that stays, with so many threads for what waits for others.
pub(crate) fn block_on(io_threads: usize, command: impl Future<Output = Ended>) -> Ended {
    slices::ask_for_short();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(io_threads)
        .thread_name("wrun-io")
        .build()
        .map_err(|cause| Error::new(Exit::Internal, format!("cannot start: {cause}")))?;
    let ended = runtime.block_on(command);
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    ended
}

/// SIGINT and SIGTERM, counted as one.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From now on these signals no longer end the process by themselves.
    pub(crate) fn listen() -> Result<Self, Error> {
        let failed = |cause| Error::new(Exit::Internal, format!("cannot handle signals: {cause}"));
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
        })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Runs `ending` to its end, or until another signal, which ends the process at once.
    pub(crate) async fn unless_again<T>(&mut self, ending: impl Future<Output = T>) -> T {
        tokio::select! {
            ended = ending => ended,
            () = self.next() => std::process::exit(Exit::Cancelled.code().into()),
        }
    }
}
