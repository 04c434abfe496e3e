//! A back end of this process whose models are not trusted: they can end the process that loads or
//! runs them, with all that it does for others. So a model is loaded in a child first. Where that
//! went well, what its runs take is known before each, and its operators are plain ones, it is loaded
//! here: it does here what it did there. One that is prepared for each size apart is prepared there
//! first, each time. Any other stays where it is, in a child that has no other model.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use bytes::Bytes;

use super::graph::{GraphInChild, InChild};
use super::process::Command;
use crate::back_end::{BackEnd, Graph, RunError, Sizes, Stop};
use crate::config::{BackEndConfig, Limits, Target};
use crate::device::Device;
use crate::error::LoadError;
use crate::onnx::{Operator, Outline};
use crate::tensor::Tensor;

/// Most children of one model: so many runs of it go on at once. The first is started with the
/// model, each other when those before it are busy.
const CHILDREN: usize = 4;

/// Operators of which, by what they compute, nothing in between is larger than what goes in and comes
/// out but tensors, and which make the same each time. `Resize` has a buffer in between, pooling lists
/// its window, random numbers may differ between the child and here: models with these, or with any
/// other, stay apart.
const PLAIN: &[&str] = &[
    "Abs",
    "Add",
    "And",
    "ArgMax",
    "ArgMin",
    "Cast",
    "Ceil",
    "Clip",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "Cos",
    "Div",
    "Equal",
    "Erf",
    "Exp",
    "Expand",
    "Flatten",
    "Floor",
    "Gather",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Greater",
    "GreaterOrEqual",
    "HardSigmoid",
    "Identity",
    "LayerNormalization",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "Log",
    "LogSoftmax",
    "MatMul",
    "Max",
    "Min",
    "Mul",
    "Neg",
    "Not",
    "Or",
    "Pad",
    "Pow",
    "Reciprocal",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Round",
    "Shape",
    "Sigmoid",
    "Sign",
    "Sin",
    "Slice",
    "Softmax",
    "Softplus",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Sum",
    "Tanh",
    "Transpose",
    "Unsqueeze",
    "Where",
];

/// What a child takes beside its model. Measured with a model of a few nodes: 10 MB of its own, and
/// what it has of the program, which all share.
const CHILD: u64 = 16 << 20;

/// See the module.
pub(crate) struct TriedOut {
    here: Arc<dyn BackEnd>,
    command: Command,
    /// What is started in the child.
    config: BackEndConfig,
    limits: Limits,
}

/// A model that stays in children of its own.
struct Apart {
    children: Vec<GraphInChild>,
    /// Those that do nothing, the one last used at the end.
    free: Mutex<Vec<usize>>,
}

/// Sizes of which it is remembered whether what they take is known.
const KNOWN: usize = 256;

/// A model that is prepared for each size apart, where constants are folded anew: what was tried out
/// in the child runs here.
struct BySize {
    here: Arc<dyn Graph>,
    there: GraphInChild,
    /// Sizes that were prepared there, and whether what a run of them takes is known.
    known: Mutex<HashMap<Sizes, bool>>,
    /// Held by who finds that out of one more.
    preparing: Mutex<()>,
}

/// How often who waits for that looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(5);

impl TriedOut {
    pub(crate) fn new(
        here: Arc<dyn BackEnd>,
        command: Command,
        config: BackEndConfig,
        limits: &Limits,
    ) -> Self {
        Self { here, command, config, limits: limits.clone() }
    }
}

impl BackEnd for TriedOut {
    fn name(&self) -> &'static str {
        self.here.name()
    }

    fn version(&self) -> Option<String> {
        self.here.version()
    }

    fn has(&self, target: Target) -> bool {
        self.here.has(target)
    }

    fn load(
        &self,
        file: &Bytes,
        outline: &Outline,
        target: Target,
        limits: &Limits,
    ) -> Result<Arc<dyn Graph>, LoadError> {
        let (command, config) = (self.command.clone(), self.config.clone());
        let child = InChild::new(self.name(), Device::Processor, command, config, &self.limits);
        let tried = child.load_there(file, target, limits)?;
        let known = |operator: &Operator| {
            operator.domain.is_empty() && PLAIN.contains(&operator.name.as_str())
        };
        let is_plain = outline.operators.iter().all(known);
        if !is_plain || !tried.is_bounded() && !tried.prepares_each_size() {
            return Ok(Arc::new(Apart::new(tried)));
        }
        tried.rest();
        let here = self.here.load(file, outline, target, limits)?;
        if tried.is_bounded() {
            return Ok(here);
        }
        let (known, preparing) = Default::default();
        Ok(Arc::new(BySize { here, there: tried, known, preparing }))
    }
}

