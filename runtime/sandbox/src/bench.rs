//! What the sandbox costs over a raw loop of the engine, with the same pool. Run with
//! `cargo test -p wrun-sandbox --lib -- --ignored --nocapture no_op`, optimised;
//! `WRUN_BENCH_GUEST` names a component file to run in place of an empty one.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Waker};
use std::time::Instant;

use bytes::Bytes;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Store, StoreLimits, StoreLimitsBuilder};
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wrun_protocol::wire::user::LogStream;
use wrun_protocol::wire::worker::ComponentKind;
use wrun_protocol::{Digest, JobId, JobSpec};

use crate::engines::Engines;
use crate::{
    CheckpointDone, JobContext, Sandbox, SandboxConfig, TaskEnd, TaskEvents, TaskInput, TaskStart,
};

const NO_OP: &str = r#"(component
    (core module $m (memory 1) (func (export "run") (result i32) (i32.const 0)))
    (core instance $i (instantiate $m))
    (func $run (result (result)) (canon lift (core func $i "run")))
    (instance $wasi (export "run" (func $run)))
    (export "wasi:cli/run@0.2.0" (instance $wasi)))"#;
const TASKS: u64 = 100_000;
const THREADS: u64 = 2;
/// Tasks are started so many at a time, and at most four times as many are there at once.
const BATCH: u64 = 100;

struct Raw {
    wasi: WasiCtx,
    table: ResourceTable,
    limits: StoreLimits,
}

impl WasiView for Raw {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

fn guest() -> Vec<u8> {
    match std::env::var_os("WRUN_BENCH_GUEST") {
        Some(path) => std::fs::read(path).unwrap(),
        None => wat::parse_str(NO_OP).unwrap(),
    }
}

async fn raw_one(pre: &CommandPre<Raw>) {
    let mut wasi = WasiCtx::builder();
    wasi.stdout(MemoryOutputPipe::new(1024)).stderr(MemoryOutputPipe::new(1024));
    let limits = StoreLimitsBuilder::new().memory_size(128 << 20).build();
    let raw = Raw { wasi: wasi.build(), table: ResourceTable::new(), limits };
    let mut store = Store::new(pre.engine(), raw);
    store.limiter(|raw| &mut raw.limits);
    store.set_epoch_deadline(1);
    store.epoch_deadline_async_yield_and_update(1);
    let command = pre.instantiate_async(&mut store).await.unwrap();
    command.wasi_cli_run().call_run(&mut store).await.unwrap().unwrap();
}

fn raw_loop(engines: &Engines) -> f64 {
    let engine = &engines.plain.engine;
    let component = Component::new(engine, guest()).unwrap();
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
    let pre = CommandPre::new(linker.instantiate_pre(&component).unwrap()).unwrap();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..TASKS / THREADS {
                    let mut one = pin!(raw_one(&pre));
                    let mut cx = Context::from_waker(Waker::noop());
                    while one.as_mut().poll(&mut cx).is_pending() {}
                }
            });
        }
    });
    TASKS as f64 / began.elapsed().as_secs_f64()
}

#[derive(Default)]
struct Counter {
    ended: AtomicU64,
    all: Mutex<()>,
    done: Condvar,
}

impl Counter {
    fn wait(&self, ended: u64) {
        let all = self.all.lock().unwrap();
        let left = |_: &mut ()| self.ended.load(Ordering::Relaxed) < ended;
        drop(self.done.wait_while(all, left).unwrap());
    }
}

impl TaskEvents for Counter {
    fn log(&self, _: u64, _: LogStream, _: Bytes) {}
    fn progress(&self, _: u64, _: u16, _: &str) {}
    fn save_checkpoint(&self, _: u64, _: Bytes, _: CheckpointDone) {}
    fn ended(&self, _: u64, _: TaskEnd) {
        let ended = self.ended.fetch_add(1, Ordering::Relaxed) + 1;
        if ended.is_multiple_of(BATCH) {
            let _all = self.all.lock().unwrap();
            self.done.notify_all();
        }
    }
}

fn sandbox_loop(sandbox: &Sandbox, round: u64) -> f64 {
    let bytes = Bytes::from(guest());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let prepared =
        runtime.block_on(sandbox.compile(Digest([round as u8; 32]), move || Ok(bytes))).unwrap();
    let job = Arc::new(JobContext {
        job: JobId(1),
        tenant: "lab".parse().unwrap(),
        kind: ComponentKind::Command,
        count: 1,
        args: vec!["guest".to_owned()],
        env: Vec::new(),
        limits: wrun_protocol::job::TaskLimits::default(),
        resources: JobSpec::DEFAULT_RESOURCES,
        mounts: Vec::new(),
        network: Vec::new(),
    });
    let counter = Arc::new(Counter::default());
    let events: Arc<dyn TaskEvents> = counter.clone();
    let began = Instant::now();
    for token in 0..TASKS {
        if token.is_multiple_of(BATCH) {
            counter.wait((token + BATCH).saturating_sub(4 * BATCH));
        }
        let task = TaskStart {
            token,
            job: Arc::clone(&job),
            index: 0,
            attempt: 1,
            input: TaskInput::Empty,
            checkpoint: None,
            scratch: None,
        };
        sandbox.start(&prepared, task, &events).unwrap();
    }
    counter.wait(TASKS);
    TASKS as f64 / began.elapsed().as_secs_f64()
}

#[test]
#[ignore = "a measurement, not a test"]
fn no_op_tasks_a_second_against_a_raw_loop() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = SandboxConfig::new(dir.path());
    config.max_waiting = TASKS as usize;
    let engines = Engines::new(&config, &mut Vec::new()).unwrap();
    let sandbox = Sandbox::new(config).unwrap();
    for round in 0..5 {
        let raw = raw_loop(&engines);
        let ours = sandbox_loop(&sandbox, round);
        println!("raw {raw:.0}/s, sandbox {ours:.0}/s, ratio {:.2}", ours / raw);
    }
}
