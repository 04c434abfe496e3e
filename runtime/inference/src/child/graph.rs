//! A back end in a child, as a back end like any other. A child that failed is started when it
//! is needed next, and has each model loaded again when that is run.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::message::{Loaded, Refusal, Request, Response, place, take};
use super::process::{Command, Process, ProcessError};
use crate::back_end::{BackEnd, Graph, RunError, Sizes, Stop};
use crate::config::{BackEndConfig, Limits, Provider, Target};
use crate::device::Device;
use crate::error::LoadError;
use crate::onnx::Outline;
use crate::tensor::Tensor;

/// How long a child may take to see that a run is not wanted any more; then it is killed.
const GRACE: Duration = Duration::from_millis(500);

/// A back end in a process of its own.
pub(crate) struct InChild {
    shared: Arc<Shared>,
    name: &'static str,
    device: Device,
}

struct Shared {
    command: Command,
    config: BackEndConfig,
    limits: Limits,
    running: Mutex<Running>,
    /// Models that are not used any more, to be forgotten by the child. Apart, since whoever
    /// drops a model must not wait for a run.
    dropped: Mutex<Vec<u64>>,
    models: AtomicU64,
}

/// The child, if there is one, and which models it has.
#[derive(Default)]
struct Running {
    process: Option<Process>,
    loaded: Vec<u64>,
}

pub(super) struct GraphInChild {
    shared: Arc<Shared>,
    model: u64,
    /// To load it again. The bytes are held in this process too for that.
    file: Bytes,
    target: Target,
    pub(super) about: Loaded,
}

impl InChild {
    pub(crate) fn new(
        name: &'static str,
        device: Device,
        command: Command,
        config: BackEndConfig,
        limits: &Limits,
    ) -> Self {
        let running = Mutex::default();
        let models = AtomicU64::new(0);
        let dropped = Mutex::default();
        let limits = limits.clone();
        let shared = Arc::new(Shared { command, config, limits, running, dropped, models });
        Self { shared, name, device }
    }

    /// Loads a model in the child, which is started if there is none.
    pub(super) fn load_there(
        &self,
        file: &Bytes,
        target: Target,
        limits: &Limits,
    ) -> Result<GraphInChild, LoadError> {
        let failed = |error: ProcessError| LoadError::Failed {
            back_end: self.name,
            problem: error.to_string(),
        };
        let model = self.shared.models.fetch_add(1, Ordering::Relaxed);
        let until = Instant::now() + limits.load_time;
        let mut running = self.shared.running();
        let loaded =
            running.load(&self.shared, model, (file, target), &mut || Instant::now() < until);
        let about = loaded.map_err(failed)?.map_err(|refusal| refusal.error(self.name))?;
        drop(running);
        let (shared, file) = (Arc::clone(&self.shared), file.clone());
        Ok(GraphInChild { shared, model, file, target, about })
    }
}

impl BackEnd for InChild {
    fn name(&self) -> &'static str {
        self.name
    }

    fn device(&self) -> Device {
        self.device
    }

    fn is_alone(&self) -> bool {
        true
    }

    fn has(&self, target: Target) -> bool {
        match &self.shared.config {
            BackEndConfig::Tract | BackEndConfig::TractHere => Provider::Cpu.is(target),
            BackEndConfig::OnnxRuntime(runtime) => {
                runtime.providers.iter().any(|provider| provider.is(target))
            }
        }
    }

    fn load(
        &self,
        file: &Bytes,
        _: &Outline,
        target: Target,
        limits: &Limits,
    ) -> Result<Arc<dyn Graph>, LoadError> {
        Ok(Arc::new(self.load_there(file, target, limits)?))
    }
}

impl Graph for GraphInChild {
    fn device(&self) -> String {
        self.about.device.clone()
    }

    fn bytes(&self) -> u64 {
        self.about.bytes
    }

    fn bytes_beside(&self) -> u64 {
        self.file.len() as u64
    }

    fn is_bounded(&self) -> bool {
        self.about.is_bounded
    }

    fn prepares_each_size(&self) -> bool {
        self.about.prepares_each_size
    }

    fn at_once(&self) -> usize {
        1
    }

    fn run(&self, inputs: Vec<Tensor>, stop: &Stop) -> Result<Vec<Tensor>, RunError> {
        self.ask(stop, |running, go_on| running.run(&self.shared, self.model, &inputs, go_on))
    }

    fn prepare(&self, sizes: &Sizes, stop: &Stop) -> Result<bool, RunError> {
        let request = Request::Prepare { model: self.model, sizes: sizes.clone() };
        self.ask(stop, |running, go_on| running.prepare(&self.shared, &request, go_on))
    }
}

fn failed(error: ProcessError) -> RunError {
    RunError::Failed(error.to_string())
}

