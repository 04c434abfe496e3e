//! A back end of this process whose models are not trusted: they can end the process that loads or
//! runs them, with all that it does for others. So a model is loaded in a child first. Where that
//! went well, and what its runs take is known before each, it is loaded here: it does here what it
//! did there. Else it stays where it is, in a child that has no other model.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::graph::{GraphInChild, InChild};
use super::process::Command;
use crate::back_end::{BackEnd, Graph, RunError, Stop};
use crate::config::{BackEndConfig, Limits, Target};
use crate::device::Device;
use crate::error::LoadError;
use crate::onnx::Outline;
use crate::tensor::Tensor;

/// Most children of one model: so many runs of it go on at once. The first is started with the
/// model, each other when those before it are busy.
const CHILDREN: usize = 4;

/// What a child takes beside its model. Measured: 9 MB after a load, of which the program's code is
/// shared.
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
        if tried.is_bounded() {
            drop((tried, child));
            return self.here.load(file, outline, target, limits);
        }
        Ok(Arc::new(Apart::new(tried)))
    }
}

impl Apart {
    fn new(first: GraphInChild) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let more = threads.min(CHILDREN).saturating_sub(1);
        let others: Vec<_> = (0..more).map(|_| first.elsewhere()).collect();
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
