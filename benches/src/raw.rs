//! The floor: two threads that make a fresh store from a pre-linked component, call, and
//! drop it, on the engine that the worker uses. Nothing is scheduled, sent or kept.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use anyhow::{Result, anyhow};
use harness::artefacts;
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentType, InstancePre, Lift, Linker, ResourceTable,
};
use wasmtime::{Engine, Store, StoreLimits, StoreLimitsBuilder};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wrun_sandbox::SandboxConfig;

const TASKS: u32 = 100_000;
const THREADS: u32 = 2;

/// The error of `wrun:task/handler`.
#[derive(ComponentType, Lift)]
#[component(record)]
struct HandlerError {
    #[component(name = "message")]
    _message: String,
    #[component(name = "retryable")]
    _retryable: bool,
}

struct State {
    wasi: WasiCtx,
    table: ResourceTable,
    limits: StoreLimits,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// A component, linked, and the function in it to call.
struct Target {
    engine: Engine,
    linked: InstancePre<State>,
    function: ComponentExportIndex,
    is_handler: bool,
}

/// Calls a second of the no-op guest `name`.
pub(crate) fn tasks_per_second(name: &str) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let engine = wrun_sandbox::plain_engine(&SandboxConfig::new(folder.path()))?;
    let bytes = std::fs::read(artefacts::guest(name))?;
    let target = Target::new(engine, &bytes).map_err(plain)?;
    target.calls(1000).map_err(plain)?;
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|_| scope.spawn(|| target.calls(TASKS / THREADS))).collect();
        threads.into_iter().try_for_each(|thread| {
            let ended = thread.join().map_err(|_| anyhow!("a thread of the raw loop panicked"))?;
            ended.map_err(plain)
        })
    })?;
    Ok(f64::from(TASKS) / begun.elapsed().as_secs_f64())
}

/// The engine's errors are of a type of its own.
fn plain(error: wasmtime::Error) -> anyhow::Error {
    anyhow!("{error:#}")
}

impl Target {
    fn new(engine: Engine, bytes: &[u8]) -> wasmtime::Result<Self> {
        let component = Component::new(&engine, bytes)?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        linker.define_unknown_imports_as_traps(&component)?;
        let export = |interface: &str, function: &str| {
            let (_, instance) = component.get_export(None, interface)?;
            component.get_export(Some(&instance), function).map(|(_, index)| index)
        };
        let handler = export("wrun:task/handler@0.1.0", "handle");
        let is_handler = handler.is_some();
        let command = || {
            let version = (0..12).map(|minor| format!("wasi:cli/run@0.2.{minor}"));
            version.into_iter().find_map(|name| export(&name, "run"))
        };
        let function = handler
            .or_else(command)
            .ok_or_else(|| wasmtime::Error::msg("the guest exports nothing to call"))?;
        let linked = linker.instantiate_pre(&component)?;
        Ok(Self { engine, linked, function, is_handler })
    }

    fn calls(&self, count: u32) -> wasmtime::Result<()> {
        for _ in 0..count {
            let mut call = pin!(self.call());
            let mut context = Context::from_waker(Waker::noop());
            loop {
                if let Poll::Ready(result) = call.as_mut().poll(&mut context) {
                    result?;
                    break;
                }
            }
        }
        Ok(())
    }

    async fn call(&self) -> wasmtime::Result<()> {
        let mut wasi = WasiCtx::builder();
        wasi.stdout(MemoryOutputPipe::new(1024)).stderr(MemoryOutputPipe::new(1024));
        let limits = StoreLimitsBuilder::new().memory_size(128 << 20).build();
        let state = State { wasi: wasi.build(), table: ResourceTable::new(), limits };
        let mut store = Store::new(&self.engine, state);
        store.limiter(|state| &mut state.limits);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        let instance = self.linked.instantiate_async(&mut store).await?;
        if self.is_handler {
            let handle = instance.get_typed_func::<(Vec<u8>,), (Result<Vec<u8>, HandlerError>,)>(
                &mut store,
                self.function,
            )?;
            let (answer,) = handle.call_async(&mut store, (Vec::new(),)).await?;
            answer.map_err(|_| wasmtime::Error::msg("the handler returned an error"))?;
        } else {
            let run =
                instance.get_typed_func::<(), (Result<(), ()>,)>(&mut store, self.function)?;
            let (answer,) = run.call_async(&mut store, ()).await?;
            answer.map_err(|()| wasmtime::Error::msg("the program failed"))?;
        }
        Ok(())
    }
}
