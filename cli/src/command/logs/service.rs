//! The logs of a service: of every replica at once, each line behind the replica's name.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use wrun_protocol::service::ServiceName;
use wrun_protocol::wire::service::{ReplicaRow, ServiceDetail, ServiceRef};

use super::{LogOf, print_log};
use crate::client::{self, Client};
use crate::command::{Context, Ended};
use crate::console::Console;
use crate::error::Error;
use crate::exit::Exit;
use crate::syntax::query::Logs;

/// How often replicas are looked for that came later.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Replicas that are followed at once: each is a stream, of which a connection has 256.
const MAX_FOLLOWED: usize = 128;

/// Prints what the replicas wrote; with `--follow` what they write from now on, until Ctrl-C or
/// until the service is gone.
pub(super) async fn logs(context: &Context, args: &Logs, name: &ServiceName) -> Ended {
    if args.step.is_some() {
        let text = "`--step` is for the logs of a workflow";
        return Err(Error::new(Exit::Usage, text).todo("leave it out"));
    }
    let client = Client::connect(context.global.credential.as_ref()).await?;
    let service = ServiceRef { tenant: args.tenant.clone(), name: name.clone() };
    let detail = client::service::detail(&client, &service).await?;
    if args.follow {
        follow(context.console, &client, args, &service, detail).await?;
    } else {
        let replicas = replicas(&detail, args);
        if replicas.is_empty() {
            context.console.note("no replica is awake that is asked for");
        }
        for replica in replicas {
            print(context.console, &client, name, replica, false).await?;
        }
    }
    client.close().await;
    Ok(Exit::Success)
}

async fn follow(
    console: Console,
    client: &Client,
    args: &Logs,
    service: &ServiceRef,
    mut detail: ServiceDetail,
) -> Result<(), Error> {
    let mut known = BTreeSet::new();
    let mut following = FuturesUnordered::new();
    let mut told = false;
    loop {
        for replica in replicas(&detail, args) {
            if following.len() >= MAX_FOLLOWED {
                if !std::mem::replace(&mut told, true) {
                    console.note(format_args!(
                        "more than {MAX_FOLLOWED} replicas: the others are not followed; choose with --revision or --task"
                    ));
                }
                break;
            }
            if known.insert(replica) {
                following.push(print(console, client, &service.name, replica, true));
            }
        }
        let look = tokio::time::sleep(LOOK_EVERY);
        tokio::pin!(look);
        loop {
            tokio::select! {
                Some(ended) = following.next() => match ended {
                    // It went with its revision, or with the service.
                    Err(error) if error.exit() == Exit::NotFound => {}
                    ended => ended?,
                },
                () = &mut look => break,
            }
        }
        detail = match client::service::detail(client, service).await {
            Err(error) if error.exit() == Exit::NotFound => {
                console.note(format_args!("{error}"));
                return Ok(());
            }
            detail => detail?,
        };
    }
}

/// Those that are awake and asked for.
fn replicas(detail: &ServiceDetail, args: &Logs) -> Vec<LogOf> {
    let is_wanted = |row: &&ReplicaRow| {
        args.revision.is_none_or(|of| of == row.revision)
            && args.task.is_none_or(|of| of == row.index)
    };
    let replica = |row: &ReplicaRow| {
        let revision = detail.revisions.iter().find(|of| of.revision == row.revision)?;
        Some(LogOf { job: revision.job, index: row.index, revision: Some(row.revision) })
    };
    detail.replicas.iter().filter(is_wanted).filter_map(replica).collect()
}

async fn print(
    console: Console,
    client: &Client,
    name: &ServiceName,
    replica: LogOf,
    follow: bool,
) -> Result<(), Error> {
    let prefix = format!("{name}/{}/{} | ", replica.revision.unwrap_or_default(), replica.index);
    print_log(client, console, replica, follow, Some(prefix)).await
}
