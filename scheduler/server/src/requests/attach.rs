//! A client that stays with its job: the log as it is written, standard input as it is
//! typed, and at the end how the job went.

use std::sync::Arc;

use wrun_net::{RecvStream, SendStream};
use wrun_protocol::JobId;
use wrun_protocol::job::Input;
use wrun_protocol::wire::user::{ErrorCode, JobDetail, Response};

use super::live::{LogSink, StdinSource};
use super::{Failure, logs, recorded, refused, watch, workflows};
use crate::authorise::{Caller, no_such_job};
use crate::driver::stopping;
use crate::shared::Shared;

pub(super) async fn on_attach(
    shared: &Arc<Shared>,
    caller: &Caller,
    job: JobId,
    send: &mut SendStream,
    recv: &mut RecvStream,
) -> Result<(), Failure> {
    let mut watcher = shared.watchers.watch(job);
    let tenant = shared.visible(caller, job).await?;
    let takes_stdin = takes_stdin(shared, job).await?;
    let mut sink = LogSink::new(send);
    let mut stdin = StdinSource { recv, ended: false };
    let stdin = takes_stdin.then_some(&mut stdin);
    logs::follow_to_end(shared, &tenant, job.task(0), &mut watcher, &mut sink, stdin).await?;
    loop {
        let progress = watch::progress(shared, job).await?;
        if progress.state.is_terminal() {
            return Ok(sink.send.send(&Response::Progress(progress)).await?);
        }
        // The only task has ended; the job's own end is a fact or two behind.
        if !watcher.changed().await {
            return Err(stopping().into());
        }
    }
}

/// Whether the job reads from whoever is attached. Refuses what cannot be attached to.
async fn takes_stdin(shared: &Shared, job: JobId) -> Result<bool, Failure> {
    let live = shared.driver.view(move |core| core.job(job)).await?;
    let detail: JobDetail = match live {
        Some(live) => live,
        None => match recorded::job(shared, job).await? {
            Some(ended) => ended,
            None => return Err(workflows::unless(shared, job, no_such_job(job)).await?.into()),
        },
    };
    let spec = detail
        .spec
        .decode()
        .map_err(|error| refused(ErrorCode::Internal, format!("job {job}: {error}")))?;
    if spec.count != 1 {
        let text = format!(
            "job {job} has {} tasks; only a job of one task can be attached to: use `wrun logs {job} --task N -f`",
            spec.count
        );
        return Err(refused(ErrorCode::Conflict, text).into());
    }
    Ok(spec.input == Input::Attached)
}
