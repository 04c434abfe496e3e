//! What a store holds for its guest: the host's side of every interface.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};
use wrun_protocol::wire::user::LogStream;

use crate::account::Limiter;
use crate::control::Control;
use crate::deterministic::{Clock, StdinFile};
use crate::gang::GangSeat;
use crate::hops::Hops;
use crate::http::HttpPolicy;
use crate::network::Network;
use crate::replica::Instance;
use crate::stdio::{Sink, Stdin};

/// The data of a guest's store.
pub(crate) struct TaskState {
    pub(crate) control: Arc<Control>,
    pub(crate) index: u32,
    pub(crate) attempt: u32,
    pub(crate) checkpoint: Option<Bytes>,
    pub(crate) network: Option<Arc<Network>>,
    pub(crate) limiter: Limiter,
    pub(crate) stderr: Sink,
    /// Its seat in its gang, once it has asked for it.
    pub(crate) seat: Option<Arc<dyn GangSeat>>,
    /// The instance of a replica that it is.
    pub(crate) instance: Option<Arc<Instance>>,
    input: Input,
    /// Made when the guest first calls what needs it: small tasks never do.
    wasi: Option<WasiCtx>,
    http: WasiHttpCtx,
    hooks: HttpPolicy,
    table: ResourceTable,
}

/// Standard input as the store takes it.
#[derive(Default)]
pub(crate) enum Input {
    /// End of file at once.
    #[default]
    Empty,
    /// From memory or a channel.
    Stdin(Stdin),
    /// A file.
    File(wasmtime_wasi::cli::InputFile),
    /// A file that a deterministic task reads.
    FileAtOnce(StdinFile),
}

/// What one execution has of its own.
pub(crate) struct Own {
    pub(crate) index: u32,
    pub(crate) attempt: u32,
    pub(crate) input: Input,
    pub(crate) checkpoint: Option<Bytes>,
}

impl TaskState {
    pub(crate) fn new(control: &Arc<Control>, own: Own) -> Self {
        let Own { index, attempt, input, checkpoint } = own;
        let network = control.batch.network.clone();
        let mut table = ResourceTable::new();
        table.set_max_capacity(control.job().limits.handles as usize);
        Self {
            control: Arc::clone(control),
            index,
            attempt,
            checkpoint,
            limiter: Limiter(Arc::clone(control)),
            stderr: Sink::new(control, LogStream::Stderr),
            seat: None,
            instance: None,
            input,
            wasi: None,
            http: WasiHttpCtx::new(),
            hooks: HttpPolicy::new(network.clone(), control.job().services.clone()),
            network,
            table,
        }
    }

    /// The guest's handles.
    pub(crate) fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }

    /// How far the requests that the guest handles have come.
    pub(crate) fn hops(&self) -> &Hops {
        &self.hooks.hops
    }

    pub(crate) fn hops_mut(&mut self) -> &mut Hops {
        &mut self.hooks.hops
    }

    /// The clock of a deterministic task.
    pub(crate) fn virtual_clock(&self) -> wasmtime::Result<Arc<Clock>> {
        let world = self.control.world().ok_or_else(|| wasmtime::Error::msg("no virtual clock"))?;
        Ok(Arc::clone(world.clock()))
    }
}

/// Arguments and environment are not in it: see [`crate::environment`].
fn wasi(
    control: &Arc<Control>,
    input: Input,
    stderr: &Sink,
    network: Option<&Arc<Network>>,
) -> WasiCtx {
    let mut wasi = WasiCtx::builder();
    wasi.max_random_size(1 << 20)
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
        Input::FileAtOnce(file) => {
            wasi.stdin(file);
        }
    }
    if let Some(world) = control.world() {
        world.furnish(&mut wasi);
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
        let ctx = self.wasi.get_or_insert_with(|| {
            let input = std::mem::take(&mut self.input);
            wasi(&self.control, input, &self.stderr, self.network.as_ref())
        });
        WasiCtxView { ctx, table: &mut self.table }
    }
}

impl WasiHttpView for TaskState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}
