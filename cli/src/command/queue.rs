//! `wrun queue` and `wrun explain`: the order as the core sees it, and why a job waits.

use wrun_protocol::Timestamp;
use wrun_protocol::wire::policy::{Explanation, QueueRow};
use wrun_protocol::wire::user::{Request, Response};

use super::{Context, Ended};
use crate::client::{Client, unexpected};
use crate::exit::Exit;
use crate::report::table::{Listing, clean};
use crate::report::{human, json};
use crate::syntax::policy::{Explain, Queue};

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

/// Explains why a job waits.
pub(crate) async fn explain(context: &Context, args: &Explain) -> Ended {
    let console = context.console;
    let client = Client::connect(context.global.credential.as_ref()).await?;
    let explanation = match client.ask(&Request::Explain(args.job)).await? {
        Response::Explanation(explanation) => explanation,
        other => return Err(unexpected(&other)),
    };
    client.close().await;
    if console.wants_json() {
        console.json(&json::Explanation::from(explanation.as_ref()))?;
    } else {
        console.line(text(&explanation, human::now()))?;
    }
    Ok(Exit::Success)
}

fn text(of: &Explanation, now: Timestamp) -> String {
    if of.waiting == 0 {
        return format!("job {}: no task waits", of.job);
    }
    let place = match of.position {
        Some(place) => format!(", place {place} in the queue"),
        None => String::new(),
    };
    let tasks = if of.waiting == 1 { "task waits" } else { "tasks wait" };
    let mut lines = vec![format!("job {}: {} {tasks}{place}", of.job, of.waiting)];
    for reason in &of.reasons {
        let nodes = match reason.nodes {
            Some(1) => " (1 node)".to_owned(),
            Some(nodes) => format!(" ({nodes} nodes)"),
            None => String::new(),
        };
        lines.push(format!("  - {}{nodes}", clean(&reason.text)));
    }
    if let Some(expected) = &of.expected {
        let when = human::until(expected.at, now);
        let date = human::date(expected.at);
        lines.push(format!("expected   {when} ({date}), {}", clean(&expected.assumption)));
    }
    lines.extend(of.advice.iter().map(|advice| format!("advice     {}", clean(advice))));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use wrun_protocol::JobId;
    use wrun_protocol::wire::policy::{Expectation, ReasonRow};

    use super::*;

    #[test]
    fn an_explanation_says_what_when_and_what_helps() {
        let row = |text: &str, nodes| ReasonRow { code: "c".into(), text: text.into(), nodes };
        let of = Explanation {
            job: JobId(7),
            waiting: 2,
            position: Some(3),
            reasons: vec![row("full", Some(2)), row("held", None)],
            expected: Some(Expectation {
                at: Timestamp(3_600_000),
                assumption: "if time limits are used up".into(),
            }),
            advice: vec!["ask for less memory".into()],
        };
        assert_eq!(
            text(&of, Timestamp(0)),
            "job 7: 2 tasks wait, place 3 in the queue\n  - full (2 nodes)\n  - held\n\
             expected   in 1h (1970-01-01 01:00:00 UTC), if time limits are used up\n\
             advice     ask for less memory"
        );
    }
}
