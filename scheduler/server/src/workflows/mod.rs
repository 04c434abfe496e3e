//! Prepares steps of workflows: gathers what a step takes of others and makes its job. What
//! is read was recorded before the step became due; after a restart the core asks again.

mod content;
mod items;
mod outcomes;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use wrun_core::workflow::{Preparation, Prepared, Producer};
use wrun_protocol::job::{EncodedSpec, Input, Mount};
use wrun_protocol::limits::{MAX_CONDITION, MAX_MOUNTED_FILES};
use wrun_protocol::task::Content;
use wrun_protocol::wire::user::{ErrorCode, RequestError};
use wrun_protocol::workflow::StepReason;
use wrun_protocol::{JobSpec, TenantName};

use crate::driver::Command;
use crate::shared::Shared;

/// Steps that are prepared at a time: each may hold an items file in memory.
const MAX_AT_ONCE: usize = 4;

/// How often what can be had later is asked for, and the first and longest pause between.
const ATTEMPTS: u32 = 10;
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(20));

/// White space around what a condition compares with.
const MAX_SPACE: usize = 4 << 10;

/// Why a step's job cannot be made.
#[derive(Debug)]
enum Hitch {
    /// Whatever is tried.
    Final(Prepared),
    /// It may be different soon.
    Passing(RequestError),
}

impl Hitch {
    fn failed(text: impl Into<String>) -> Self {
        Self::Final(Prepared::Failed(StepReason::Unprepared(text.into())))
    }
}

impl From<RequestError> for Hitch {
    fn from(error: RequestError) -> Self {
        match error.code {
            ErrorCode::Unavailable | ErrorCode::StorageFull | ErrorCode::Internal => {
                Self::Passing(error)
            }
            _ => Self::failed(error.message),
        }
    }
}

impl From<crate::blobs::BlobError> for Hitch {
    fn from(error: crate::blobs::BlobError) -> Self {
        RequestError::from(error).into()
    }
}

/// Prepares what is due, until nobody asks any more.
pub(crate) async fn serve(shared: Arc<Shared>, mut due: mpsc::UnboundedReceiver<Box<Preparation>>) {
    let places = Arc::new(Semaphore::new(MAX_AT_ONCE));
    let mut under_way = JoinSet::new();
    while let Some(preparation) = due.recv().await {
        while under_way.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let shared = Arc::clone(&shared);
        under_way.spawn(async move {
            let prepared = prepare(&shared, &preparation).await;
            let Preparation { workflow, index: step, .. } = *preparation;
            // A server that stops leaves it to the next one.
            let _ = shared.driver.send(Command::Prepared { workflow, step, prepared }).await;
            drop(place);
        });
    }
}

/// Tries again while that can help.
async fn prepare(shared: &Shared, of: &Preparation) -> Prepared {
    let mut pause = PAUSE.0;
    for _ in 1..ATTEMPTS {
        match make(shared, of).await {
            Ok(spec) => return Prepared::Job(spec),
            Err(Hitch::Final(prepared)) => return prepared,
            Err(Hitch::Passing(error)) => {
                tracing::warn!(workflow = %of.workflow, step = of.step.name, %error, "a step waits");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
    match make(shared, of).await {
        Ok(spec) => Prepared::Job(spec),
        Err(Hitch::Final(prepared)) => prepared,
        Err(Hitch::Passing(error)) => Prepared::Failed(StepReason::Unprepared(error.message)),
    }
}

async fn make(shared: &Shared, of: &Preparation) -> Result<EncodedSpec, Hitch> {
    // What a view has seen is in the history: so is every output of the steps before.
    shared.driver.view(|_| ()).await?;
    let (tenant, step) = (&of.tenant, &of.step);
    check_condition(shared, of).await?;
    let mut spec: JobSpec = step.job.decode().map_err(|error| Hitch::failed(error.to_string()))?;
    spec.name.clone_from(&of.name);
    if let Some(source) = step.input {
        spec.input = Input::Content(sole_output(shared, tenant, producer(of, source)?).await?);
    }
    if let Some(for_each) = step.for_each {
        let source = producer(of, for_each.step())?;
        let (count, items) = items::of(shared, tenant, for_each, source).await?;
        spec.count = count;
        spec.input = Input::Each(items);
    }
    if let Some(outcomes) = &of.outcomes {
        spec.mounts.push(outcomes::mount(shared, of, outcomes).await?);
    }
    for mount in &step.mounts {
        let source = producer(of, mount.step)?;
        add_mounts(shared, tenant, source, &mount.path, &mut spec.mounts).await?;
    }
    EncodedSpec::encode(&spec).map_err(|error| Hitch::failed(error.to_string()))
}

fn producer(of: &Preparation, index: u16) -> Result<&Producer, Hitch> {
    of.producer(index).ok_or_else(|| Hitch::failed(format!("there is no step number {index}")))
}

/// Ends in a skip where the condition does not hold.
async fn check_condition(shared: &Shared, of: &Preparation) -> Result<(), Hitch> {
    let Some(condition) = &of.step.only_if else { return Ok(()) };
    let source = producer(of, condition.step)?;
    let output = sole_output(shared, &of.tenant, source).await?;
    let most = (MAX_CONDITION + MAX_SPACE) as u64;
    // What is longer than anything it could be compared with is not equal to it.
    let equal = output.size() <= most && {
        let bytes = content::read(shared, &of.tenant, &output, most).await?;
        bytes.trim_ascii() == condition.text.as_bytes().trim_ascii()
    };
    if equal == condition.equals {
        return Ok(());
    }
    Err(Hitch::Final(Prepared::Skip(StepReason::Condition(source.name.clone()))))
}

/// The output of a step of one task.
async fn sole_output(
    shared: &Shared,
    tenant: &TenantName,
    of: &Producer,
) -> Result<Content, Hitch> {
    let output = content::of_task(shared, tenant, of, 0).await?;
    output.ok_or_else(|| Hitch::failed(format!("`{}` gave no output", of.name)))
}

/// Mounts what a step gave: nothing of tasks that did not succeed.
async fn add_mounts(
    shared: &Shared,
    tenant: &TenantName,
    of: &Producer,
    path: &str,
    mounts: &mut Vec<Mount>,
) -> Result<(), Hitch> {
    for index in 0..of.tasks {
        if mounts.len() >= MAX_MOUNTED_FILES {
            let text = format!(
                "mounts: `{}` has {} tasks, and a job mounts at most {MAX_MOUNTED_FILES} files: gather them in several steps",
                of.name, of.tasks
            );
            return Err(Hitch::failed(text));
        }
        let Some(output) = content::of_task(shared, tenant, of, index).await? else { continue };
        let path = if of.many { format!("{path}/{index}") } else { path.to_owned() };
        let (digest, size) = content::as_blob(shared, tenant, output).await?;
        mounts.push(Mount { path, digest, size });
    }
    Ok(())
}
