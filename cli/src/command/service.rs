//! `wrun service`: one service on a page; and commands that change one at once.

use std::collections::BTreeMap;

use wrun_protocol::wire::service::{GatewayRow, ScaleTo, Scaling, ServiceDetail, ServiceRow};
use wrun_protocol::wire::user::{Request, Response};
use wrun_protocol::wire::worker::ComponentKind;
use wrun_protocol::{NodeId, Timestamp};

use super::{Context, Ended};
use crate::client::{self, Client, unexpected};
use crate::console::Console;
use crate::error::Error;
use crate::exit::Exit;
use crate::report::table::{Listing, clean};
use crate::report::{human, json, service as words};
use crate::syntax::service::{Named, Scale, Service, Undeploy};

/// Addresses that are shown at most, beside how many more there are.
const URLS_SHOWN: usize = 8;

/// What nodes are called.
type Names = BTreeMap<NodeId, String>;

/// Shows one service.
pub(crate) async fn service(context: &Context, args: &Service) -> Ended {
    let client = Client::connect(context.global.credential.as_ref()).await?;
    let detail = client::service::detail(&client, &args.named.of()).await?;
    let gateways = client::service::gateways(&client).await?;
    let names = names(&client).await?;
    client.close().await;
    let console = context.console;
    let urls = words::urls(&detail.row.routes, &gateways);
    if console.wants_json() {
        return page(console, &detail, urls);
    }
    let now = human::now();
    console.line(head(&detail, &urls, now))?;
    tell_revisions(console, &detail, now)?;
    if !detail.replicas.is_empty() {
        console.line("")?;
        console.line(replicas(console, &detail, &names, now))?;
    }
    if !detail.events.is_empty() {
        console.line("")?;
        let mut listing = Listing::new(console, &["WHEN", "WHAT"]);
        for event in &detail.events {
            listing.row([human::ago(event.at, now), words::happened(&event.what)]);
        }
        console.line(listing.text())?;
    }
    Ok(Exit::Success)
}

/// How far its rollout is.
pub(super) async fn show_rollout(
    context: &Context,
    client: &Client,
    detail: &ServiceDetail,
) -> Ended {
    let console = context.console;
    if console.wants_json() {
        let gateways = client::service::gateways(client).await?;
        return page(console, detail, words::urls(&detail.row.routes, &gateways));
    }
    let (name, now) = (&detail.row.id.name, human::now());
    match &detail.rollout {
        Some(rollout) => console.line(format_args!("{name}: {}", words::rollout(rollout, now)))?,
        None => {
            let (revision, state) = (detail.row.revision, words::state(detail.row.state));
            console.line(format_args!("{name}: no rollout; revision {revision} is {state}"))?;
        }
    }
    tell_revisions(console, detail, now)?;
    if let Some(todo) = words::without_place(detail) {
        console.note(todo);
    }
    Ok(Exit::Success)
}

/// Has another number of replicas.
pub(crate) async fn scale(context: &Context, args: &Scale) -> Ended {
    let client = Client::connect(context.global.credential.as_ref()).await?;
    let service = args.named.of();
    let to = match args.replicas {
        Some(count) => ScaleTo::Replicas(count.0),
        None if args.auto => ScaleTo::Specified,
        None => {
            let now = client::service::detail(&client, &service).await?.scaling;
            bounds(&now, args.min.map(|min| min.0), args.max.map(|max| max.0))
        }
    };
    client.done(&Request::Scale { service: service.clone(), to }).await?;
    let scaling = client::service::detail(&client, &service).await?.scaling;
    client.close().await;
    let text = format!("{}: {}", args.named.service, words::scaling(&scaling));
    tell_change(context, &args.named, "scaled", &text)
}

/// Bounds, of which one that was not said gives way to the one that was.
fn bounds(now: &Scaling, min: Option<u32>, max: Option<u32>) -> ScaleTo {
    let lower = min.unwrap_or_else(|| max.map_or(now.min, |max| max.min(now.min)));
    ScaleTo::Bounds { min: lower, max: max.unwrap_or_else(|| now.max.max(lower)) }
}

/// Takes a service down.
pub(crate) async fn undeploy(context: &Context, args: &Undeploy) -> Ended {
    let client = Client::connect(context.global.credential.as_ref()).await?;
    client.done(&Request::Undeploy(args.named.of())).await?;
    client.close().await;
    let text = format!("{} is taken down", args.named.service);
    tell_change(context, &args.named, "undeployed", &text)
}

/// That something was changed.
pub(super) fn tell_change(
    context: &Context,
    named: &Named,
    service_state: &'static str,
    text: &str,
) -> Ended {
    if context.console.wants_json() {
        let service = named.service.to_string();
        context.console.json(&json::ServiceChange { service, service_state })?;
    } else {
        context.console.line(text)?;
    }
    Ok(Exit::Success)
}

