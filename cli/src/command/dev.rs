//! `wrun dev`: a server and its nodes in this process, over QUIC as on many machines.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use wrun_protocol::{Resources, Role, TenantName};
use wrun_server::{ServerConfig, ServerHandle};
use wrun_worker::{HttpConfig, WorkerConfig, WorkerError, WorkerHandle};

use super::place::{self, Found};
use super::process::{self, Signals};
use super::worker::{addresses, tell_gateway};
use super::{Context, Ended, server};
use crate::client::credential_path;
use crate::config::{self, machine};
use crate::error::Error;
use crate::exit::Exit;
use crate::report::json;
use crate::syntax::daemon::{Dev, Gateway};

/// Whose work is submitted with the credential.
const TENANT: &str = "main";
/// How long the credential is valid. A new one is made at each start.
const CREDENTIAL_TTL: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long a join token is valid: it is used at once.
const TOKEN_TTL: Duration = Duration::from_secs(60);
/// How long running tasks may go on once the cluster is told to stop.
const GRACE: Duration = Duration::from_secs(2);
/// Places for tasks, over all nodes.
const SLOTS: u32 = 256;

/// Runs the cluster until it is told to stop.
pub(crate) fn dev(context: &Context, args: &Dev) -> Ended {
    process::start_logging(context, Some("warn"))?;
    let io_threads = config::worker::io_threads(machine::cores() as usize);
    process::block_on(io_threads, serve(context, args))
}

async fn serve(context: &Context, args: &Dev) -> Ended {
    let mut signals = Signals::listen()?;
    let data = data_dir(args)?;
    let mut config = ServerConfig::new(&data);
    config.listen = args.listen;
    let server = wrun_server::start(config).await.map_err(|error| server::explain(&error))?;
    for warning in server.warnings() {
        context.console.note(format_args!("warning: {warning}"));
    }
    let workers = start_workers(args, &server, &data).await?;
    let found = write_credential(context, &server, &data)?;
    tell(context, &workers, &server, &data, found)?;
    let failed = async { first_end(&workers).await };
    tokio::select! {
        error = server.ended() => return Err(server::explain(&error)),
        ended = failed => {
            ended.map_err(|error| config::worker::explain(&error))?;
        }
        () = signals.next() => {
            if !context.console.wants_json() {
                context.console.note("stopping; Ctrl-C again stops at once");
            }
        }
    }
    signals
        .unless_again(async {
            join_all(workers.iter().map(WorkerHandle::drain)).await;
            drop(workers);
            server.shutdown().await.map_err(|error| server::explain(&error))
        })
        .await?;
    Ok(Exit::Success)
}

fn data_dir(args: &Dev) -> Result<PathBuf, Error> {
    let data = args.data.clone().or_else(|| machine::data_dir("dev")).ok_or_else(|| {
        Error::new(Exit::Config, "no data folder: neither --data nor HOME is set")
            .todo("name one with --data")
    })?;
    std::path::absolute(&data).map_err(|cause| Error::file("find the folder", &data, &cause))
}

async fn start_workers(
    args: &Dev,
    server: &ServerHandle,
    data: &Path,
) -> Result<Vec<WorkerHandle>, Error> {
    let http = config::worker::gateway(&args.gateway, Gateway::default())?;
    let threads = threads(args.nodes.0);
    let back_ends = config::inference::of_flags(&args.inference, threads)?;
    let configs = || {
        (1..=args.nodes.0).map(|number| {
            // One address cannot be had twice.
            let http = if number == 1 { http.clone() } else { HttpConfig::default() };
            let back_ends = back_ends.clone();
            let config = worker_config(args, server, data, number);
            WorkerConfig { http, threads, back_ends, ..config }
        })
    };
    if configs().all(|config| config.data_dir.exists()) {
        return try_join_all(configs().map(|config| start_worker(server, config))).await;
    }
    // Nodes are numbered as they join: one after the other, so that names and numbers agree.
    let mut workers = Vec::new();
    for config in configs() {
        workers.push(start_worker(server, config).await?);
    }
    Ok(workers)
}

