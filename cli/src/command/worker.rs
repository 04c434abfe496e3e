//! `wrun worker`.

use std::net::SocketAddr;

use wrun_worker::{WorkerConfig, WorkerHandle};

use super::process::{self, Signals};
use super::{Context, Ended};
use crate::config;
use crate::config::worker::Configured;
use crate::console::Console;
use crate::error::Error;
use crate::exit::Exit;
use crate::report::json;
use crate::syntax::daemon::Worker;

/// Runs a node until it is told to stop.
pub(crate) fn worker(context: &Context, args: &Worker) -> Ended {
    process::start_logging(context, Some("info"))?;
    let Configured { worker, io_threads } = config::worker::config(args)?;
    process::block_on(io_threads, serve(context, worker))
}

async fn serve(context: &Context, config: WorkerConfig) -> Ended {
    let mut signals = Signals::listen()?;
    let starting = wrun_worker::start(config.clone());
    let worker = tokio::select! {
        started = starting => started.map_err(|error| config::worker::explain(&error))?,
        () = signals.next() => return Ok(Exit::Success),
    };
    config::worker::remember(&config)?;
    for warning in worker.warnings() {
        tracing::warn!("{warning}");
    }
    let node = worker.node().to_string();
    let data = config.data_dir.display().to_string();
    if context.console.wants_json() {
        let node = Some(node);
        context.console.json(&json::Ready {
            event: "ready",
            listen: None,
            node,
            credential: None,
            http: addresses(worker.http_addresses()),
            https: addresses(worker.https_addresses()),
            data,
        })?;
    } else {
        let (name, server) = (&config.name, &config.server);
        context.console.line(format_args!(
            "wrun worker {name} ({node}) of the cluster at {server}: {}",
            config.capacity
        ))?;
        tell_gateway(context.console, &worker)?;
    }
    tokio::select! {
        ended = worker.ended() => {
            ended.map_err(|error| config::worker::explain(&error))?;
            Ok(Exit::Success)
        }
        () = signals.next() => drain(&mut signals, &worker, &config).await,
    }
}

/// Where its gateway takes requests, a line for each address.
pub(super) fn tell_gateway(console: Console, worker: &WorkerHandle) -> Result<(), Error> {
    let https = worker.https_addresses().iter().map(|address| ("https", address));
    let http = worker.http_addresses().iter().map(|address| ("http", address));
    http.chain(https).try_for_each(|(scheme, address)| {
        console.line(format_args!("  services    {scheme}://{address}"))
    })
}

/// As JSON has them.
pub(super) fn addresses(of: &[SocketAddr]) -> Vec<String> {
    of.iter().map(ToString::to_string).collect()
}

async fn drain(signals: &mut Signals, worker: &WorkerHandle, config: &WorkerConfig) -> Ended {
    tracing::info!("draining for at most {:?}; a second signal stops at once", config.grace);
    tokio::select! {
        () = worker.drain() => {}
        () = signals.next() => worker.stop(),
    }
    worker.ended().await.map_err(|error| config::worker::explain(&error))?;
    Ok(Exit::Success)
}
