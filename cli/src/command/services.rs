//! `wrun services`: the listing.

use wrun_protocol::wire::service::ServiceRow;

use super::{Context, Ended};
use crate::client::{self, Client};
use crate::exit::Exit;
use crate::report::table::Listing;
use crate::report::{human, json, service as words};
use crate::syntax::service::Services;

/// Lists services in order of name.
pub(crate) async fn services(context: &Context, args: &Services) -> Ended {
    let console = context.console;
    let client = Client::connect(context.global.credential.as_ref()).await?;
    let rows = client::service::list(&client, args.all).await?;
    client.close().await;
    if console.wants_json() {
        console.json(&json::Services { services: rows.iter().map(Into::into).collect() })?;
        return Ok(Exit::Success);
    }
    if rows.is_empty() {
        console.note("no services");
        return Ok(Exit::Success);
    }
    let columns = ["NAME", "KIND", "STATE", ">REVISION", ">READY", "ROUTES", "DEPLOYED"];
    let now = human::now();
    let rows = rows.iter().map(|row| (row.id.tenant.to_string(), cells(row, now)));
    console.line(Listing::by_tenant(console, &columns, args.all, rows))?;
    Ok(Exit::Success)
}

fn cells(row: &ServiceRow, now: wrun_protocol::Timestamp) -> Vec<String> {
    let routes: Vec<String> = row.routes.iter().map(ToString::to_string).collect();
    vec![
        row.id.name.to_string(),
        words::kind(row.kind).to_owned(),
        words::state(row.state).to_owned(),
        row.revision.to_string(),
        format!("{}/{}", row.ready, row.wanted),
        if routes.is_empty() { "-".to_owned() } else { routes.join(" ") },
        human::ago(row.deployed, now),
    ]
}
