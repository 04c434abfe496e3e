//! One node's connection: its session, and the blobs that it fetches and stores.
//!
//! The first stream that the worker opens is the session; each later one is a blob
//! request. The session passes messages both ways and decides nothing: the node's number
//! comes from its certificate, the rest is the core's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use wrun_core::Input;
use wrun_net::{Connection, RecvStream, SendStream, close_code};
use wrun_protocol::inference::NodeInference;
use wrun_protocol::limits::{MAX_LIST, MAX_NAME};
use wrun_protocol::node::NodeInfo;
use wrun_protocol::scheduling::{MAX_GPUS, Offer};
use wrun_protocol::wire::service::GatewayAddresses;
use wrun_protocol::wire::user::{ErrorCode, RequestError};
use wrun_protocol::wire::worker::{Assignment, BlobReply, BlobRequest, FromWorker, ToWorker};
use wrun_protocol::{Digest, JobId, NodeId, TenantName};

use crate::blobs::BlobError;
use crate::driver::Command;
use crate::outbox::{EndReason, Outbox};
use crate::shared::{Connected, Shared};

/// How long a new connection may take to say hello.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// Addresses of a gateway that are remembered, with and without TLS each: enough for users.
const MAX_ADDRESSES: usize = 16;

/// Messages of a worker that are taken from its stream at once.
const RECEIVED_AT_ONCE: usize = 64;

/// Blob requests of one node that are served at once; more wait for their turn.
const BLOBS_AT_ONCE: usize = 64;

/// Why a session ended: a close code and a line for the worker.
type End = (u32, String);

/// Serves a node's connection to its end.
pub(crate) async fn serve(shared: Arc<Shared>, connection: Connection, node: NodeId) {
    let (code, reason) = match hello(&shared, &connection, node).await {
        Ok(greeted) => run(&shared, &connection, node, greeted).await,
        Err(end) => end,
    };
    tracing::info!(%node, reason, "session over");
    connection.close(code, &reason);
}

/// What a worker said first.
struct Greeted {
    info: NodeInfo,
    offer: Offer,
    /// Where it listens for other nodes.
    listens: Option<SocketAddr>,
    /// Where its gateway takes requests.
    gateway: GatewayAddresses,
    /// How it runs models; a worker that is older does not say.
    inference: Option<NodeInference>,
    incarnation: u64,
    attempts: Vec<Assignment>,
    send: SendStream,
    recv: RecvStream,
}

async fn hello(shared: &Shared, connection: &Connection, node: NodeId) -> Result<Greeted, End> {
    let first = tokio::time::timeout(HELLO_WITHIN, async {
        let (send, mut recv) = connection.accept().await.map_err(|closed| closed.to_string())?;
        let (mut offer, mut listens) = (Offer::default(), None);
        let (mut gateway, mut inference) = (GatewayAddresses::default(), None);
        let message = loop {
            match recv.recv::<FromWorker>().await.map_err(|error| error.to_string())? {
                Some(FromWorker::Offer(offered)) => offer = offered,
                Some(FromWorker::Listens(address)) => {
                    listens = Some(seen_at(address, connection.remote_address()));
                }
                Some(FromWorker::Gateway(said)) => {
                    let seen = |address| seen_at(address, connection.remote_address());
                    gateway.http = said.http.into_iter().take(MAX_ADDRESSES).map(seen).collect();
                    gateway.https = said.https.into_iter().take(MAX_ADDRESSES).map(seen).collect();
                }
                Some(FromWorker::Inference(said)) => inference = Some(said),
                message => break message,
            }
        };
        Ok::<_, String>((send, recv, offer, listens, gateway, inference, message))
    });
    let protocol = |problem: String| (close_code::PROTOCOL, problem);
    let (send, recv, offer, listens, gateway, inference, message) = match first.await {
        Ok(first) => first.map_err(protocol)?,
        Err(_) => return Err(protocol("no hello came in time".to_owned())),
    };
    let Some(FromWorker::Hello { info, incarnation, attempts }) = message else {
        return Err(protocol("a session begins with a hello".to_owned()));
    };
    check(&info).map_err(protocol)?;
    offer.check().map_err(protocol)?;
    inference.as_ref().map_or(Ok(()), NodeInference::check).map_err(protocol)?;
    let known = shared.driver.view_live(move |core| core.node(node).is_some()).await;
    match known {
        Ok(true) => {
            let greeted = Greeted {
                info,
                offer,
                listens,
                gateway,
                inference,
                incarnation,
                attempts,
                send,
                recv,
            };
            Ok(greeted)
        }
        Ok(false) => Err((
            close_code::DENIED,
            format!("the cluster does not know node {node} any more: join again with a new token"),
        )),
        Err(error) => Err((close_code::GOING_AWAY, error.message)),
    }
}

