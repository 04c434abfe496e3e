//! Trying out a back end before it is used: whether it can be started, of which version it is,
//! and on which of its providers models can be run. A provider may crash or hang its process,
//! as drivers do; the next is tried in another one.

use std::time::{Duration, Instant};

use wrun_protocol::inference::{self, BackEnd};

use super::message::{Request, Response};
use super::process::{Command, Process, ProcessError};
use crate::config::{BackEndConfig, Limits, Provider};

/// How long the library may take to load, and each provider to run a model.
const WITHIN: Duration = Duration::from_secs(30);

/// Tries it out. Whatever cannot be had is logged, and left out by who asks.
pub(crate) fn probe(
    command: &Command,
    name: &str,
    config: &BackEndConfig,
    providers: &[Provider],
    limits: &Limits,
) -> BackEnd {
    let start = || Process::start(command, config, limits, patience());
    let mut about =
        BackEnd { name: name.to_owned(), version: None, problem: None, providers: Vec::new() };
    let mut process = match start() {
        Ok(process) => Some(process),
        Err(error) => {
            let problem = told(&error);
            tracing::warn!(back_end = name, problem, "the back end cannot be used");
            about.problem = Some(problem);
            return about;
        }
    };
    about.version = process.as_ref().and_then(Process::version).and_then(inference::version);
    for provider in providers {
        let tried = match process.take() {
            Some(process) => Ok(process),
            None => start(),
        };
        let problem = match tried.and_then(|process| ask(process, *provider)) {
            Ok((answered, probed)) => {
                process = Some(answered);
                probed.err().map(|problem| inference::problem(&problem))
            }
            Err(error) => Some(told(&error)),
        };
        if let Some(problem) = &problem {
            let provider = provider.name();
            tracing::warn!(back_end = name, provider, problem, "the provider cannot be had");
        }
        about.providers.push(inference::Provider { name: provider.name().to_owned(), problem });
    }
    about
}

/// What the process says of the provider, and the process, which is still of use then.
fn ask(
    mut process: Process,
    provider: Provider,
) -> Result<(Process, Result<(), String>), ProcessError> {
    match process.ask(&Request::Probe(provider), patience())? {
        Response::Probed(probed) => Ok((process, probed)),
        other => Err(process.confused(&other)),
    }
}

fn patience() -> impl FnMut() -> bool {
    let until = Instant::now() + WITHIN;
    move || Instant::now() < until
}

fn told(error: &ProcessError) -> String {
    inference::problem(&match error {
        // It is not started again for that.
        ProcessError::Ended(how) => format!("its process {how}"),
        ProcessError::Refused(problem) => problem.clone(),
        other => other.to_string(),
    })
}