/// A node that has no identity yet is given a token.
async fn start_worker(server: &ServerHandle, config: WorkerConfig) -> Result<WorkerHandle, Error> {
    let started = match wrun_worker::start(config.clone()).await {
        Err(WorkerError::NoIdentity { .. }) => {
            let token = server.create_token(TOKEN_TTL).await;
            let join = Some(token.map_err(|error| server::explain(&error))?);
            wrun_worker::start(WorkerConfig { join, ..config }).await
        }
        started => started,
    };
    started.map_err(|error| config::worker::explain(&error))
}

/// Threads of each of so many nodes.
fn threads(nodes: u32) -> usize {
    usize::try_from(machine::cores() / nodes).unwrap_or(1).max(1)
}

/// The machine's cores and memory shared out, but a node holds a task of a whole core.
fn worker_config(args: &Dev, server: &ServerHandle, data: &Path, number: u32) -> WorkerConfig {
    let nodes = args.nodes.0;
    let address = server.local_addr().to_string();
    let mut config = WorkerConfig::new(address, data.join(format!("node-{number}")));
    let cores = machine::cores();
    config.name = format!("dev-{number}");
    config.capacity = Resources {
        cpu_milli: args.cpu.map_or((cores * 1000 / nodes).max(1000), |cpu| cpu.milli),
        memory: args.memory.map_or(machine::memory_for_tasks() / u64::from(nodes), |size| size.0),
        scratch: config.capacity.scratch,
        slots: (SLOTS / nodes).max(8),
    };
    config.grace = GRACE;
    config
}

async fn first_end(workers: &[WorkerHandle]) -> Result<(), WorkerError> {
    let ends = workers.iter().map(|worker| Box::pin(worker.ended()));
    futures_util::future::select_all(ends).await.0
}

/// Anew at each start, since the port may differ; kept with the data, found by a link.
fn write_credential(context: &Context, server: &ServerHandle, data: &Path) -> Result<Found, Error> {
    let internal = |cause: &dyn std::error::Error| Error::from_cause(Exit::Internal, cause);
    let tenant: TenantName = TENANT.parse().map_err(|cause| internal(&cause))?;
    let credential = server
        .credential(&tenant, Role::Admin, CREDENTIAL_TTL)
        .map_err(|error| server::explain(&error))?;
    let file = credential_file(data);
    credential.save(&file).map_err(|cause| Error::from_cause(Exit::Io, &cause))?;
    match credential_path(context.global.credential.as_ref()) {
        Ok(place) => place::link(&file, &place),
        Err(_) => Ok(Found::No),
    }
}

fn credential_file(data: &Path) -> PathBuf {
    data.join("credential.toml")
}

fn tell(
    context: &Context,
    workers: &[WorkerHandle],
    server: &ServerHandle,
    data: &Path,
    found: Found,
) -> Result<(), Error> {
    let console = context.console;
    let listen = server.local_addr().to_string();
    let credential = credential_file(data).display().to_string();
    if console.wants_json() {
        return console.json(&json::Ready {
            event: "ready",
            listen: Some(listen),
            node: None,
            credential: Some(credential),
            http: workers.iter().flat_map(|node| addresses(node.http_addresses())).collect(),
            https: workers.iter().flat_map(|node| addresses(node.https_addresses())).collect(),
            data: data.display().to_string(),
        });
    }
    let nodes = workers.len();
    let plural = if nodes == 1 { "node" } else { "nodes" };
    console.line(format_args!("wrun dev is ready: {nodes} {plural}, server at {listen}"))?;
    console.line(format_args!("  data        {}", data.display()))?;
    console.line(format_args!("  credential  {credential}"))?;
    workers.iter().try_for_each(|worker| tell_gateway(console, worker))?;
    match found {
        Found::Yes => console.line("  in another terminal: wrun run FILE.wasm"),
        Found::No => {
            console.line(
                "  another cluster's credential is where wrun looks, and stays; to use this one:",
            )?;
            console.line(format_args!("    export WRUN_CREDENTIAL={credential}"))
        }
    }?;
    console.line("  Ctrl-C stops it; jobs and results are kept")
}