/// Where a node listens that says `address` and connects from `seen`.
fn seen_at(address: SocketAddr, seen: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        SocketAddr::new(seen.ip().to_canonical(), address.port())
    } else {
        address
    }
}

fn check(info: &NodeInfo) -> Result<(), String> {
    let label_fits = |(key, value): (&String, &String)| {
        !key.is_empty() && key.len() <= MAX_NAME && value.len() <= MAX_NAME
    };
    if !is_name(&info.name) {
        return Err(format!("a node's name has 1 to {MAX_NAME} bytes without control characters"));
    }
    if info.labels.len() > MAX_LIST || !info.labels.iter().all(label_fits) {
        return Err(format!("a node has at most {MAX_LIST} labels of 1 to {MAX_NAME} bytes"));
    }
    Ok(())
}

/// Whether `name` can be a node's.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME && !name.chars().any(char::is_control)
}

async fn run(shared: &Arc<Shared>, connection: &Connection, node: NodeId, greeted: Greeted) -> End {
    let Greeted { info, offer, listens, gateway, inference, incarnation, attempts, send, recv } =
        greeted;
    let outbox = Arc::new(Outbox::new());
    let session = outbox.number();
    tracing::info!(%node, name = info.name, session, "node connected");
    let connected = Connected {
        session,
        connection: connection.clone(),
        gateway,
        inference,
        cards: Vec::new(),
    };
    shared.nodes.insert(node, connected);
    let connect = Command::Connect {
        node,
        outbox: Arc::clone(&outbox),
        listens,
        info,
        offer,
        incarnation,
        attempts,
    };
    let end = match shared.driver.send(connect).await {
        Err(error) => (close_code::GOING_AWAY, error.message),
        Ok(()) => tokio::select! {
            end = write(&outbox, send) => end,
            end = read(shared, node, session, recv) => end,
            end = serve_blobs(shared, connection, node) => end,
        },
    };
    shared.nodes.remove(node, session);
    // When the driver is gone, so is what it would have to be told.
    let _ = shared.driver.send(Command::Disconnect { node, session }).await;
    end
}

async fn write(outbox: &Outbox, mut send: SendStream) -> End {
    loop {
        let messages = match outbox.take().await {
            Ok(messages) => merged(messages),
            Err(EndReason::Slow) => return (close_code::LIMIT, "too slow: too much waits".into()),
            Err(EndReason::Replaced) => {
                return (close_code::REPLACED, "the node has connected again".into());
            }
            Err(EndReason::Stopped) => {
                return (close_code::GOING_AWAY, "the server stops; connect again later".into());
            }
        };
        if let Err(error) = send.send_all(&messages).await {
            return (close_code::PROTOCOL, error.to_string());
        }
    }
}

/// Most assignments in one message: well below a frame.
const ASSIGNED_AT_ONCE: usize = 4096;

