//! Cancelling, nodes, tokens and users. Each privileged act leaves a line in the audit
//! log: the tracing target `wrun::audit`.

use std::time::Duration;

use wrun_core::Input;
use wrun_net::JoinToken;
use wrun_protocol::wire::user::{ErrorCode, RequestError, Response};
use wrun_protocol::{JobId, NodeId, Role, TenantName, Timestamp};

use super::refused;
use crate::authorise::Caller;
use crate::shared::Shared;

pub(super) async fn on_cancel(
    shared: &Shared,
    caller: &Caller,
    job: JobId,
) -> Result<Response, RequestError> {
    shared.visible(caller, job).await?;
    let cancelled = shared.driver.ask_done(move |request| Input::Cancel { request, job }).await;
    match cancelled {
        Ok(()) => {
            tracing::info!(
                target: "wrun::audit",
                tenant = %caller.tenant, role = %caller.role, %job, "job cancelled"
            );
            Ok(Response::Done)
        }
        // The caller may see it, and the core does not have it: it is over.
        Err(error) if error.code == ErrorCode::NotFound => {
            Err(refused(ErrorCode::Conflict, format!("job {job} has already ended")))
        }
        Err(error) => Err(error),
    }
}

pub(super) async fn on_nodes(shared: &Shared, caller: &Caller) -> Result<Response, RequestError> {
    let mut nodes = shared.driver.view(|core| core.nodes()).await?;
    if !caller.may_see_load() {
        for node in &mut nodes {
            node.used = Default::default();
            node.tasks = 0;
        }
    }
    Ok(Response::Nodes(nodes))
}

pub(super) async fn on_node_details(
    shared: &Shared,
    caller: &Caller,
) -> Result<Response, RequestError> {
    let mut nodes = shared.driver.view(|core| core.node_details()).await?;
    if !caller.may_see_load() {
        for node in &mut nodes {
            node.summary.used = Default::default();
            node.summary.tasks = 0;
            node.gpu_used.fill(0);
            node.named_used.clear();
        }
    }
    Ok(Response::NodeDetails(nodes))
}

pub(super) fn on_node_cards(shared: &Shared, caller: &Caller, after: Option<NodeId>) -> Response {
    let mut nodes = shared.nodes.cards(after);
    if !caller.may_see_load() {
        for card in nodes.iter_mut().flat_map(|(_, cards)| cards) {
            (card.memory_used, card.busy_milli) = (None, None);
        }
    }
    Response::NodeCards(nodes)
}

pub(super) async fn on_drain(
    shared: &Shared,
    caller: &Caller,
    name: String,
    drain: bool,
) -> Result<Response, RequestError> {
    let node = find(shared, name).await?;
    shared.driver.ask_done(move |request| Input::SetDrain { request, node, drain }).await?;
    audit(caller, if drain { "node drained" } else { "node taken back" }, &node.to_string());
    Ok(Response::Done)
}

pub(super) async fn on_remove_node(
    shared: &Shared,
    caller: &Caller,
    name: String,
) -> Result<Response, RequestError> {
    let node = find(shared, name).await?;
    shared.driver.ask_done(move |request| Input::RemoveNode { request, node }).await?;
    if let Some(connection) = shared.nodes.connection(node) {
        connection.close(wrun_net::close_code::DENIED, "the node was removed from the cluster");
    }
    audit(caller, "node removed", &node.to_string());
    Ok(Response::Done)
}

async fn find(shared: &Shared, name: String) -> Result<NodeId, RequestError> {
    let wanted = name.clone();
    let found = shared.driver.view(move |core| core.node_by_name(&wanted)).await?;
    found.ok_or_else(|| {
        refused(ErrorCode::NotFound, format!("there is no node `{name}`; `wrun nodes` lists them"))
    })
}

pub(super) async fn on_create_token(
    shared: &Shared,
    caller: &Caller,
    ttl_ms: u64,
) -> Result<Response, RequestError> {
    let (token, expires) = create_token(shared, Duration::from_millis(ttl_ms)).await?;
    audit(caller, "join token created", &format!("valid for {ttl_ms} ms"));
    Ok(Response::Token { secret: token.secret, expires })
}

/// Makes a token and has its hash recorded.
pub(crate) async fn create_token(
    shared: &Shared,
    ttl: Duration,
) -> Result<(JoinToken, Timestamp), RequestError> {
    check_ttl(shared, ttl)?;
    let token = JoinToken::create(shared.authority.fingerprint())
        .map_err(|error| refused(ErrorCode::Internal, error.to_string()))?;
    let (hash, expires) = (token.hash(), shared.clock.now().after(ttl));
    shared.driver.ask_done(move |request| Input::CreateToken { request, hash, expires }).await?;
    Ok((token, expires))
}

pub(super) fn on_create_user(
    shared: &Shared,
    caller: &Caller,
    tenant: &TenantName,
    role: Role,
    csr: &[u8],
    ttl_ms: u64,
) -> Result<Response, RequestError> {
    let ttl = Duration::from_millis(ttl_ms);
    check_ttl(shared, ttl)?;
    let certificate = shared
        .authority
        .issue_user(tenant, role, csr, ttl)
        .map_err(|error| refused(ErrorCode::InvalidInput, error.to_string()))?;
    audit(caller, "user created", &format!("{tenant}/{role}"));
    Ok(Response::Certificate(certificate))
}

fn check_ttl(shared: &Shared, ttl: Duration) -> Result<(), RequestError> {
    let most = shared.config.max_ttl;
    if ttl.is_zero() || ttl > most {
        let text = format!("ttl: use more than zero and at most {} days", most.as_secs() / 86_400);
        return Err(refused(ErrorCode::InvalidInput, text));
    }
    Ok(())
}

/// Who did what to whom, for those who must know afterwards.
fn audit(caller: &Caller, act: &str, object: &str) {
    tracing::info!(
        target: "wrun::audit",
        tenant = %caller.tenant, role = %caller.role, act, object, "done by an admin"
    );
}