/// Where it is reached, a line for each address.
pub(super) fn tell_urls(
    console: Console,
    row: &ServiceRow,
    urls: &[String],
    gateways: &[GatewayRow],
) -> Result<(), Error> {
    for url in urls.iter().take(URLS_SHOWN) {
        console.line(format_args!("  {url}"))?;
    }
    if urls.len() > URLS_SHOWN {
        let more = urls.len() - URLS_SHOWN;
        console.note(format_args!("  and {more} more: see `wrun service {} --json`", row.id.name));
    }
    if gateways.is_empty() && !row.routes.is_empty() {
        console.note("  no node takes requests: start a worker with --http ADDR");
    }
    Ok(())
}

fn page(console: Console, detail: &ServiceDetail, urls: Vec<String>) -> Ended {
    let is_http = detail.row.kind == ComponentKind::Http;
    let internal_url = is_http.then(|| words::internal_url(&detail.row.id));
    console.json(&json::ServicePage::of(detail, urls, internal_url))?;
    Ok(Exit::Success)
}

async fn names(client: &Client) -> Result<Names, Error> {
    match client.ask(&Request::Nodes).await? {
        Response::Nodes(nodes) => {
            Ok(nodes.into_iter().map(|node| (node.id, node.info.name)).collect())
        }
        other => Err(unexpected(&other)),
    }
}

/// A line for each thing that there is to say.
fn head(detail: &ServiceDetail, urls: &[String], now: Timestamp) -> String {
    let row = &detail.row;
    let deployed = format!("{} ({})", human::date(row.deployed), human::ago(row.deployed, now));
    let mut lines = vec![
        ("service", row.id.name.to_string()),
        ("state", words::state(row.state).to_owned()),
        ("tenant", row.id.tenant.to_string()),
        ("kind", words::kind(row.kind).to_owned()),
        ("revision", format!("{}, deployed {deployed}", row.revision)),
        ("replicas", format!("{} of {} ready", row.ready, row.wanted)),
        ("scaling", words::scaling(&detail.scaling)),
    ];
    lines.extend(detail.rollout.as_ref().map(|of| ("rollout", words::rollout(of, now))));
    lines.extend(detail.load.as_ref().map(|of| ("load", words::load(of))));
    if row.kind == ComponentKind::Http {
        let routes: Vec<String> = row.routes.iter().map(ToString::to_string).collect();
        let none = "none: only other services reach it".to_owned();
        let routes = if routes.is_empty() { none } else { routes.join(", ") };
        lines.push(("routes", routes));
        for (place, url) in urls.iter().take(URLS_SHOWN).enumerate() {
            lines.push((if place == 0 { "reached at" } else { "" }, url.clone()));
        }
        let name = words::internal_url(&row.id);
        lines.push(("by name", format!("{name} from services of {}", row.id.tenant)));
    }
    let text: Vec<String> =
        lines.iter().map(|(name, value)| format!("{name:<11}{}", clean(value).trim())).collect();
    text.join("\n")
}

fn tell_revisions(console: Console, detail: &ServiceDetail, now: Timestamp) -> Result<(), Error> {
    if detail.revisions.is_empty() {
        return Ok(());
    }
    let columns =
        [">REVISION", ">JOB", ">REQUESTS", ">READY", "DEPLOYED", "EACH REPLICA", "COMPONENT"];
    let mut listing = Listing::new(console, &columns);
    for of in &detail.revisions {
        listing.row([
            of.revision.to_string(),
            of.job.to_string(),
            format!("{}%", of.percent),
            format!("{}/{}", of.ready, of.wanted),
            human::ago(of.deployed, now),
            of.resources.to_string(),
            of.component.to_string().chars().take(12).collect(),
        ]);
    }
    console.line("")?;
    console.line(listing.text())
}

fn replicas(console: Console, detail: &ServiceDetail, names: &Names, now: Timestamp) -> String {
    let columns = ["REPLICA", "STATE", "NODE", ">ATTEMPT", ">FAILURES", "NOTE"];
    let mut listing = Listing::new(console, &columns);
    for of in &detail.replicas {
        let node = of.node.map(|node| match names.get(&node) {
            Some(name) => name.clone(),
            None => node.to_string(),
        });
        listing.row([
            format!("{}/{}", of.revision, of.index),
            words::replica_state(of.state).to_owned(),
            node.unwrap_or_else(|| "-".to_owned()),
            of.attempt.to_string(),
            of.failures.to_string(),
            words::replica_note(of, now),
        ]);
    }
    listing.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_that_is_not_said_gives_way() {
        let now = Scaling { min: 2, max: 5, on: None, overridden: false };
        let of = |min, max| match bounds(&now, min, max) {
            ScaleTo::Bounds { min, max } => (min, max),
            other => panic!("{other:?}"),
        };
        assert_eq!(of(Some(3), None), (3, 5));
        assert_eq!(of(Some(9), None), (9, 9));
        assert_eq!(of(None, Some(8)), (2, 8));
        assert_eq!(of(None, Some(1)), (1, 1));
        assert_eq!(of(Some(9), Some(1)), (9, 1), "what was said is the server's to refuse");
    }
}
