//! What a store holds for its guest: the host's side of every interface.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};
use wrun_protocol::wire::user::LogStream;

use crate::account::Limiter;
use crate::control::Control;
use crate::guests::Guests;
use crate::http::HttpPolicy;
use crate::network::Network;
use crate::scratch::Scratch;
use crate::stdio::{Sink, Stdin};

/// The data of a guest's store.
pub(crate) struct TaskState {
    pub(crate) control: Arc<Control>,
    pub(crate) guests: Arc<Guests>,
    pub(crate) index: u32,
    pub(crate) attempt: u32,
    pub(crate) checkpoint: Option<Bytes>,
    pub(crate) scratch: Arc<Scratch>,
    pub(crate) network: Option<Arc<Network>>,
    pub(crate) limiter: Limiter,
    pub(crate) stderr: Sink,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: HttpPolicy,
    table: ResourceTable,
}

/// Standard input as the store takes it.
pub(crate) enum Input {
    /// End of file at once.
    Empty,
    /// From memory or a channel.
    Stdin(Stdin),
    /// A file.
    File(wasmtime_wasi::cli::InputFile),
}

/// What one execution has of its own.
pub(crate) struct Own {
    pub(crate) index: u32,
    pub(crate) attempt: u32,
    pub(crate) input: Input,
    pub(crate) checkpoint: Option<Bytes>,
    pub(crate) scratch: Arc<Scratch>,
}

impl TaskState {
    pub(crate) fn new(control: &Arc<Control>, guests: Arc<Guests>, own: Own) -> Self {
        let Own { index, attempt, input, checkpoint, scratch } = own;
        let network = Network::new(&control.job.network);
        let stderr = Sink::new(control, LogStream::Stderr);
        let mut table = ResourceTable::new();
        table.set_max_capacity(control.job.limits.handles as usize);
        Self {
            control: Arc::clone(control),
            guests,
            index,
            attempt,
            checkpoint,
            scratch,
            limiter: Limiter(Arc::clone(control)),
            wasi: wasi(control, index, attempt, input, &stderr, network.as_ref()),
            stderr,
            http: WasiHttpCtx::new(),
            hooks: HttpPolicy::new(network.clone()),
            network,
            table,
        }
    }

    /// The guest's handles.
    pub(crate) fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }
}

fn wasi(
    control: &Arc<Control>,
    index: u32,
    attempt: u32,
    input: Input,
    stderr: &Sink,
    network: Option<&Arc<Network>>,
) -> WasiCtx {
    let job = &control.job;
    let mut wasi = WasiCtx::builder();
    wasi.args(&job.args)
        .envs(&job.env)
        .env("WRUN_JOB", job.job.to_string())
        .env("WRUN_TASK_INDEX", index.to_string())
        .env("WRUN_TASK_COUNT", job.count.to_string())
        .env("WRUN_ATTEMPT", attempt.to_string())
        .env("WRUN_TENANT", job.tenant.as_str())
        .initial_cwd(crate::scratch::GUEST_PATH)
        .max_random_size(1 << 20)
        .stdout(Sink::new(control, LogStream::Stdout))
        .stderr(stderr.clone());
    match input {
        Input::Empty => {}
        Input::Stdin(stdin) => {
            wasi.stdin(stdin);
        }
        Input::File(file) => {
            wasi.stdin(file);
        }
    }
    if let Some(network) = network {
        let network = Arc::clone(network);
        wasi.allow_tcp(true).allow_udp(true).allow_ip_name_lookup(true).socket_addr_check(
            move |address, reason| {
                let network = Arc::clone(&network);
                Box::pin(async move { network.allows(address, reason).await })
            },
        );
    }
    wasi.build()
}

impl WasiView for TaskState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for TaskState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}
