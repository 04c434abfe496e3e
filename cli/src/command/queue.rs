//! `wrun queue`: the order as the core sees it.

use wrun_protocol::Timestamp;
use wrun_protocol::wire::policy::QueueRow;
use wrun_protocol::wire::user::{Request, Response};

use super::{Context, Ended};
use crate::client::{Client, unexpected};
use crate::exit::Exit;
use crate::report::table::Listing;
use crate::report::{human, json};
use crate::syntax::policy::Queue;

/// Shows what waits, in order.
pub(crate) async fn queue(context: &Context, args: &Queue) -> Ended {
    let console = context.console;
    let client = Client::connect(context.global.credential.as_ref()).await?;
    let rows = match client.ask(&Request::Queue { limit: args.limit.0 }).await? {
        Response::Queue(rows) => rows,
        other => return Err(unexpected(&other)),
    };
    client.close().await;
    if console.wants_json() {
        console.json(&json::Queue { queue: rows.iter().map(Into::into).collect() })?;
        return Ok(Exit::Success);
    }
    if rows.is_empty() {
        console.note("nothing waits");
        return Ok(Exit::Success);
    }
    let columns = [
        "JOB",
        "NAME",
        "TENANT",
        "PARTITION",
        "QOS",
        ">WAITING",
        ">PRIORITY",
        "EXPECTED",
        "REASON",
    ];
    let mut listing = Listing::new(console, &columns);
    let now = human::now();
    rows.iter().for_each(|of| listing.row(row(of, now)));
    console.line(listing.text())?;
    Ok(Exit::Success)
}

fn row(of: &QueueRow, now: Timestamp) -> [String; 9] {
    let or_none = |name: &Option<String>| name.clone().unwrap_or_else(|| "-".to_owned());
    [
        of.job.to_string(),
        of.name.clone(),
        of.tenant.to_string(),
        or_none(&of.partition),
        or_none(&of.qos),
        of.waiting.to_string(),
        of.priority.to_string(),
        of.expected.map_or_else(|| "-".to_owned(), |at| human::until(at, now)),
        of.reason.clone(),
    ]
}
