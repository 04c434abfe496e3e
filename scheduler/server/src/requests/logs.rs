//! The log of a task: from its worker while it runs, from the record when it has ended,
//! and from one to the other without a gap or a repetition.

use std::sync::Arc;
use std::time::Duration;

use wrun_net::SendStream;
use wrun_protocol::wire::user::{ErrorCode, RequestError, Response, TaskCounts, TaskState};
use wrun_protocol::{NodeId, TaskId};

use super::live::{LiveEnd, LogSink, StdinSource, pass_on};
use super::recorded::{self, LogReader, RecordedTask};
use super::{Failure, refused, workflows};
use crate::authorise::{Caller, no_such_job};
use crate::driver::stopping;
use crate::shared::Shared;
use crate::watchers::Watcher;

/// A log that is not followed ends when its worker has had nothing more for this long.
const QUIET: Duration = Duration::from_millis(150);

/// First and longest pause before a worker is asked again for an attempt that it has not
/// started; a change of the job cuts it short.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));

/// Where a task's log is.
pub(super) enum Place {
    /// Nowhere yet.
    Waiting,
    /// On a node.
    On { node: NodeId, attempt: u32 },
    /// In the history.
    Ended(Box<RecordedTask>),
}

pub(super) async fn on_logs(
    shared: &Arc<Shared>,
    caller: &Caller,
    task: TaskId,
    follow: bool,
    send: &mut SendStream,
) -> Result<(), Failure> {
    let mut watcher = shared.watchers.watch(task.job);
    let tenant = shared.visible(caller, task.job).await?;
    let mut sink = LogSink::new(send);
    if follow {
        follow_to_end(shared, &tenant, task, &mut watcher, &mut sink, None).await?;
    } else {
        show(shared, &tenant, task, &mut sink).await?;
    }
    Ok(sink.send.send(&Response::Done).await?)
}

/// Shows what there is now.
async fn show(
    shared: &Shared,
    tenant: &wrun_protocol::TenantName,
    task: TaskId,
    sink: &mut LogSink<'_>,
) -> Result<(), Failure> {
    if let Place::On { node, attempt } = locate(shared, task).await? {
        sink.begin(attempt);
        pass_on(shared, node, task, sink, None, Some(QUIET)).await?;
    }
    // It may have ended meanwhile, or wait after an attempt that has a log.
    if let Some(ended) = recorded::task(shared, task).await? {
        replay(shared, tenant, &ended, sink).await?;
    }
    Ok(())
}

/// Shows the log of every attempt from the present one on, until the task ends.
pub(super) async fn follow_to_end(
    shared: &Shared,
    tenant: &wrun_protocol::TenantName,
    task: TaskId,
    watcher: &mut Watcher,
    sink: &mut LogSink<'_>,
    mut stdin: Option<&mut StdinSource<'_>>,
) -> Result<(), Failure> {
    let mut pause = ASK_AGAIN.0;
    loop {
        let alive = match locate(shared, task).await? {
            Place::Ended(ended) => return replay(shared, tenant, &ended, sink).await,
            Place::Waiting => {
                catch_up(shared, tenant, task, sink).await?;
                wait(watcher, sink, None).await?
            }
            Place::On { node, attempt } => {
                if sink.is_behind(attempt) {
                    catch_up(shared, tenant, task, sink).await?;
                }
                let begun = sink.begin(attempt);
                let end = pass_on(shared, node, task, sink, stdin.as_deref_mut(), None).await?;
                if end == LiveEnd::Ended && begun {
                    pause = ASK_AGAIN.0;
                }
                let longest = pause;
                pause = (pause * 2).min(ASK_AGAIN.1);
                wait(watcher, sink, Some(longest)).await?
            }
        };
        if !alive {
            return Err(stopping().into());
        }
    }
}

async fn wait(
    watcher: &mut Watcher,
    sink: &mut LogSink<'_>,
    longest: Option<Duration>,
) -> Result<bool, Failure> {
    let change = async {
        match longest {
            Some(longest) => watcher.changed_within(longest).await,
            None => watcher.changed().await,
        }
    };
    tokio::select! {
        alive = change => Ok(alive),
        _ = sink.send.stopped() => Err(Failure::Gone),
    }
}

/// Shows the rest of the attempt that ended last: a short one is over before its worker
/// can be asked for its log.
async fn catch_up(
    shared: &Shared,
    tenant: &wrun_protocol::TenantName,
    task: TaskId,
    sink: &mut LogSink<'_>,
) -> Result<(), Failure> {
    match recorded::task(shared, task).await? {
        Some(ended) => replay(shared, tenant, &ended, sink).await,
        None => Ok(()),
    }
}

async fn replay(
    shared: &Shared,
    tenant: &wrun_protocol::TenantName,
    ended: &RecordedTask,
    sink: &mut LogSink<'_>,
) -> Result<(), Failure> {
    let Some(log) = &ended.log else { return Ok(()) };
    if !sink.begin(ended.detail.attempts) {
        return Ok(());
    }
    let mut reader = LogReader::open(&shared.blobs, tenant, log);
    while let Some(chunk) = reader.next().await? {
        sink.chunk(chunk).await?;
    }
    Ok(())
}

/// Where the task is, as far as is durable.
pub(super) async fn locate(shared: &Shared, task: TaskId) -> Result<Place, RequestError> {
    let (live, location) = shared
        .driver
        .view(move |core| {
            (core.job_summary(task.job).map(|job| job.tasks), core.task_location(task))
        })
        .await?;
    if let Some((node, attempt, TaskState::Assigned | TaskState::Running)) = location {
        return Ok(Place::On { node, attempt });
    }
    let found = recorded::task(shared, task).await?;
    let ran = found.is_some();
    if let Some(found) = found.filter(|found| is_over(found.detail.state)) {
        return Ok(Place::Ended(Box::new(found)));
    }
    match live {
        // A replica that sleeps is not among its job's tasks.
        Some(_) if ran => Ok(Place::Waiting),
        Some(tasks) => {
            check_index(task, count(&tasks))?;
            Ok(Place::Waiting)
        }
        None => match recorded::job(shared, task.job).await? {
            Some(job) => {
                check_index(task, count(&job.summary.tasks))?;
                Err(refused(
                    ErrorCode::NotFound,
                    format!("nothing is kept of task {task} any more"),
                ))
            }
            None => Err(workflows::unless(shared, task.job, no_such_job(task.job)).await?),
        },
    }
}

fn count(tasks: &TaskCounts) -> u32 {
    tasks.pending + tasks.running + tasks.succeeded + tasks.failed + tasks.cancelled
}

fn check_index(task: TaskId, count: u32) -> Result<(), RequestError> {
    if task.index < count {
        return Ok(());
    }
    let text = format!("job {} has {count} tasks; there is no task {}", task.job, task.index);
    Err(refused(ErrorCode::NotFound, text))
}

pub(super) fn is_over(state: TaskState) -> bool {
    matches!(state, TaskState::Succeeded | TaskState::Failed | TaskState::Cancelled)
}