/// Joins neighbouring assignments, and keeps of acknowledgements that follow one another
/// the last: fewer frames say the same, in the same order.
fn merged(messages: Vec<ToWorker>) -> Vec<ToWorker> {
    let mut merged: Vec<ToWorker> = Vec::with_capacity(messages.len());
    for message in messages {
        match (merged.last_mut(), message) {
            (Some(ToWorker::Assign(before)), ToWorker::Assign(mut more))
                if before.len() + more.len() <= ASSIGNED_AT_ONCE =>
            {
                before.append(&mut more);
            }
            (Some(ToWorker::Acknowledge { report: before }), ToWorker::Acknowledge { report }) => {
                *before = (*before).max(report)
            }
            (_, message) => merged.push(message),
        }
    }
    merged
}

async fn read(shared: &Shared, node: NodeId, session: u64, mut recv: RecvStream) -> End {
    let mut messages = Vec::new();
    loop {
        match recv.recv_many::<FromWorker>(&mut messages, RECEIVED_AT_ONCE).await {
            Ok(0) => return (close_code::DONE, "the worker ended its session".to_owned()),
            Ok(_) => {}
            Err(error) => return (close_code::PROTOCOL, error.to_string()),
        }
        for message in messages.drain(..) {
            if let FromWorker::Cards(mut cards) = message {
                cards.truncate(MAX_GPUS as usize);
                shared.nodes.set_cards(node, session, cards);
                continue;
            }
            let Some(input) = input(node, message) else {
                return (close_code::PROTOCOL, "a second hello on one session".to_owned());
            };
            let goes = matches!(input, Input::NodeGone { .. });
            if let Err(error) = shared.driver.send(Command::Node { node, session, input }).await {
                return (close_code::GOING_AWAY, error.message);
            }
            if goes {
                return (close_code::DONE, "goodbye".to_owned());
            }
        }
    }
}

fn input(node: NodeId, message: FromWorker) -> Option<Input> {
    Some(match message {
        FromWorker::Hello { .. }
        | FromWorker::Offer(_)
        | FromWorker::Listens(_)
        | FromWorker::Gateway(_)
        | FromWorker::Inference(_)
        | FromWorker::Cards(_) => return None,
        FromWorker::Load(loads) => Input::Load { node, loads },
        FromWorker::ModelLoad(loads) => Input::ModelLoad { node, loads },
        FromWorker::Models(models) => Input::ModelsKept { node, models },
        FromWorker::AskMembers(job) => Input::MembersAsked { node, job },
        FromWorker::Reports { first, reports } => Input::Reports { node, first, reports },
        FromWorker::Progress { attempt, permille, message } => {
            Input::Progress { node, attempt, permille, message }
        }
        FromWorker::Heartbeat { beat } => Input::Heartbeat { node, beat },
        FromWorker::Draining => Input::NodeDraining { node },
        FromWorker::Goodbye => Input::NodeGone { node },
    })
}

/// Serves blob requests; those under way end with the session.
async fn serve_blobs(shared: &Arc<Shared>, connection: &Connection, node: NodeId) -> End {
    let mut requests = JoinSet::new();
    loop {
        while requests.try_join_next().is_some() {}
        if requests.len() >= BLOBS_AT_ONCE {
            requests.join_next().await;
        }
        match connection.accept().await {
            Ok((send, recv)) => {
                requests.spawn(on_blob(Arc::clone(shared), node, send, recv));
            }
            Err(closed) => return (close_code::DONE, closed.to_string()),
        }
    }
}

