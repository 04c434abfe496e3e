//! `wrun rollout`, and waiting until a revision is in place as `wrun deploy` does.

mod end;

use std::time::Duration;

use wrun_protocol::JobId;
use wrun_protocol::wire::service::{RolloutAction, ServiceDetail, ServiceRef};
use wrun_protocol::wire::user::Request;

use super::process::Signals;
use super::wait::Patience;
use super::{Context, Ended, service};
use crate::client::{self, Client};
use crate::console::Console;
use crate::error::Error;
use crate::exit::Exit;
use crate::report::progress::RolloutView;
use crate::report::{json, service as words};
use crate::syntax::service::{Named, Rollout as Args, RolloutCommand, Status, Undo};
use end::End;

/// Between two looks at a rollout: short beside how long a replica takes, and a look costs the
/// server next to nothing.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A revision that is to be in place.
pub(super) struct Wanted {
    pub(super) service: ServiceRef,
    pub(super) revision: u32,
    /// The job whose tasks are its replicas, where that is known.
    pub(super) job: Option<JobId>,
    /// Whether it is new.
    pub(super) changed: bool,
}

/// Shows or steers a rollout.
pub(crate) async fn rollout(context: &Context, args: &Args) -> Ended {
    match &args.command {
        RolloutCommand::Status(args) => status(context, args).await,
        RolloutCommand::Pause(named) => steer(context, named, RolloutAction::Pause).await,
        RolloutCommand::Resume(named) => steer(context, named, RolloutAction::Resume).await,
        RolloutCommand::Undo(args) => undo(context, args).await,
    }
}

async fn status(context: &Context, args: &Status) -> Ended {
    let mut client = Client::connect(context.global.credential.as_ref()).await?;
    let service = args.named.of();
    let detail = client::service::detail(&client, &service).await?;
    let ended = if args.wait {
        let wanted = Wanted { service, revision: detail.row.revision, job: None, changed: true };
        wait(context, &mut client, &wanted).await
    } else {
        service::show_rollout(context, &client, &detail).await
    };
    client.close().await;
    ended
}

async fn steer(context: &Context, named: &Named, action: RolloutAction) -> Ended {
    let client = Client::connect(context.global.credential.as_ref()).await?;
    client.done(&Request::Rollout { service: named.of(), action }).await?;
    client.close().await;
    let (state, text) = match action {
        RolloutAction::Pause => ("paused", "goes no further until `wrun rollout resume`"),
        _ => ("resumed", "goes on"),
    };
    service::tell_change(context, named, state, &format!("the rollout of {} {text}", named.service))
}

async fn undo(context: &Context, args: &Undo) -> Ended {
    let mut client = Client::connect(context.global.credential.as_ref()).await?;
    let service = args.named.of();
    let to = args.to.map(|revision| revision.0);
    let action = RolloutAction::Undo { to };
    client.done(&Request::Rollout { service: service.clone(), action }).await?;
    let detail = client::service::detail(&client, &service).await?;
    let wanted = Wanted { service, revision: detail.row.revision, job: None, changed: true };
    let ended = if args.detach {
        leave(context, &client, &wanted).await
    } else {
        wait(context, &mut client, &wanted).await
    };
    client.close().await;
    ended
}

/// Says what is wanted, and waits for nothing.
pub(super) async fn leave(context: &Context, client: &Client, wanted: &Wanted) -> Ended {
    let detail = client::service::detail(client, &wanted.service).await?;
    let end = if wanted.changed { End::UnderWay } else { End::Unchanged };
    tell(context.console, client, wanted, &detail, end).await
}

/// Waits until the revision is in place, or will not be.
pub(super) async fn wait(context: &Context, client: &mut Client, wanted: &Wanted) -> Ended {
    let mut signals = Signals::listen()?;
    let console = context.console;
    let followed = tokio::select! {
        followed = follow(client, console, wanted) => Some(followed?),
        () = signals.next() => None,
    };
    match followed {
        Some((detail, End::Ready)) if !wanted.changed => {
            tell(console, client, wanted, &detail, End::Unchanged).await
        }
        Some((detail, end)) => tell(console, client, wanted, &detail, end).await,
        None => {
            if !console.wants_json() {
                let name = &wanted.service.name;
                console.note(format_args!("the rollout goes on: see `wrun rollout status {name}`"));
            }
            leave(context, client, wanted).await.map(|_| Exit::Cancelled)
        }
    }
}

/// Shows the rollout until it is over. The server may restart meanwhile.
async fn follow(
    client: &mut Client,
    console: Console,
    wanted: &Wanted,
) -> Result<(ServiceDetail, End), Error> {
    let mut view = RolloutView::new(console, wanted.revision);
    let mut patience = Patience::new(console);
    let ended = loop {
        match client::service::detail(client, &wanted.service).await {
            Ok(detail) => {
                if let Some(end) = End::of(&detail, wanted.revision) {
                    break Ok((detail, end));
                }
                view.show(&detail);
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Err(error) => {
                if let Err(error) = patience.reconnect(client, error).await {
                    break Err(error);
                }
            }
        }
    };
    view.finish();
    ended
}

/// The last words: a line and where it is reached, or an error.
async fn tell(
    console: Console,
    client: &Client,
    wanted: &Wanted,
    detail: &ServiceDetail,
    end: End,
) -> Ended {
    let gateways = client::service::gateways(client).await?;
    let urls = words::urls(&detail.row.routes, &gateways);
    let (name, revision) = (&wanted.service.name, wanted.revision);
    if console.wants_json() {
        console.json(&json::Deployed {
            service: name.to_string(),
            revision,
            job: wanted.job.map(|job| job.0),
            changed: wanted.changed,
            rollout_state: end.word(detail),
            urls: urls.clone(),
        })?;
    }
    if let Some(error) = end.error(detail, revision) {
        return Err(error);
    }
    if !console.wants_json() {
        console.line(format_args!("{name}: {}", end.text(detail, revision)))?;
        service::tell_urls(console, &detail.row, &urls, &gateways)?;
    }
    Ok(Exit::Success)
}
