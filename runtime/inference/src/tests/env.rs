//! An engine whose back end does what the test says, when the test says so.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use wrun_protocol::{Digest, TenantName};

use super::models;
use crate::back_end::{BackEnd, Graph, RunError, Stop};
use crate::config::{Config, Limits, ModelOptions, Target};
use crate::device::Device;
use crate::engine::{Engine, ModelKey};
use crate::error::LoadError;
use crate::model::{Call, Compute, Model};
use crate::onnx::Outline;
use crate::tensor::{ElementType, NamedTensor, Tensor};

/// A gate at which threads of the engine wait until a test lets them through.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<(usize, usize)>,
    changed: Condvar,
}

impl Gate {
    /// Waits to be let through.
    pub(super) fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        self.changed.notify_all();
        while state.1 == 0 {
            state = self.changed.wait(state).unwrap();
        }
        state.0 -= 1;
        state.1 -= 1;
    }

    /// Waits until so many are at the gate.
    pub(super) fn wait_for(&self, waiting: usize) {
        let mut state = self.state.lock().unwrap();
        while state.0 < waiting {
            state = self.changed.wait(state).unwrap();
        }
    }

    /// Lets so many through, who may still have to come.
    pub(super) fn let_through(&self, count: usize) {
        self.state.lock().unwrap().1 += count;
        self.changed.notify_all();
    }
}

pub(super) type Behaviour =
    dyn Fn(Vec<Tensor>, &Stop) -> Result<Vec<Tensor>, RunError> + Send + Sync;

/// A back end that counts its loads and runs everything by one function.
pub(super) struct Directed {
    pub(super) loads: AtomicUsize,
    pub(super) load_gate: Option<Arc<Gate>>,
    pub(super) bytes: u64,
    pub(super) device: Device,
    /// Whether it lacks what every model needs.
    pub(super) refuses: AtomicBool,
    pub(super) behaviour: Arc<Behaviour>,
}

struct DirectedGraph {
    bytes: u64,
    behaviour: Arc<Behaviour>,
}

impl Directed {
    pub(super) fn new(
        behaviour: impl Fn(Vec<Tensor>, &Stop) -> Result<Vec<Tensor>, RunError> + Send + Sync + 'static,
    ) -> Self {
        let behaviour = Arc::new(behaviour);
        Self {
            loads: AtomicUsize::new(0),
            load_gate: None,
            bytes: 1000,
            device: Device::Processor,
            refuses: AtomicBool::new(false),
            behaviour,
        }
    }

    /// The same on that device.
    pub(super) fn on(device: Device) -> Arc<Self> {
        Arc::new(Self { device, ..Self::echo() })
    }

    /// Gives its input as its output.
    pub(super) fn echo() -> Self {
        Self::new(|inputs, _| Ok(inputs))
    }
}

impl BackEnd for Directed {
    fn name(&self) -> &'static str {
        "directed"
    }

    fn device(&self) -> Device {
        self.device
    }

    fn has(&self, target: Target) -> bool {
        let own = if self.device == Device::Processor { Target::Cpu } else { Target::Gpu };
        [Target::Any, own].contains(&target)
    }

    fn load(
        &self,
        _: &Bytes,
        _: &Outline,
        _: Target,
        _: &Limits,
    ) -> Result<Arc<dyn Graph>, LoadError> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        if let Some(gate) = &self.load_gate {
            gate.pass();
        }
        if self.refuses.load(Ordering::SeqCst) {
            let problem = "it will not".to_owned();
            return Err(LoadError::Failed { back_end: "directed", problem });
        }
        let behaviour = Arc::clone(&self.behaviour);
        Ok(Arc::new(DirectedGraph { bytes: self.bytes, behaviour }))
    }
}

impl Graph for DirectedGraph {
    fn device(&self) -> String {
        "test".to_owned()
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn run(&self, inputs: Vec<Tensor>, stop: &Stop) -> Result<Vec<Tensor>, RunError> {
        (self.behaviour)(inputs, stop)
    }
}

pub(super) fn config() -> Config {
    Config { threads: 1, max_delay: std::time::Duration::ZERO, ..Config::default() }
}

pub(super) fn engine(config: Config, back_end: Arc<Directed>) -> Engine {
    Engine::with(config, vec![back_end]).unwrap()
}

pub(super) fn tenant(name: &str) -> TenantName {
    name.parse().unwrap()
}

pub(super) fn key(number: u8, options: &ModelOptions) -> ModelKey {
    let (owner, options) = (tenant("owner"), options.clone());
    ModelKey { owner, digest: Digest([number; 32]), options }
}

pub(super) fn call(name: &str) -> Call {
    Call { tenant: tenant(name), weight: 1, deadline: None }
}

/// Loads a model by its number.
pub(super) fn load(engine: &Engine, number: u8, file: Vec<u8>) -> Result<Model, LoadError> {
    load_with(engine, number, file, &ModelOptions::default())
}

pub(super) fn load_with(
    engine: &Engine,
    number: u8,
    file: Vec<u8>,
    options: &ModelOptions,
) -> Result<Model, LoadError> {
    let fetch = move || Ok(Bytes::from(file));
    wait(engine.load(&tenant("a"), &format!("model-{number}"), &key(number, options), &[], fetch))
}

/// The file of `models::relu`, loaded.
pub(super) fn relu(engine: &Engine) -> Model {
    load(engine, 1, models::relu()).unwrap()
}

/// Waits for a future on this thread.
pub(super) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// The answer, if it is there.
pub(super) fn poll(compute: &mut Compute) -> Option<<Compute as Future>::Output> {
    match pin!(compute).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outputs) => Some(outputs),
        Poll::Pending => None,
    }
}

pub(super) fn floats(dimensions: &[u32], values: &[f32]) -> Tensor {
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor::new(dimensions, ElementType::Fp32, data)
}

/// Rows of two floats, named `x`.
pub(super) fn x(values: &[f32]) -> Vec<NamedTensor> {
    vec![("x".to_owned(), floats(&[values.len() as u32 / 2, 2], values))]
}

/// The floats of the first output.
pub(super) fn values(outputs: &[NamedTensor]) -> Vec<f32> {
    let (numbers, _) = outputs[0].1.data().as_chunks::<4>();
    numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}
