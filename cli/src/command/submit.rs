//! `wrun submit`: the id at once, and nothing more.

use super::{Context, Ended};
use crate::client::{Client, submit as submission};
use crate::exit::Exit;
use crate::plan::{self, Plan};
use crate::report::json;
use crate::syntax::work::Submit;
use crate::workflowfile;

/// Prints the job's id once the job is durable.
pub(crate) async fn submit(context: &Context, args: &Submit) -> Ended {
    let credential = context.global.credential.as_ref();
    let (mut client, id);
    if let Some(workflow) = workflowfile::of_work(&args.work)? {
        client = Client::connect(credential).await?;
        id = submission::submit_workflow(&mut client, context.console, &workflow).await?;
    } else {
        let job = plan::load(Plan::of(&args.work)?, false)?;
        client = Client::connect(credential).await?;
        id = submission::submit(&mut client, context.console, &job).await?;
    }
    if context.console.wants_json() {
        context.console.json(&json::Submitted { job: id.0 })?;
    } else {
        context.console.line(id)?;
    }
    client.close().await;
    Ok(Exit::Success)
}
