//! `wrun cancel`.

use wrun_protocol::wire::user::Request;

use super::{Context, Ended, change};
use crate::client::Client;
use crate::exit::Exit;
use crate::report::json;
use crate::syntax::query::Cancel;

/// Cancels each job; goes on after a refusal, and ends with the last one's code.
pub(crate) async fn cancel(context: &Context, args: &Cancel) -> Ended {
    let console = context.console;
    let client = Client::connect(context.global.credential.as_ref()).await?;
    let mut exit = Exit::Success;
    for job in &args.jobs {
        let request = match &args.task {
            None => Request::Cancel(*job),
            tasks => Request::CancelTasks { job: *job, tasks: change::task_set(tasks.as_ref()) },
        };
        let done = client.done(&request).await;
        let cancelled = done.is_ok();
        if let Err(error) = done {
            exit = error.exit();
            console.error(&error);
        } else if !console.wants_json() {
            let what = if args.task.is_some() { "these tasks of job" } else { "job" };
            let are = if args.task.is_some() { "are" } else { "is" };
            console.line(format_args!("{what} {job} {are} cancelled"))?;
        }
        if console.wants_json() {
            console.json(&json::Cancelled { job: job.0, cancelled })?;
        }
    }
    client.close().await;
    Ok(exit)
}
