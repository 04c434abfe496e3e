//! `wrun nodes`.

use wrun_protocol::resources::Bytes;
use wrun_protocol::wire::user::{NodeSummary, Request, Response};

use super::{Context, Ended};
use crate::client::{Client, unexpected};
use crate::exit::Exit;
use crate::report::table::Listing;
use crate::report::{human, json};

/// Lists the nodes.
pub(crate) async fn nodes(context: &Context) -> Ended {
    let console = context.console;
    let client = Client::connect(context.global.credential.as_ref()).await?;
    let nodes = match client.ask(&Request::Nodes).await? {
        Response::Nodes(nodes) => nodes,
        other => return Err(unexpected(&other)),
    };
    client.close().await;
    if console.wants_json() {
        console.json(&json::NodeList { nodes: nodes.iter().map(json::Node::from).collect() })?;
        return Ok(Exit::Success);
    }
    if nodes.is_empty() {
        console.note("no nodes; `wrun token create` makes a token with which a machine joins");
        return Ok(Exit::Success);
    }
    let columns = ["ID", "NAME", "STATE", ">TASKS", ">CPU", ">MEMORY", "SEEN", "VERSION", "LABELS"];
    let mut listing = Listing::new(console, &columns);
    let now = human::now();
    for node in &nodes {
        listing.row(row(node, now));
    }
    console.line(listing.text())?;
    Ok(Exit::Success)
}

fn row(node: &NodeSummary, now: wrun_protocol::Timestamp) -> [String; 9] {
    let capacity = &node.info.capacity;
    let labels: Vec<String> =
        node.info.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    [
        node.id.to_string(),
        node.info.name.clone(),
        human::node_state(node.state).to_owned(),
        node.tasks.to_string(),
        format!("{}/{}", cores(node.used.cpu_milli), cores(capacity.cpu_milli)),
        format!("{}/{}", Bytes(node.used.memory), Bytes(capacity.memory)),
        if node.last_seen.0 == 0 { "never".to_owned() } else { human::ago(node.last_seen, now) },
        node.info.version.clone(),
        labels.join(","),
    ]
}

fn cores(milli: u32) -> String {
    format!("{}", f64::from(milli) / 1000.0)
}
