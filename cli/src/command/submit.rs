//! `wrun submit`: the id at once, and nothing more.

use super::{Context, Ended};
use crate::client::{Client, submit as submission};
use crate::exit::Exit;
use crate::plan::{self, Plan};
use crate::report::json;
use crate::syntax::work::Submit;

/// Prints the job's id once the job is durable.
pub(crate) async fn submit(context: &Context, args: &Submit) -> Ended {
    let job = plan::load(Plan::of(&args.work)?, false)?;
    let mut client = Client::connect(context.global.credential.as_ref()).await?;
    let id = submission::submit(&mut client, context.console, &job).await?;
    if context.console.wants_json() {
        context.console.json(&json::Submitted { job: id.0 })?;
    } else {
        context.console.line(id)?;
    }
    client.close().await;
    Ok(Exit::Success)
}
