//! `wrun queue` and `wrun explain`: the order as the core sees it, and why a job waits.

use wrun_protocol::Timestamp;
use wrun_protocol::wire::policy::{QueueRow, Why};
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
    let why = match client.ask(&Request::Why(args.job)).await? {
        Response::Why(why) => why,
        other => return Err(unexpected(&other)),
    };
    client.close().await;
    if console.wants_json() {
        console.json(&json::Explanation::from(why.as_ref()))?;
    } else {
        console.line(text(&why, human::now()))?;
    }
    Ok(Exit::Success)
}

/// A line for each thing that there is to say, under what it answers.
fn text(why: &Why, now: Timestamp) -> String {
    let of = &why.explanation;
    let tasks = match of.waiting {
        0 => "no task waits".to_owned(),
        1 => "1 task waits".to_owned(),
        tasks => format!("{tasks} tasks wait"),
    };
    let place = of.position.map(|place| format!(", place {place} in the queue"));
    let mut lines = vec![format!("job {}: {tasks}{}", of.job, place.unwrap_or_default())];
    let start = match (&of.expected, &why.unknown) {
        (Some(expected), _) => {
            let assumption = clean(&expected.assumption);
            let (when, date) = (human::until(expected.at, now), human::date(expected.at));
            Some(format!("{when} ({date}), {assumption}"))
        }
        (None, Some(unknown)) => Some(clean(unknown)),
        (None, None) => None,
    };
    let said = |text: &String| clean(text);
    let parts = [
        ("why", of.reasons.iter().map(|reason| clean(&reason.text)).collect::<Vec<_>>()),
        ("start", start.into_iter().collect()),
        ("advice", of.advice.iter().map(said).collect()),
    ];
    for (name, said) in parts {
        let names = std::iter::once(name).chain(std::iter::repeat(""));
        lines.extend(names.zip(said).map(|(name, text)| format!("{name:<8} {text}")));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use wrun_protocol::JobId;
    use wrun_protocol::wire::policy::{Expectation, Explanation, ReasonRow};

    use super::*;

    fn of(waiting: u32) -> Explanation {
        let row = |text: &str, nodes| ReasonRow { code: "c".into(), text: text.into(), nodes };
        Explanation {
            job: JobId(7),
            waiting,
            position: Some(3),
            reasons: vec![row("2 nodes are full", Some(2)), row("job 3 is considered first", None)],
            expected: Some(Expectation {
                at: Timestamp(3_600_000),
                assumption: "by time limits".into(),
            }),
            advice: vec!["ask for less memory".into()],
        }
    }

    #[test]
    fn an_explanation_says_why_when_and_what_helps() {
        let why = Why { explanation: of(2), unknown: None };
        assert_eq!(
            text(&why, Timestamp(0)),
            "job 7: 2 tasks wait, place 3 in the queue\n\
             why      2 nodes are full\n         job 3 is considered first\n\
             start    in 1h (1970-01-01 01:00:00 UTC), by time limits\n\
             advice   ask for less memory"
        );
    }

    #[test]
    fn what_nobody_can_tell_is_said_to_be_unknown() {
        let explanation = Explanation { expected: None, position: None, ..of(1) };
        let why = Why { explanation, unknown: Some("unknown: job 3 has to end first".into()) };
        let text = text(&why, Timestamp(0));
        assert!(text.starts_with("job 7: 1 task waits\n"), "{text}");
        assert!(text.contains("\nstart    unknown: job 3 has to end first\n"), "{text}");
    }
}
