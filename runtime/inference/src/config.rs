//! What an engine is given by its operator, a model by who pushed it, and the limits.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wrun_protocol::model::{self, ModelSpec};

use crate::device::Card;

/// How an engine works. [`Config::default`] suits a small node.
#[derive(Clone, Debug)]
pub struct Config {
    /// Threads on which models run in this process.
    pub threads: usize,
    /// Threads on which models load, apart from those, so that a slow load delays nobody.
    pub loaders: usize,
    /// Bytes that all loaded models may take together, as their back ends account for them.
    pub model_memory: u64,
    /// The back ends, in the order in which they are tried.
    pub back_ends: Vec<BackEndConfig>,
    /// The cards that the node lends to tasks. Where it lends any, a model is on a card only for
    /// who was given that card; where it lends none, for whoever asks, on the card that the
    /// library takes.
    pub cards: Vec<Card>,
    /// Most rows in a batch where the model's options do not say.
    pub max_batch: u32,
    /// How long a request waits for company where the model's options do not say. A lone
    /// request to an idle model never does.
    pub max_delay: Duration,
    /// The bounds.
    pub limits: Limits,
}

/// A back end and its settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BackEndConfig {
    /// tract: CPU, ONNX. A model is tried out in a process of its own, and runs in this one where
    /// what it takes is known beforehand, else there.
    Tract,
    /// tract in this process, whatever a model does to it.
    TractHere,
    /// ONNX Runtime, in a process of its own.
    OnnxRuntime(OnnxRuntimeConfig),
}

/// Where ONNX Runtime is and what it runs on. A provider that cannot be had when the engine
/// starts is left out from then on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnnxRuntimeConfig {
    /// The library; `None`: in the usual places.
    pub library: Option<PathBuf>,
    /// What is tried for each model, in this order.
    pub providers: Vec<Provider>,
    /// Threads on which it computes one run.
    pub threads: usize,
}

/// An execution provider of ONNX Runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Provider {
    /// The processor.
    Cpu,
    /// NVIDIA's CUDA.
    Cuda,
    /// NVIDIA's TensorRT.
    TensorRt,
    /// WebGPU.
    WebGpu,
}

/// What is bounded, each with a typed refusal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of a model's file.
    pub model_bytes: u64,
    /// Bytes of a model that a guest brings itself.
    pub own_model_bytes: u64,
    /// Nodes of a model's graph, those of its subgraphs included.
    pub nodes: usize,
    /// Bytes of one tensor: given by a guest, declared by a model, or made while it runs.
    pub tensor_bytes: u64,
    /// Bytes of the inputs of one request, and of its outputs.
    pub request_bytes: u64,
    /// Bytes of all that one run of a model makes on its way, as far as the shapes tell.
    pub run_bytes: u64,
    /// Requests that wait for one model.
    pub waiting: usize,
    /// Of these, requests of one tenant: so that none fills the queue alone.
    pub waiting_per_tenant: usize,
    /// Bytes of the inputs of all requests that wait or run on this node.
    pub waiting_bytes: u64,
    /// Loads that wait for a loader.
    pub loads: usize,
    /// Of these, loads of one tenant.
    pub loads_per_tenant: usize,
    /// How long a load may take before those who wait for it are told so.
    pub load_time: Duration,
    /// How long a request may take, from its queueing on, where it has no nearer deadline.
    pub run_time: Duration,
}

/// How a model is encoded. Only ONNX can be loaded; the others are named so that a refusal can
/// name them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// An ONNX file.
    Onnx,
    /// OpenVINO.
    OpenVino,
    /// TensorFlow.
    TensorFlow,
    /// PyTorch.
    PyTorch,
    /// TensorFlow Lite.
    TensorFlowLite,
    /// GGML or GGUF.
    Ggml,
    /// As the bytes say.
    #[default]
    Autodetect,
}

/// On what a model shall run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Target {
    /// Whatever the first back end has that can run it.
    #[default]
    Any,
    /// The processor.
    Cpu,
    /// A graphics card, or not at all.
    Gpu,
    /// A tensor processor, or not at all.
    Tpu,
}

/// How a model is loaded, as who pushed it decided. With others it is another model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ModelOptions {
    /// The encoding of its bytes.
    pub encoding: Encoding,
    /// On what it shall run.
    pub target: Target,
    /// Most rows in a batch; `None`: the engine's default.
    pub max_batch: Option<u32>,
    /// How long a request waits for company; `None`: the engine's default.
    pub max_delay: Option<Duration>,
    /// Whether requests may be merged, and along which axes.
    pub axes: BatchAxes,
}

/// Along which axis of each tensor requests are merged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum BatchAxes {
    /// Found and proven at load, by comparing merged runs with single ones.
    #[default]
    Prove,
    /// As stated here, which is what an earlier proof gave, or who pushed the model knows.
    Declared(TensorAxes),
    /// Each request runs alone.
    Never,
}

/// The batch axis of each tensor, by name. Who knows names alone may give all of them for both
/// sides: those of the other side are of no account. An input that is not named is not merged: only
/// requests that give the very same bytes for it go together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TensorAxes {
    /// Of the inputs.
    pub inputs: BTreeMap<String, usize>,
    /// Of the outputs: every one, since each must be split again.
    pub outputs: BTreeMap<String, usize>,
}

/// As whoever pushed the model decided.
impl From<&ModelSpec> for ModelOptions {
    fn from(spec: &ModelSpec) -> Self {
        Self {
            encoding: match spec.encoding {
                model::Encoding::Onnx => Encoding::Onnx,
            },
            target: match spec.target {
                model::Target::Any => Target::Any,
                model::Target::Cpu => Target::Cpu,
                model::Target::Gpu => Target::Gpu,
            },
            max_batch: Some(spec.max_batch),
            max_delay: Some(Duration::from_millis(spec.max_delay_ms.into())),
            axes: axes(spec),
        }
    }
}

/// Which side a tensor is on the model says.
fn axes(spec: &ModelSpec) -> BatchAxes {
    if spec.batch_axes.is_empty() {
        return BatchAxes::Prove;
    }
    let named = spec.batch_axes.iter().map(|(name, axis)| (name.clone(), *axis as usize));
    let inputs: BTreeMap<_, _> = named.collect();
    BatchAxes::Declared(TensorAxes { outputs: inputs.clone(), inputs })
}

impl Default for Config {
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            loaders: 1,
            model_memory: 2 << 30,
            // A program that is no worker may not be called as a child.
            back_ends: vec![BackEndConfig::TractHere],
            cards: Vec::new(),
            max_batch: 32,
            max_delay: Duration::from_millis(2),
            limits: Limits::default(),
        }
    }
}

impl Provider {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::TensorRt, Self::Cuda, Self::WebGpu, Self::Cpu];

    /// As settings and messages call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::TensorRt => "tensorrt",
            Self::WebGpu => "webgpu",
        }
    }

    /// Whether it is what a model shall run on.
    pub(crate) fn is(self, target: Target) -> bool {
        match target {
            Target::Any => true,
            Target::Cpu => self == Self::Cpu,
            Target::Gpu => self != Self::Cpu,
            Target::Tpu => false,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            model_bytes: 1 << 30,
            own_model_bytes: 64 << 20,
            nodes: 50_000,
            tensor_bytes: 256 << 20,
            request_bytes: 256 << 20,
            run_bytes: 1 << 30,
            waiting: 1024,
            waiting_per_tenant: 256,
            waiting_bytes: 512 << 20,
            loads: 64,
            loads_per_tenant: 16,
            load_time: Duration::from_secs(120),
            run_time: Duration::from_secs(60),
        }
    }
}
