//! The logs of a service: of every replica at once, each line behind the replica's name.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{AbortHandle, abortable};
use futures_util::stream::FuturesUnordered;
use wrun_protocol::service::ServiceName;
use wrun_protocol::wire::service::{ReplicaRow, ServiceDetail, ServiceRef};

use super::{LogOf, Skip, print_log};
use crate::client::{self, Client};
use crate::command::wait::Patience;
use crate::command::{Context, Ended};
use crate::console::Console;
use crate::error::Error;
use crate::exit::Exit;
use crate::syntax::query::Logs;

/// How often replicas are looked for that came later.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Replicas that are followed at once: each is a stream, of which a connection has 256.
const MAX_FOLLOWED: usize = 128;

/// A replica that slept at so many looks in a row is followed no longer: what it wrote last has
/// come by then.
const MAX_ASLEEP: u32 = 5;

/// Prints what the replicas wrote; with `--follow` what they write from now on, until Ctrl-C or
/// until the service is gone.
pub(super) async fn logs(context: &Context, args: &Logs, name: &ServiceName) -> Ended {
    if args.step.is_some() {
        let text = "`--step` is for the logs of a workflow";
        return Err(Error::new(Exit::Usage, text).todo("leave it out"));
    }
    let mut client = Client::connect(context.global.credential.as_ref()).await?;
    let service = ServiceRef { tenant: args.tenant.clone(), name: name.clone() };
    let detail = client::service::detail(&client, &service).await?;
    if args.follow {
        follow(context.console, &mut client, args, &service).await?;
    } else {
        let replicas = awake(&detail, args).into_iter().map(|replica| replica.of);
        let mut replicas: Vec<LogOf> = replicas.collect();
        if replicas.is_empty() {
            replicas.extend(asleep(&detail, args));
        }
        if replicas.is_empty() {
            context.console.note(
                "no replica is awake that is asked for; --revision with --task shows what one has left that was stopped",
            );
        }
        for replica in replicas {
            let prefix = prefix(name, replica);
            print_log(&client, context.console, replica, false, Some(prefix), None).await?;
        }
    }
    client.close().await;
    Ok(Exit::Success)
}

/// How much of a replica's log was printed: a server that was lost begins it anew.
struct Printed {
    attempt: u32,
    bytes: Arc<AtomicU64>,
}

/// A replica that is followed.
struct Followed {
    stop: AbortHandle,
    /// Looks at which it slept, in a row.
    asleep: u32,
}

/// Follows all that are awake. The server may restart meanwhile.
async fn follow(
    console: Console,
    client: &mut Client,
    args: &Logs,
    service: &ServiceRef,
) -> Result<(), Error> {
    let mut patience = Patience::new(console);
    let mut printed = BTreeMap::new();
    loop {
        match follow_on(console, client, args, service, &mut printed).await {
            Ok(()) => return Ok(()),
            Err(error) => patience.reconnect(client, error).await?,
        }
    }
}

/// The same on one connection.
async fn follow_on(
    console: Console,
    client: &Client,
    args: &Logs,
    service: &ServiceRef,
    printed: &mut BTreeMap<LogOf, Printed>,
) -> Result<(), Error> {
    let mut following: BTreeMap<LogOf, Followed> = BTreeMap::new();
    let mut streams = FuturesUnordered::new();
    let mut told = false;
    loop {
        let detail = match client::service::detail(client, service).await {
            Err(error) if error.exit() == Exit::NotFound => {
                console.note(format_args!("{error}"));
                return Ok(());
            }
            detail => detail?,
        };
        let awake = awake(&detail, args);
        let gone = |of: &LogOf, followed: &mut Followed| {
            let is_awake = awake.iter().any(|replica| replica.of == *of);
            followed.asleep = if is_awake { 0 } else { followed.asleep + 1 };
            followed.asleep > MAX_ASLEEP
        };
        for (of, followed) in following.extract_if(.., gone) {
            followed.stop.abort();
            printed.remove(&of);
        }
        for &Awake { of, attempt } in &awake {
            let seen =
                printed.entry(of).or_insert_with(|| Printed { attempt, bytes: Arc::default() });
            if seen.attempt != attempt {
                // Its log begins anew. Lines of it that came since the last look come again if
                // the server is lost now; none is left out.
                seen.attempt = attempt;
                seen.bytes.store(0, Ordering::Relaxed);
            }
            if following.contains_key(&of) {
                continue;
            }
            if following.len() >= MAX_FOLLOWED {
                if !std::mem::replace(&mut told, true) {
                    console.note(format_args!(
                        "{MAX_FOLLOWED} of {} replicas are followed; choose with --revision or --task",
                        awake.len()
                    ));
                }
                break;
            }
            let skip = Skip::new(Arc::clone(&seen.bytes));
            let prefix = prefix(&service.name, of);
            let printing = print_log(client, console, of, true, Some(prefix), Some(skip));
            let (printing, stop) = abortable(printing);
            streams.push(async move { (of, printing.await) });
            following.insert(of, Followed { stop, asleep: 0 });
        }
        let look = tokio::time::sleep(LOOK_EVERY);
        tokio::pin!(look);
        loop {
            tokio::select! {
                Some((of, ended)) = streams.next() => {
                    match ended {
                        // It slept, or went with its revision, or with the service.
                        Err(_) | Ok(Ok(())) => {}
                        Ok(Err(error)) if error.exit() == Exit::NotFound => {}
                        Ok(Err(error)) => return Err(error),
                    }
                    following.remove(&of);
                }
                () = &mut look => break,
            }
        }
    }
}

/// A replica whose log is asked for.
struct Awake {
    of: LogOf,
    attempt: u32,
}

/// Those that are awake and asked for.
fn awake(detail: &ServiceDetail, args: &Logs) -> Vec<Awake> {
    let is_wanted = |row: &&ReplicaRow| {
        args.revision.is_none_or(|of| of == row.revision)
            && args.task.is_none_or(|of| of == row.index)
    };
    let replica = |row: &ReplicaRow| {
        let revision = detail.revisions.iter().find(|of| of.revision == row.revision)?;
        let of = LogOf { job: revision.job, index: row.index, revision: Some(row.revision) };
        Some(Awake { of, attempt: row.attempt })
    };
    detail.replicas.iter().filter(is_wanted).filter_map(replica).collect()
}

/// One that is asked for by its number, whether or not it is awake: what it wrote last is kept.
fn asleep(detail: &ServiceDetail, args: &Logs) -> Option<LogOf> {
    let wanted = args.revision.unwrap_or(detail.row.revision);
    let revision = detail.revisions.iter().find(|of| of.revision == wanted)?;
    args.task.map(|index| LogOf { job: revision.job, index, revision: Some(wanted) })
}

fn prefix(name: &ServiceName, replica: LogOf) -> String {
    format!("{name}/{}/{} | ", replica.revision.unwrap_or_default(), replica.index)
}
