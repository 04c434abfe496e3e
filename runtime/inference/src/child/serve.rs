//! A child's own side: starts the back end that it is told to, loads and runs what it is
//! given, one thing after the other, until its parent is gone.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;

use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::stdio::dup2_stdout;

use super::message::{
    Loaded, MessageError, Placed, Refusal, Request, Response, place, receive, send, take,
};
use super::region::{Region, RegionError};
use crate::back_end::{self, BackEnd, Graph, RunError, Sizes, Stop};
use crate::config::{BackEndConfig, Limits, Target};
use crate::onnx::outline;

/// What a program is that was called with [`super::ARGUMENT`].
pub fn main() -> ExitCode {
    serve(|config| back_end::start_here(config).map_err(|error| error.to_string()))
}

/// Serves with what `start` gives, until the parent is gone.
pub(crate) fn serve(
    start: impl Fn(&BackEndConfig) -> Result<Arc<dyn BackEnd>, String>,
) -> ExitCode {
    match connect().and_then(|(stream, region)| Server::default().run(stream, &region, start)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error, "the process of a back end ends");
            ExitCode::FAILURE
        }
    }
}

/// Takes the socket from standard input and the region from standard output, where what a
/// library prints goes to standard error from now on.
fn connect() -> Result<(UnixStream, Region), String> {
    let text = |error: std::io::Error| error.to_string();
    let stream = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().map_err(text)?);
    // Who calls this by hand has no socket there, and nothing is changed for him.
    stream.peer_addr().map_err(|error| format!("it is not started by a node: {error}"))?;
    // Should the parent be killed while a library hangs here.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| text(error.into()))?;
    // Where memory is short, this process is the one to go. A system without that needs nothing.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let region = std::io::stdout().as_fd().try_clone_to_owned().map_err(text)?;
    dup2_stdout(std::io::stderr()).map_err(|error| text(error.into()))?;
    Ok((stream, Region::of(region)))
}

#[derive(Default)]
struct Server {
    back_end: Option<Arc<dyn BackEnd>>,
    limits: Limits,
    models: HashMap<u64, Arc<dyn Graph>>,
}

impl Server {
    fn run(
        mut self,
        mut stream: UnixStream,
        region: &Region,
        start: impl Fn(&BackEndConfig) -> Result<Arc<dyn BackEnd>, String>,
    ) -> Result<(), String> {
        loop {
            let request = match receive(&mut stream, || true) {
                Ok(request) => request,
                // The parent is gone, or does not want it any more.
                Err(MessageError::Io(_)) => return Ok(()),
                Err(error) => return Err(error.to_string()),
            };
            let response = match request {
                Request::Start(config, limits) => {
                    self.limits = limits;
                    let started = start(&config).map(|back_end| {
                        let version = back_end.version();
                        self.back_end = Some(back_end);
                        version
                    });
                    Response::Started(started)
                }
                Request::Probe(provider) => {
                    let not_started = || Err("it is not started".to_owned());
                    let probed = self.back_end.as_ref().map(|back_end| back_end.probe(provider));
                    Response::Probed(probed.unwrap_or_else(not_started))
                }
                Request::Load { model, length, target } => {
                    Response::Loaded(self.load(region, model, length, target))
                }
                Request::Unload { model } => {
                    self.models.remove(&model);
                    Response::Unloaded
                }
                Request::Prepare { model, sizes } => {
                    Response::Prepared(self.prepare(model, &sizes))
                }
                Request::Run { model, inputs } => {
                    Response::Ran(self.compute(region, model, inputs))
                }
            };
            send(&mut stream, &response).map_err(|error| error.to_string())?;
        }
    }

    fn load(
        &mut self,
        region: &Region,
        model: u64,
        length: u64,
        target: Target,
    ) -> Result<Loaded, Refusal> {
        let back_end = self.back_end.as_ref();
        let back_end = back_end.ok_or_else(|| Refusal::Failed("it is not started".to_owned()))?;
        let bytes = region.read(0, length).map_err(|error| Refusal::Failed(error.to_string()))?;
        region.trim().map_err(|error| Refusal::Failed(error.to_string()))?;
        let outline = outline(&bytes, &self.limits).map_err(Refusal::of)?;
        let graph = back_end.load(&bytes, &outline, target, &self.limits).map_err(Refusal::of)?;
        let loaded = Loaded {
            device: graph.device(),
            bytes: graph.bytes(),
            is_bounded: graph.is_bounded(),
            prepares_each_size: graph.prepares_each_size(),
        };
        self.models.insert(model, graph);
        Ok(loaded)
    }

    fn graph(&self, model: u64) -> Result<&Arc<dyn Graph>, RunError> {
        let unknown = || RunError::Failed("it has no such model".to_owned());
        self.models.get(&model).ok_or_else(unknown)
    }

    fn prepare(&self, model: u64, sizes: &Sizes) -> Result<bool, RunError> {
        self.graph(model)?.prepare(sizes, &Stop::default())
    }

    fn compute(
        &self,
        region: &Region,
        model: u64,
        inputs: Vec<Placed>,
    ) -> Result<Vec<Placed>, RunError> {
        let failed = |error: RegionError| RunError::Failed(error.to_string());
        let graph = self.graph(model)?;
        let inputs = take(region, inputs, u64::MAX).map_err(failed)?;
        let outputs = graph.run(inputs, &Stop::default())?;
        let size = outputs.iter().map(|tensor| tensor.data().len() as u64).sum();
        let limit = self.limits.run_bytes;
        if size > limit {
            let what = "the sum of the outputs".to_owned();
            return Err(RunError::TooLarge { what, size, limit });
        }
        place(region, &outputs).map_err(failed)
    }
}