impl GraphInChild {
    /// Asks the child for something, for as long as that is wanted; it has the model by then.
    fn ask<R>(
        &self,
        stop: &Stop,
        what: impl FnOnce(
            &mut Running,
            &mut dyn FnMut() -> bool,
        ) -> Result<Result<R, RunError>, ProcessError>,
    ) -> Result<R, RunError> {
        let mut stopped = None;
        let mut go_on = || {
            if stop.is_set() {
                stopped.get_or_insert_with(Instant::now);
            }
            stopped.is_none_or(|since: Instant| since.elapsed() < GRACE)
        };
        let mut running = self.shared.running();
        if stop.is_set() {
            return Err(RunError::Stopped);
        }
        let answer = self
            .load_again(&mut running, &mut go_on)
            .and_then(|()| what(&mut running, &mut go_on).map_err(failed)?);
        if stop.is_set() { Err(RunError::Stopped) } else { answer }
    }

    /// Loads it, if the child has been started since.
    fn load_again(
        &self,
        running: &mut Running,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<(), RunError> {
        if running.loaded.contains(&self.model) {
            return Ok(());
        }
        let loaded = running.load(&self.shared, self.model, (&self.file, self.target), go_on);
        let refused =
            |refusal: Refusal| RunError::Failed(refusal.error("the back end").to_string());
        loaded.map_err(failed)?.map_err(refused).map(drop)
    }

    /// Ends the child, until it is needed again.
    pub(super) fn rest(&self) {
        let mut running = self.shared.running();
        running.process = None;
        running.loaded.clear();
    }

    /// The same model in a child of its own, which loads it when it runs it first.
    pub(super) fn elsewhere(&self) -> Self {
        let Shared { command, config, limits, .. } = &*self.shared;
        let shared = Shared {
            command: command.clone(),
            config: config.clone(),
            limits: limits.clone(),
            running: Mutex::default(),
            dropped: Mutex::default(),
            models: AtomicU64::new(0),
        };
        let (file, about) = (self.file.clone(), self.about.clone());
        Self { shared: Arc::new(shared), model: 0, file, target: self.target, about }
    }
}

impl Drop for GraphInChild {
    fn drop(&mut self) {
        self.shared.dropped.lock().unwrap_or_else(PoisonError::into_inner).push(self.model);
    }
}

type Loading = Result<Loaded, Refusal>;

impl Running {
    /// The child, started if there is none, and rid of what is not used any more.
    fn process(
        &mut self,
        shared: &Shared,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<&mut Process, ProcessError> {
        let process = match self.process.take() {
            Some(process) => process,
            None => {
                self.loaded.clear();
                Process::start(&shared.command, &shared.config, &shared.limits, &mut *go_on)?
            }
        };
        let process = self.process.insert(process);
        let dropped =
            std::mem::take(&mut *shared.dropped.lock().unwrap_or_else(PoisonError::into_inner));
        for model in dropped {
            let known = self.loaded.iter().position(|loaded| *loaded == model);
            if let Some(known) = known {
                self.loaded.swap_remove(known);
                match process.ask(&Request::Unload { model }, &mut *go_on)? {
                    Response::Unloaded => {}
                    other => return Err(process.confused(&other)),
                }
            }
        }
        Ok(process)
    }

    fn load(
        &mut self,
        shared: &Shared,
        model: u64,
        (file, target): (&Bytes, Target),
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Loading, ProcessError> {
        let loaded = self.attempt(|running| {
            let process = running.process(shared, &mut *go_on)?;
            process.region().write(0, file)?;
            let request = Request::Load { model, length: file.len() as u64, target };
            match process.ask(&request, &mut *go_on)? {
                Response::Loaded(loaded) => Ok(loaded),
                other => Err(process.confused(&other)),
            }
        })?;
        if loaded.is_ok() {
            self.loaded.push(model);
        }
        Ok(loaded)
    }

    fn run(
        &mut self,
        shared: &Shared,
        model: u64,
        inputs: &[Tensor],
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Result<Vec<Tensor>, RunError>, ProcessError> {
        self.attempt(|running| {
            let process = running.process(shared, &mut *go_on)?;
            let inputs = place(process.region(), inputs)?;
            match process.ask(&Request::Run { model, inputs }, &mut *go_on)? {
                Response::Ran(Ok(placed)) => {
                    let outputs = take(process.region(), placed, shared.limits.run_bytes)?;
                    process.region().trim()?;
                    Ok(Ok(outputs))
                }
                Response::Ran(Err(error)) => Ok(Err(error)),
                other => Err(process.confused(&other)),
            }
        })
    }

    fn prepare(
        &mut self,
        shared: &Shared,
        request: &Request,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Result<bool, RunError>, ProcessError> {
        self.attempt(|running| {
            let process = running.process(shared, &mut *go_on)?;
            match process.ask(request, &mut *go_on)? {
                Response::Prepared(prepared) => Ok(prepared),
                other => Err(process.confused(&other)),
            }
        })
    }

    /// Does something with the child. If it fails the child is killed: whatever state it is
    /// in, the next one begins anew.
    fn attempt<R>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<R, ProcessError>,
    ) -> Result<R, ProcessError> {
        let result = work(self);
        if let Err(error) = &result {
            tracing::warn!(%error, "the process of a back end is given up");
            self.process = None;
            self.loaded.clear();
        }
        result
    }
}

impl Shared {
    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
