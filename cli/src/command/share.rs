//! `wrun share`: the tree of tenants with shares, usage and the factor that follows.

use wrun_protocol::wire::policy::ShareRow;
use wrun_protocol::wire::user::{Request, Response};

use super::{Context, Ended};
use crate::client::{Client, unexpected};
use crate::exit::Exit;
use crate::report::json;
use crate::report::table::Listing;

/// Shows the tenants.
pub(crate) async fn share(context: &Context) -> Ended {
    let console = context.console;
    let client = Client::connect(context.global.credential.as_ref()).await?;
    let rows = match client.ask(&Request::Shares).await? {
        Response::Shares(rows) => rows,
        other => return Err(unexpected(&other)),
    };
    client.close().await;
    if console.wants_json() {
        console.json(&json::Shares { tenants: rows.iter().map(Into::into).collect() })?;
        return Ok(Exit::Success);
    }
    if rows.is_empty() {
        console.note("no tenant has submitted anything, and the policy names none");
        return Ok(Exit::Success);
    }
    let columns = ["TENANT", ">SHARES", ">SHARE", ">CHARGED", ">OF ALL", ">FACTOR", ">CPU", ">GPU"];
    let mut listing = Listing::new(console, &columns);
    rows.iter().for_each(|of| listing.row(row(of)));
    console.line(listing.text())?;
    Ok(Exit::Success)
}

fn row(of: &ShareRow) -> [String; 8] {
    let hours = |milli_ms: u128| format!("{:.2} h", milli_ms as f64 / 3.6e9);
    let percent = |millionths: u32| format!("{:.1} %", f64::from(millionths) / 1e4);
    [
        format!("{}{}", "  ".repeat(of.depth as usize), of.tenant),
        of.shares.to_string(),
        percent(of.share),
        format!("{:.1}", of.usage as f64 / 1000.0),
        percent(of.usage_part),
        format!("{:.3}", f64::from(of.factor) / 1e6),
        hours(of.cpu_milli_ms),
        hours(of.gpu_milli_ms),
    ]
}
