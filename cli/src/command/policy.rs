//! `wrun policy`: shows, checks and replaces how the cluster schedules.

use std::path::Path;

use wrun_protocol::policy::Policy;
use wrun_protocol::wire::user::{Request, Response};

use super::{Context, Ended};
use crate::client::{Client, unexpected};
use crate::exit::Exit;
use crate::policyfile;
use crate::report::json;
use crate::syntax::policy::{Policy as Args, PolicyCommand};

/// Does what the command line says.
pub(crate) async fn policy(context: &Context, args: &Args) -> Ended {
    match &args.command {
        PolicyCommand::Show => show(context).await,
        PolicyCommand::Check { file } => check(context, file),
        PolicyCommand::Set { file } => set(context, file).await,
    }
}

async fn show(context: &Context) -> Ended {
    let client = Client::connect(context.global.credential.as_ref()).await?;
    let policy: Box<Policy> = match client.ask(&Request::Policy).await? {
        Response::Policy(policy) => policy,
        other => return Err(unexpected(&other)),
    };
    client.close().await;
    let text = policyfile::show(&policy);
    if context.console.wants_json() {
        context.console.json(&json::Policy { policy: text })?;
    } else {
        context.console.line(text.trim_end())?;
    }
    Ok(Exit::Success)
}

fn check(context: &Context, file: &Path) -> Ended {
    policyfile::read(file)?;
    say(context, "valid", &format!("{} is a policy", file.display()))
}

async fn set(context: &Context, file: &Path) -> Ended {
    let policy = policyfile::read(file)?;
    let client = Client::connect(context.global.credential.as_ref()).await?;
    client.done(&Request::SetPolicy(Box::new(policy))).await?;
    client.close().await;
    say(context, "set", "the policy is set")
}

fn say(context: &Context, policy_state: &'static str, said: &str) -> Ended {
    if context.console.wants_json() {
        context.console.json(&json::PolicyChange { policy_state })?;
    } else {
        context.console.line(said)?;
    }
    Ok(Exit::Success)
}
