//! `wrun nodes`.

use wrun_protocol::resources::Bytes;
use wrun_protocol::scheduling::Offer;
use wrun_protocol::wire::policy::NodeDetail;
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
    let nodes = match client.ask(&Request::NodeDetails).await? {
        Response::NodeDetails(nodes) => nodes,
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
    let mut columns =
        vec!["ID", "NAME", "STATE", ">TASKS", ">CPU", ">MEMORY", "SEEN", "VERSION", "LABELS"];
    // Devices are told where there are any.
    let devices = nodes.iter().any(|node| node.offer != Offer::default());
    if devices {
        columns.push("DEVICES");
    }
    let mut listing = Listing::new(console, &columns);
    let now = human::now();
    for node in &nodes {
        let own = devices.then(|| offered(node));
        listing.row(row(&node.summary, now).into_iter().chain(own));
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

/// `a100 0.5/1, a100 0/1, fpga 1/2`.
fn offered(node: &NodeDetail) -> String {
    let cards = node.offer.gpus.iter().zip(&node.gpu_used);
    let cards = cards.map(|(gpu, used)| format!("{} {}/1", gpu.model, cores(*used)));
    let named = node.offer.named.iter().map(|(name, amount)| {
        let used = node.named_used.get(name).copied().unwrap_or_default();
        format!("{name} {used}/{amount}")
    });
    cards.chain(named).collect::<Vec<_>>().join(", ")
}

fn cores(milli: u32) -> String {
    format!("{}", f64::from(milli) / 1000.0)
}