async fn on_blob(shared: Arc<Shared>, node: NodeId, mut send: SendStream, mut recv: RecvStream) {
    let Ok(Some(request)) = recv.recv::<BlobRequest>().await else { return };
    let refused = match request {
        BlobRequest::Get { job, digest } => {
            let found = blob_of_job(&shared, job, digest).await;
            give(&shared, digest, found, &mut send).await
        }
        BlobRequest::Model { job, digest, held } => {
            let found = model_of_job(&shared, node, job, digest).await;
            match found {
                Ok((_, size)) if held => {
                    let _ = send.send(&BlobReply::Found { size }).await;
                    None
                }
                found => give(&shared, digest, found, &mut send).await,
            }
        }
        BlobRequest::Put { job, digest, size } => {
            let stored = async {
                let tenant = job_tenant(&shared, job).await?;
                Ok(shared.blobs.receive(&tenant, digest, size, &mut recv).await?)
            };
            match stored.await {
                Ok(()) => {
                    let _ = send.send(&BlobReply::Stored).await;
                    None
                }
                Err(refused) => Some(refused),
            }
        }
    };
    if let Some(refused) = refused {
        // A worker that has gone asks again when it is back.
        let _ = send.send(&BlobReply::Refused(refused)).await;
    }
    let _ = send.finish();
}

/// Whose blob it is, and its size.
type Found = Result<(TenantName, u64), RequestError>;

/// Sends what was found, as far as the worker takes it; what it is to be refused with otherwise.
async fn give(
    shared: &Shared,
    digest: Digest,
    found: Found,
    send: &mut SendStream,
) -> Option<RequestError> {
    let (tenant, size) = match found {
        Ok(found) => found,
        Err(refused) => return Some(refused),
    };
    if send.send(&BlobReply::Found { size }).await.is_ok()
        && let Err(error) = shared.blobs.send(&tenant, digest, size, send).await
    {
        // The worker counts raw bytes now: a refusal among them would be taken for content.
        tracing::warn!(%digest, %error, "a node did not get a blob");
        send.reset(close_code::PROTOCOL);
    }
    None
}

async fn blob_of_job(shared: &Shared, job: JobId, digest: Digest) -> Found {
    let tenant = job_tenant(shared, job).await?;
    let size = shared.blobs.size(&tenant, digest).await?;
    Ok((tenant, size.ok_or(BlobError::NotFound(digest))?))
}

/// A model is its owner's blob, whoever's the job is: that the job may load it is what the core
/// knows of live jobs, and nodes have it for the jobs that they run.
async fn model_of_job(shared: &Shared, node: NodeId, job: JobId, digest: Digest) -> Found {
    let look = move |core: &wrun_core::Core| core.model_for(node, job, digest);
    shared.driver.view_live(look).await?.ok_or_else(|| {
        let text = format!(
            "job {job} may not load the model {}: it was removed, is shared no more, or the job is not on this node",
            digest.short()
        );
        RequestError::new(ErrorCode::NotFound, text)
    })
}

/// Whose job a node asks about. Any node may run any tenant's tasks, so that a node may
/// ask about any job; the tenant is the job's, never the node's word.
async fn job_tenant(shared: &Shared, job: JobId) -> Result<TenantName, RequestError> {
    shared.tenant_of(job).await?.ok_or_else(|| {
        RequestError::new(ErrorCode::NotFound, format!("there is no job {job} any more"))
    })
}

#[cfg(test)]
mod tests {
    use wrun_protocol::IndexRange;

    use super::*;

    #[test]
    fn neighbouring_assignments_share_a_frame_and_order_stays() {
        let assign = |job| {
            let tasks = IndexRange::one(0);
            vec![Assignment { job: JobId(job), attempt: 1, tasks }]
        };
        let messages = vec![
            ToWorker::Assign(assign(1)),
            ToWorker::Assign(assign(2)),
            ToWorker::Forget(JobId(1)),
            ToWorker::Acknowledge { report: 1 },
            ToWorker::Acknowledge { report: 2 },
            ToWorker::Assign(assign(3)),
        ];
        let expected = vec![
            ToWorker::Assign([assign(1), assign(2)].concat()),
            ToWorker::Forget(JobId(1)),
            ToWorker::Acknowledge { report: 2 },
            ToWorker::Assign(assign(3)),
        ];
        assert_eq!(merged(messages), expected);
    }
}
