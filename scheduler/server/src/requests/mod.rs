//! What users ask. One stream each; this module receives the request, has it authorised,
//! hands it to its room and sends what comes back.

mod attach;
mod blobs;
mod cluster;
mod depends;
mod jobs;
mod kinds;
mod live;
mod logs;
mod models;
mod output;
mod recorded;
mod remembered;
mod schedules;
mod scheduling;
mod services;
mod submit;
mod watch;
mod workflows;

pub(crate) use cluster::create_token;
pub(crate) use output::of_recorded;
pub(crate) use recorded::{task as recorded_task, tasks as recorded_tasks};

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use wrun_net::{Connection, RecvStream, SendError, SendStream, close_code};
use wrun_protocol::wire::user::{ErrorCode, Request, RequestError, Response};

use crate::authorise::Caller;
use crate::blobs::BlobError;
use crate::driver::stopping;
use crate::shared::Shared;
use scheduling::WithTasks;

/// How long a client may take to send its request once it has opened the stream.
const REQUEST_WITHIN: Duration = Duration::from_secs(30);

/// Streams that wait to be told that too many are open already, beyond those served.
const MAX_REFUSING: usize = 64;

/// Why a request is not answered in full.
#[derive(Debug)]
enum Failure {
    /// The client is told.
    Refused(RequestError),
    /// The client has gone.
    Gone,
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        Self::Refused(error)
    }
}

impl From<BlobError> for Failure {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Send(_) => Self::Gone,
            other => Self::Refused(other.into()),
        }
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Codec(error) => {
                Self::Refused(RequestError::new(ErrorCode::LimitReached, error.to_string()))
            }
            _ => Self::Gone,
        }
    }
}

/// Serves a user's connection to its end.
pub(crate) async fn serve(shared: Arc<Shared>, connection: Connection, caller: Caller) {
    let mut requests = JoinSet::new();
    let most = shared.config.max_requests_per_connection;
    while let Ok((send, recv)) = connection.accept().await {
        while requests.try_join_next().is_some() {}
        let total = Arc::clone(&shared.requests).try_acquire_owned();
        match total {
            Ok(permit) if requests.len() < most => {
                let (shared, caller) = (Arc::clone(&shared), caller.clone());
                requests.spawn(async move {
                    on_stream(&shared, &caller, send, recv).await;
                    drop(permit);
                });
            }
            _ if requests.len() < most + MAX_REFUSING => {
                let stops = shared.requests.is_closed();
                requests.spawn(refuse(send, if stops { stopping() } else { too_many() }));
            }
            _ => connection.close(close_code::LIMIT, "far too many requests at once"),
        }
    }
}

fn too_many() -> RequestError {
    refused(
        ErrorCode::LimitReached,
        "too many requests at once; wait for some to end, then try again",
    )
}

async fn refuse(mut send: SendStream, refused: RequestError) {
    let _ = tokio::time::timeout(REQUEST_WITHIN, send.send(&Response::Refused(refused))).await;
    let _ = send.finish();
}

async fn on_stream(
    shared: &Arc<Shared>,
    caller: &Caller,
    mut send: SendStream,
    mut recv: RecvStream,
) {
    let request = match tokio::time::timeout(REQUEST_WITHIN, recv.recv::<Request>()).await {
        Ok(Ok(Some(request))) => request,
        Ok(Ok(None)) => return,
        Ok(Err(error)) => {
            let refused = RequestError::new(ErrorCode::InvalidInput, format!("request: {error}"));
            let _ = send.send(&Response::Refused(refused)).await;
            let _ = send.finish();
            return;
        }
        Err(_) => return send.reset(close_code::PROTOCOL),
    };
    let answered = match caller.may_ask(&request) {
        Ok(()) => answer(shared, caller, request, &mut send, &mut recv).await,
        Err(denied) => {
            tracing::warn!(
                target: "wrun::audit",
                tenant = %caller.tenant, role = %caller.role, reason = %denied, "denied"
            );
            Err(denied.into())
        }
    };
    if let Err(Failure::Refused(refused)) = answered {
        // A client that is gone needs no refusal.
        let _ = send.send(&Response::Refused(refused)).await;
    }
    let _ = send.finish();
}

