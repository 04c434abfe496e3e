//! `wrun nodes`.

use std::collections::BTreeMap;

use wrun_protocol::NodeId;
use wrun_protocol::card::CardState;
use wrun_protocol::inference::{BackEnd, NodeInference};
use wrun_protocol::resources::Bytes;
use wrun_protocol::scheduling::Offer;
use wrun_protocol::wire::policy::NodeDetail;
use wrun_protocol::wire::user::{NodeSummary, Request, Response};
use wrun_worker::OWN_LABELS;

use super::{Context, Ended};
use crate::client::{Client, unexpected};
use crate::console::Console;
use crate::error::Error;
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
    let inference = inference(&client).await?;
    let cards = cards(&client).await?;
    client.close().await;
    if console.wants_json() {
        let node = |node: &NodeDetail| {
            let id = &node.summary.id;
            json::Node::new(node, inference.get(id), cards.get(id).map(|cards| &**cards))
        };
        console.json(&json::NodeList { nodes: nodes.iter().map(node).collect() })?;
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
    // Back ends are told where a node has others than the one that is part of wrun.
    let back_ends = inference.values().any(|of_node| !is_usual(of_node));
    if back_ends {
        columns.extend([">MODELS", "BACK ENDS"]);
    }
    let mut listing = Listing::new(console, &columns);
    let now = human::now();
    for node in &nodes {
        let offered = devices.then(|| offered(node));
        let of_node = inference.get(&node.summary.id);
        let models = back_ends.then(|| [memory(of_node), usable(of_node)]);
        listing.row(
            row(&node.summary, now).into_iter().chain(offered).chain(models.into_iter().flatten()),
        );
    }
    console.line(listing.text())?;
    // What is found on nodes has more to tell than fits beside what it is.
    if let Some(table) = card_table(console, &nodes, &cards) {
        console.line("")?;
        console.line(table)?;
    }
    for node in &nodes {
        let of_node = inference.get(&node.summary.id);
        for problem in of_node.into_iter().flat_map(problems) {
            console.line(format_args!("{}: {problem}", node.summary.info.name))?;
        }
    }
    Ok(Exit::Success)
}

/// How the connected nodes run models.
async fn inference(client: &Client) -> Result<BTreeMap<NodeId, NodeInference>, Error> {
    let ask = |after| Request::NodeInference { after };
    let pages = by_node(client, ask, |response| match response {
        Response::NodeInference(page) => Ok(page),
        other => Err(other),
    });
    pages.await
}

/// How the cards of the connected nodes are.
async fn cards(client: &Client) -> Result<BTreeMap<NodeId, Vec<CardState>>, Error> {
    let ask = |after| Request::NodeCards { after };
    let pages = by_node(client, ask, |response| match response {
        Response::NodeCards(page) => Ok(page),
        other => Err(other),
    });
    pages.await
}

/// What is told page by page of each node. A page is as long as a frame allows.
async fn by_node<T>(
    client: &Client,
    ask: impl Fn(Option<NodeId>) -> Request,
    page: impl Fn(Response) -> Result<Vec<(NodeId, T)>, Response>,
) -> Result<BTreeMap<NodeId, T>, Error> {
    let mut all = BTreeMap::new();
    loop {
        let after = all.last_key_value().map(|(node, _)| *node);
        let page = page(client.ask(&ask(after)).await?).map_err(|other| unexpected(&other))?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

/// One line for each card, where a driver tells of any.
fn card_table(
    console: Console,
    nodes: &[NodeDetail],
    states: &BTreeMap<NodeId, Vec<CardState>>,
) -> Option<String> {
    if !states.values().flatten().any(|state| state.found) {
        return None;
    }
    let columns = ["NODE", ">CARD", "MODEL", ">MEMORY", ">TAKEN", ">GIVEN", ">BUSY", "SOURCE"];
    let mut listing = Listing::new(console, &columns);
    for node in nodes {
        let Some(states) = states.get(&node.summary.id) else { continue };
        let cards = node.offer.gpus.iter().zip(&node.gpu_used).zip(states).enumerate();
        for (place, ((gpu, used), state)) in cards {
            let unknown = || "-".to_owned();
            listing.row([
                node.summary.info.name.clone(),
                place.to_string(),
                gpu.model.clone(),
                Bytes(gpu.memory).to_string(),
                state.memory_used.map_or_else(unknown, |bytes| Bytes(bytes).to_string()),
                cores(*used),
                state.busy_milli.map_or_else(unknown, |milli| format!("{} %", milli / 10)),
                if state.found { "found" } else { "declared" }.to_owned(),
            ]);
        }
    }
    Some(listing.text())
}

fn is_usual(inference: &NodeInference) -> bool {
    inference.back_ends.iter().all(|back_end| back_end.name == "tract")
}

/// The memory that it has for models.
fn memory(inference: Option<&NodeInference>) -> String {
    inference.map_or_else(|| "-".to_owned(), |it| Bytes(it.model_memory).to_string())
}

/// `onnxruntime 1.27.0: webgpu, cpu; tract: cpu`: what can be had.
fn usable(inference: Option<&NodeInference>) -> String {
    let Some(inference) = inference else { return "-".to_owned() };
    let usable = inference.back_ends.iter().filter(|back_end| back_end.is_usable());
    let texts: Vec<String> = usable
        .map(|back_end| {
            let providers: Vec<&str> = back_end.usable().map(|it| &*it.name).collect();
            format!("{}: {}", called(back_end), providers.join(", "))
        })
        .collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join("; ") }
}

/// What was asked for and cannot be had, and why.
fn problems(inference: &NodeInference) -> Vec<String> {
    let of = |back_end: &BackEnd| {
        let name = called(back_end);
        let itself = back_end.problem.iter().map(|problem| format!("{name}: {problem}"));
        let providers = back_end.providers.iter().filter_map(|provider| {
            let problem = provider.problem.as_ref()?;
            Some(format!("{name}: {}: {problem}", provider.name))
        });
        itself.chain(providers).collect::<Vec<_>>()
    };
    inference.back_ends.iter().flat_map(of).collect()
}

fn called(back_end: &BackEnd) -> String {
    match &back_end.version {
        Some(version) => format!("{} {version}", back_end.name),
        None => back_end.name.clone(),
    }
}

fn row(node: &NodeSummary, now: wrun_protocol::Timestamp) -> [String; 9] {
    let capacity = &node.info.capacity;
    // Those that it gives itself are told of as its back ends.
    let given = node.info.labels.iter().filter(|(key, _)| !key.starts_with(OWN_LABELS));
    let labels: Vec<String> = given.map(|(key, value)| format!("{key}={value}")).collect();
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