impl Apart {
    fn new(first: GraphInChild) -> Self {
        let children = std::thread::available_parallelism().map_or(1, usize::from).min(CHILDREN);
        let others: Vec<_> = (1..children).map(|_| first.elsewhere()).collect();
        let children: Vec<_> = std::iter::once(first).chain(others).collect();
        let free = Mutex::new((0..children.len()).rev().collect());
        Self { children, free }
    }

    fn first(&self) -> Option<&GraphInChild> {
        self.children.first()
    }

    fn free(&self) -> MutexGuard<'_, Vec<usize>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Graph for Apart {
    fn device(&self) -> String {
        let device = self.first().map(Graph::device).unwrap_or_default();
        format!("{device}, apart")
    }

    fn bytes(&self) -> u64 {
        self.children.iter().map(|child| child.bytes().saturating_add(CHILD)).sum()
    }

    fn bytes_beside(&self) -> u64 {
        self.first().map_or(0, Graph::bytes_beside)
    }

    fn at_once(&self) -> usize {
        self.children.len()
    }

    fn is_bounded(&self) -> bool {
        false
    }

    fn prepares_each_size(&self) -> bool {
        self.first().is_some_and(Graph::prepares_each_size)
    }

    fn run(&self, inputs: Vec<Tensor>, stop: &Stop) -> Result<Vec<Tensor>, RunError> {
        let free = self.free().pop();
        // Where none is free somebody runs it who is not in the queue's count: one waits.
        let Some(child) = self.children.get(free.unwrap_or(0)) else {
            return Err(RunError::Failed("it has no process".to_owned()));
        };
        let outputs = child.run(inputs, stop);
        self.free().extend(free);
        outputs
    }
}

impl BySize {
    fn known(&self) -> MutexGuard<'_, HashMap<Sizes, bool>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what a run of these sizes takes is known; it is found out in the child.
    fn is_known(&self, sizes: Sizes, stop: &Stop) -> Result<bool, RunError> {
        if let Some(known) = self.known().get(&sizes) {
            return Ok(*known);
        }
        // It is found out once; who waits for that looks whether it is still wanted.
        let _preparing = loop {
            match self.preparing.try_lock() {
                Ok(preparing) => break preparing,
                Err(TryLockError::Poisoned(poisoned)) => break poisoned.into_inner(),
                Err(TryLockError::WouldBlock) if stop.is_set() => return Err(RunError::Stopped),
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK),
            }
        };
        if let Some(known) = self.known().get(&sizes) {
            return Ok(*known);
        }
        let found = self.there.prepare(&sizes, stop)?;
        if found {
            self.there.rest();
        }
        let mut known = self.known();
        if known.len() >= KNOWN {
            known.clear();
        }
        known.insert(sizes, found);
        Ok(found)
    }
}

impl Graph for BySize {
    fn device(&self) -> String {
        self.here.device()
    }

    fn bytes(&self) -> u64 {
        self.here.bytes().saturating_add(self.there.bytes()).saturating_add(CHILD)
    }

    fn bytes_beside(&self) -> u64 {
        self.there.bytes_beside()
    }

    fn is_bounded(&self) -> bool {
        false
    }

    fn prepares_each_size(&self) -> bool {
        true
    }

    fn run(&self, inputs: Vec<Tensor>, stop: &Stop) -> Result<Vec<Tensor>, RunError> {
        let sizes = inputs.iter().map(|tensor| (tensor.element(), tensor.dimensions().into()));
        match self.is_known(sizes.collect(), stop)? {
            true => self.here.run(inputs, stop),
            false => self.there.run(inputs, stop),
        }
    }
}