async fn answer(
    shared: &Arc<Shared>,
    caller: &Caller,
    request: Request,
    send: &mut SendStream,
    recv: &mut RecvStream,
) -> Result<(), Failure> {
    let response = match request {
        Request::Hello => Response::Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            tenant: caller.tenant.clone(),
            role: caller.role,
        },
        Request::Submit(list) => submit::on_submit(shared, caller, list).await?,
        Request::MissingBlobs(list) => blobs::on_missing(shared, caller, list).await?,
        Request::PutBlob { digest, size } => {
            blobs::on_put(shared, caller, digest, size, recv).await?
        }
        Request::GetBlob(digest) => return blobs::on_get(shared, caller, digest, send).await,
        Request::Jobs(filter) => jobs::on_jobs(shared, caller, filter).await?,
        Request::Job(job) => jobs::on_job(shared, caller, job).await?,
        Request::Tasks { job, from, limit, state } => {
            jobs::on_tasks(shared, caller, job, from, limit, state).await?
        }
        Request::Watch(job) => return watch::on_watch(shared, caller, job, send).await,
        Request::Logs { job, index, follow } => {
            return logs::on_logs(shared, caller, job.task(index), follow, send).await;
        }
        Request::Output { job, index } => {
            output::on_output(shared, caller, job.task(index)).await?
        }
        Request::Attach(job) => {
            return attach::on_attach(shared, caller, job, send, recv).await;
        }
        Request::Cancel(job) => cluster::on_cancel(shared, caller, job).await?,
        Request::Nodes => cluster::on_nodes(shared, caller).await?,
        Request::Drain { node, drain } => cluster::on_drain(shared, caller, node, drain).await?,
        Request::RemoveNode(node) => cluster::on_remove_node(shared, caller, node).await?,
        Request::CreateToken { ttl_ms } => cluster::on_create_token(shared, caller, ttl_ms).await?,
        Request::CreateUser { tenant, role, csr, ttl_ms } => {
            cluster::on_create_user(shared, caller, &tenant, role, &csr, ttl_ms)?
        }
        Request::Policy => scheduling::on_policy(shared).await?,
        Request::SetPolicy(policy) => scheduling::on_set_policy(shared, caller, policy).await?,
        Request::CancelTasks { job, tasks } => {
            scheduling::on_tasks(shared, caller, job, tasks, WithTasks::Cancel).await?
        }
        Request::Requeue { job, tasks } => {
            scheduling::on_tasks(shared, caller, job, tasks, WithTasks::Requeue).await?
        }
        Request::Retry { job, tasks } => {
            scheduling::on_tasks(shared, caller, job, tasks, WithTasks::Retry).await?
        }
        Request::Priority(job) => scheduling::on_priority(shared, caller, job).await?,
        Request::Shares => scheduling::on_shares(shared, caller).await?,
        Request::Change { job, change } => {
            scheduling::on_change(shared, caller, job, change).await?
        }
        Request::AddSchedule(schedule) => schedules::on_add(shared, caller, schedule).await?,
        Request::RemoveSchedule(id) => schedules::on_remove(shared, caller, id).await?,
        Request::PauseSchedule { schedule, pause } => {
            schedules::on_pause(shared, caller, schedule, pause).await?
        }
        Request::Schedules(filter) => schedules::on_schedules(shared, caller, filter).await?,
        Request::Queue { limit } => scheduling::on_queue(shared, caller, limit).await?,
        Request::Explain(job) => scheduling::on_explain(shared, caller, job).await?,
        Request::Reserve(of) => scheduling::on_reserve(shared, caller, of).await?,
        Request::Unreserve(name) => scheduling::on_unreserve(shared, caller, name).await?,
        Request::Reservations => scheduling::on_reservations(shared, caller).await?,
        Request::Why(job) => scheduling::on_why(shared, caller, job).await?,
        Request::ReservationRows => scheduling::on_reservation_rows(shared, caller).await?,
        Request::NodeInference { after } => Response::NodeInference(shared.nodes.inference(after)),
        Request::NodeCards { after } => cluster::on_node_cards(shared, caller, after),
        Request::NodeDetails => cluster::on_node_details(shared, caller).await?,
        Request::SubmitWorkflow { id, workflow } => {
            workflows::on_submit(shared, caller, id, &workflow).await?
        }
        Request::Workflow(job) => workflows::on_workflow(shared, caller, job).await?,
        Request::Rerun { id, job, from } => {
            workflows::on_rerun(shared, caller, id, job, from).await?
        }
        Request::JobKinds(jobs) => kinds::on_kinds(shared, caller, jobs).await?,
        Request::Remembered { job, from } => {
            remembered::on_remembered(shared, caller, job, from).await?
        }
        Request::Deploy { id, spec } => services::on_deploy(shared, caller, id, spec).await?,
        Request::Services { all_tenants, after } => {
            services::on_services(shared, caller, all_tenants, after).await?
        }
        Request::Service(service) => services::on_service(shared, caller, service).await?,
        Request::Scale { service, to } => services::on_scale(shared, caller, service, to).await?,
        Request::Rollout { service, action } => {
            services::on_rollout(shared, caller, service, action).await?
        }
        Request::Undeploy(service) => services::on_undeploy(shared, caller, service).await?,
        Request::Gateways => services::on_gateways(shared).await?,
        Request::PushModel { name, tag, version } => {
            models::on_push(shared, caller, name, tag, version).await?
        }
        Request::Models(filter) => models::on_models(shared, caller, filter).await?,
        Request::Model(model) => models::on_model(shared, caller, model).await?,
        Request::RemoveModel { model, force } => {
            models::on_remove(shared, caller, model, force).await?
        }
        Request::ShareModel { model, with } => {
            models::on_share(shared, caller, model, with).await?
        }
        Request::UnshareModel { model, with, force } => {
            models::on_unshare(shared, caller, model, with, force).await?
        }
        Request::ResolveModels(list) => models::on_resolve(shared, caller, list).await?,
    };
    Ok(send.send(&response).await?)
}

pub(crate) fn refused(code: ErrorCode, text: impl Into<String>) -> RequestError {
    RequestError::new(code, text)
}
