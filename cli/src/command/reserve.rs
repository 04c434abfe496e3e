//! `wrun reserve`, `unreserve` and `reservations`.

use wrun_protocol::Timestamp;
use wrun_protocol::reservation::{Reservation, Reserved};
use wrun_protocol::scheduling::{Devices, Request as Wanted};
use wrun_protocol::wire::policy::ReservationRow;
use wrun_protocol::wire::user::{Request, Response};

use super::{Context, Ended};
use crate::client::{Client, unexpected};
use crate::error::Error;
use crate::exit::Exit;
use crate::report::table::Listing;
use crate::report::{human, json};
use crate::syntax::policy::{Reserve, Unreserve};

/// Sets resources aside.
pub(crate) async fn reserve(context: &Context, args: &Reserve) -> Ended {
    let reservation = of(args, human::now());
    reservation.check().map_err(|(field, problem)| {
        let flag = if field == "end" { "duration" } else { field };
        Error::new(Exit::InvalidInput, format!("`--{flag}`: {problem}"))
    })?;
    let name = reservation.name.clone();
    change(context, &Request::Reserve(Box::new(reservation)), name, "reserved").await
}

/// Gives up a reservation.
pub(crate) async fn unreserve(context: &Context, args: &Unreserve) -> Ended {
    change(context, &Request::Unreserve(args.name.clone()), args.name.clone(), "unreserved").await
}

fn of(args: &Reserve, now: Timestamp) -> Reservation {
    let start = args.start.instant(now);
    let what = match (&args.count, args.node.is_empty()) {
        (Some(count), _) => {
            let named = args.resource.iter().map(|of| (of.name.clone(), of.amount)).collect();
            let gpu = args.gpu.as_ref().map(|gpu| gpu.0.clone());
            let devices = Devices { gpu, named, pools: Default::default() };
            let resources = wrun_protocol::Resources {
                cpu_milli: args.cpu.milli,
                memory: args.memory.0,
                scratch: 0,
                slots: 1,
            };
            let each = Wanted { resources, devices };
            Reserved::Amount { each, count: count.0, partition: args.partition.clone() }
        }
        (None, false) => Reserved::Nodes(args.node.iter().cloned().collect()),
        (None, true) => Reserved::All,
    };
    Reservation {
        name: args.name.clone(),
        start,
        end: start.after(args.duration.duration()),
        every_ms: args.every.map(|every| every.ms),
        what,
        tenants: args.tenant.iter().cloned().collect(),
    }
}

async fn change(
    context: &Context,
    request: &Request,
    reservation: String,
    reservation_state: &'static str,
) -> Ended {
    let client = Client::connect(context.global.credential.as_ref()).await?;
    client.done(request).await?;
    client.close().await;
    if context.console.wants_json() {
        context.console.json(&json::ReservationChange { reservation, reservation_state })?;
    } else {
        let said = if reservation_state == "reserved" { "is made" } else { "is given up" };
        context.console.line(format_args!("reservation {reservation} {said}"))?;
    }
    Ok(Exit::Success)
}

/// Lists reservations.
pub(crate) async fn reservations(context: &Context) -> Ended {
    let console = context.console;
    let client = Client::connect(context.global.credential.as_ref()).await?;
    let list = match client.ask(&Request::ReservationRows).await? {
        Response::ReservationRows(list) => list,
        other => return Err(unexpected(&other)),
    };
    client.close().await;
    if console.wants_json() {
        console
            .json(&json::Reservations { reservations: list.iter().map(Into::into).collect() })?;
        return Ok(Exit::Success);
    }
    if list.is_empty() {
        console.note("no reservations");
        return Ok(Exit::Success);
    }
    let columns = ["NAME", "START", "LASTS", "EVERY", "WHAT", "FOR"];
    let mut listing = Listing::new(console, &columns);
    list.iter().for_each(|of| listing.row(row(of)));
    console.line(listing.text())?;
    Ok(Exit::Success)
}

fn row(row: &ReservationRow) -> [String; 6] {
    let of = &row.reservation;
    let span = |ms| human::took(std::time::Duration::from_millis(ms));
    let mut tenants: Vec<&str> = of.tenants.iter().map(|tenant| tenant.as_str()).collect();
    tenants.extend((row.others > 0).then_some("others"));
    [
        of.name.clone(),
        human::date(of.start),
        span(of.end.since(of.start).as_millis() as u64),
        of.every_ms.map_or_else(|| "-".to_owned(), span),
        match &of.what {
            Reserved::All => "all nodes".to_owned(),
            Reserved::Nodes(nodes) => {
                nodes.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
            }
            Reserved::Amount { each, count, partition } => {
                let place = partition.as_ref().map(|name| format!(" in {name}"));
                format!("{count} x {}{}", human::request(each), place.unwrap_or_default())
            }
        },
        if tenants.is_empty() { "nobody".to_owned() } else { tenants.join(", ") },
    ]
}
