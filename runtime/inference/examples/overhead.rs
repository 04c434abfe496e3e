//! What the engine's queue costs over calling tract directly, and how much of the gain of a
//! batch it gets. `cargo run --release -p wrun-inference --example overhead`; with the
//! library of ONNX Runtime as an argument (and the feature `ort`), what a child costs.
//!
//! Both sides compute the same model from the same bytes, in turns, so that what else the
//! machine does hits both.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "it measures, or it ends")]

#[expect(dead_code, reason = "the encoder is shared with the tests")]
#[path = "../tests/support/onnx.rs"]
mod onnx_file;

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use onnx_file::Dim::{Fixed, Named};
use onnx_file::{Attribute, FLOAT, Graph};
use tract_onnx::prelude::*;
use wrun_inference::{
    BackEndConfig, ElementType, Fenced, Limits, OnnxRuntimeConfig, Provider, child,
};
use wrun_inference::{BatchAxes, Call, Config, Engine, Model, ModelOptions, Tensor as Given};

#[global_allocator]
static ALLOCATOR: Fenced<std::alloc::System> = Fenced(std::alloc::System);

type Plan = std::sync::Arc<TypedRunnableModel>;

/// A model, the width of its rows, and its name.
struct Case {
    name: &'static str,
    file: Vec<u8>,
    width: usize,
}

fn dims(width: usize) -> [onnx_file::Dim; 2] {
    [Named("n"), Fixed(width as i64)]
}

fn trivial() -> Case {
    let graph = Graph::default().input("x", FLOAT, &dims(2)).output("y", FLOAT, &dims(2));
    Case { name: "trivial", file: graph.node("Relu", &["x"], &["y"]).model(), width: 2 }
}

/// Layers of a square matrix each: a row reads all weights, and so does a batch.
fn dense(name: &'static str, width: usize, layers: usize) -> Case {
    let weights: Vec<f32> =
        (0..width * width).map(|index| ((index * 7919) % 1000) as f32 / 1e6 - 5e-4).collect();
    let mut graph =
        Graph::default().input("x", FLOAT, &dims(width)).output("y", FLOAT, &dims(width));
    let mut from = "x".to_owned();
    for layer in 0..layers {
        let weight = format!("w{layer}");
        graph = graph.floats(&weight, &[width as i64, width as i64], &weights);
        let (product, to) = (format!("p{layer}"), format!("h{layer}"));
        let to = if layer + 1 == layers { "y".to_owned() } else { to };
        graph = graph.node("MatMul", &[&from, &weight], &[&product]);
        graph = graph.node("Relu", &[&product], &[&to]);
        from = to;
    }
    Case { name, file: graph.model(), width }
}

/// Element by element: a batch costs what its rows cost.
fn elementwise(width: usize) -> Case {
    let mut graph =
        Graph::default().input("x", FLOAT, &dims(width)).output("y", FLOAT, &dims(width));
    graph = graph.node("Erf", &["x"], &["a"]).node("Tanh", &["a"], &["b"]);
    graph = graph.node("Exp", &["b"], &["c"]);
    graph = graph.node_with("Softmax", &["c"], &["y"], vec![Attribute::Int("axis", 1)]);
    Case { name: "element by element", file: graph.model(), width }
}

fn direct(case: &Case) -> Plan {
    let model = tract_onnx::onnx().model_for_read(&mut &*case.file).unwrap();
    model.into_optimized().unwrap().into_runnable().unwrap()
}

fn rows(case: &Case, rows: usize) -> Vec<f32> {
    (0..rows * case.width).map(|index| (index % 17) as f32 / 17.0).collect()
}

fn run_direct(plan: &Plan, data: &[f32], width: usize) -> f32 {
    let tensor = Tensor::from_shape(&[data.len() / width, width], data).unwrap();
    let outputs = plan.run(tvec![tensor.into_tvalue()]).unwrap();
    outputs[0].as_bytes()[3].into()
}

fn given(data: &[f32], width: usize) -> Vec<(String, Given)> {
    let bytes: Vec<u8> = data.iter().flat_map(|value| value.to_le_bytes()).collect();
    let dimensions = [(data.len() / width) as u32, width as u32];
    vec![("x".to_owned(), Given::new(dimensions, ElementType::Fp32, bytes))]
}

fn load(engine: &Engine, case: &Case, axes: BatchAxes) -> Model {
    let options = ModelOptions { axes, ..ModelOptions::default() };
    let tenant = "bench".parse().unwrap();
    let bytes = Bytes::from(case.file.clone());
    block_on(engine.load_bytes(&tenant, case.name, &options, bytes)).unwrap()
}

