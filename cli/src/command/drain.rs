//! `wrun drain` and `wrun forget`: taking nodes out of service.

use wrun_protocol::wire::user::Request;

use super::{Context, Ended};
use crate::client::Client;
use crate::exit::Exit;
use crate::report::json;
use crate::syntax::cluster::{Drain, Forget};

/// Drains a node, or takes it back.
pub(crate) async fn drain(context: &Context, args: &Drain) -> Ended {
    let request = Request::Drain { node: args.node.clone(), drain: !args.undo };
    let (state, said) = if args.undo {
        ("ready", "takes tasks again")
    } else {
        ("draining", "finishes what it has and takes nothing new")
    };
    change(context, &request, &args.node, state, said).await
}

/// Removes a lost node.
pub(crate) async fn forget(context: &Context, args: &Forget) -> Ended {
    let request = Request::RemoveNode(args.node.clone());
    change(context, &request, &args.node, "forgotten", "is forgotten").await
}

async fn change(
    context: &Context,
    request: &Request,
    node: &str,
    state: &'static str,
    said: &str,
) -> Ended {
    let client = Client::connect(context.global.credential.as_ref()).await?;
    client.done(request).await?;
    client.close().await;
    if context.console.wants_json() {
        context.console.json(&json::NodeChange { node: node.to_owned(), state })?;
    } else {
        context.console.line(format_args!("node {node} {said}"))?;
    }
    Ok(Exit::Success)
}