fn call() -> Call {
    Call { tenant: "bench".parse().unwrap(), weight: 1, deadline: None }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// One request after the other. On a machine that does other things the best tenth says more
/// than the median: who sleeps has to wait for a processor.
fn overhead(engine: &Engine, case: &Case, times: usize, pause: Duration) {
    let (plan, model) = (direct(case), load(engine, case, BatchAxes::Never));
    let data = rows(case, 1);
    let (mut directly, mut queued) = (Vec::new(), Vec::new());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for _ in 0..times {
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
        let start = Instant::now();
        std::hint::black_box(run_direct(&plan, &data, case.width));
        directly.push(start.elapsed());
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
        let start = Instant::now();
        let inputs = given(&data, case.width);
        std::hint::black_box(runtime.block_on(model.compute(call(), inputs)).unwrap());
        queued.push(start.elapsed());
    }
    directly.sort();
    queued.sort();
    for (what, part) in [("median", 2), ("best tenth", 10)] {
        let (directly, queued) = (directly[times / part], queued[times / part]);
        let over = queued.saturating_sub(directly);
        let percent = over.as_secs_f64() / directly.as_secs_f64() * 100.0;
        println!(
            "{}, pause of {pause:?}, {what}: direct {directly:.1?}, through the queue {queued:.1?}: {over:.1?} more \
             ({percent:.2} %)",
            case.name
        );
    }
}

/// Rows a second: directly alone and in batches, and through the queue from 64 callers.
fn throughput(case: &Case, batch: usize, requests: usize) {
    let (merging, single) = (start(batch as u32), start(1));
    let (merged, alone) =
        (load(&merging, case, BatchAxes::Prove), load(&single, case, BatchAxes::Never));
    let plan = direct(case);
    let (row, together) = (rows(case, 1), rows(case, batch));
    let mut rates = [const { Vec::new() }; 4];
    for _ in 0..5 {
        rates[0].push(rate(requests, || {
            for _ in 0..requests {
                std::hint::black_box(run_direct(&plan, &row, case.width));
            }
        }));
        rates[1].push(rate(requests, || {
            for _ in 0..requests / batch {
                std::hint::black_box(run_direct(&plan, &together, case.width));
            }
        }));
        rates[2].push(rate(requests, || callers(&alone, case, &row, requests)));
        rates[3].push(rate(requests, || callers(&merged, case, &row, requests)));
    }
    let [one, many, queued_one, queued_many] = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    });
    let (gain, ours) = (many / one, queued_many / queued_one);
    println!(
        "{}, batch {batch}, rows/s: direct {one:.0} alone, {many:.0} in batches ({gain:.2}x); \
         64 callers {queued_one:.0} alone, {queued_many:.0} batched ({ours:.2}x): {:.0} % of the gain, \
         {:.0} % of the native batches' rate; mean batch {:.1}; {}",
        case.name,
        ours / gain * 100.0,
        queued_many / many * 100.0,
        merged.stats().batch_size.sum() as f64 / merged.stats().batch_size.count() as f64,
        merged.batching(),
    );
}

fn callers(model: &Model, case: &Case, row: &[f32], requests: usize) {
    const CALLERS: usize = 64;
    let inputs = given(row, case.width);
    block_on(join_all((0..CALLERS).map(|_| async {
        for _ in 0..requests / CALLERS {
            std::hint::black_box(model.compute(call(), inputs.clone()).await.unwrap());
        }
    })));
}

fn rate(requests: usize, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    requests as f64 / start.elapsed().as_secs_f64()
}

fn start(max_batch: u32) -> Engine {
    let limits = Limits { own_model_bytes: 1 << 30, ..Limits::default() };
    Engine::start(Config { threads: 1, max_batch, limits, ..Config::default() }).unwrap()
}

/// The same through a child: what the way there and back costs.
fn through_child(library: String) {
    let runtime = OnnxRuntimeConfig {
        library: Some(library.into()),
        providers: vec![Provider::Cpu],
        threads: 1,
    };
    let back_ends = vec![BackEndConfig::OnnxRuntime(runtime)];
    let engine = Engine::start(Config { threads: 1, back_ends, ..Config::default() }).unwrap();
    println!("ONNX Runtime in a child, against tract directly:");
    overhead(&engine, &trivial(), 5_000, Duration::ZERO);
}

fn main() {
    match std::env::args().nth(1) {
        Some(argument) if argument == child::ARGUMENT => {
            child::main();
            return;
        }
        Some(library) => return through_child(library),
        None => {}
    }
    let engine = start(1);
    overhead(&engine, &trivial(), 20_000, Duration::ZERO);
    // Threads that slept for long are woken more slowly, which is the system's doing.
    overhead(&engine, &trivial(), 500, Duration::from_millis(10));
    overhead(&engine, &dense("10 ms", 1024, 24), 200, Duration::ZERO);
    throughput(&trivial(), 32, 64_000);
    throughput(&dense("dense", 1024, 4), 32, 3200);
    throughput(&elementwise(20_000), 32, 3200);
}
