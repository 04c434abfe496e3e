//! Services: deployed, listed, scaled, rolled out and taken down. What can be told of a
//! specification without the cluster's state is checked here; the rest is the core's.

use wrun_core::{Core, Input};
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::service::{ServiceId, ServiceName};
use wrun_protocol::wire::service::{GatewayRow, RolloutAction, ScaleTo, ServiceRef};
use wrun_protocol::wire::user::{ErrorCode, RequestError, Response};
use wrun_protocol::{SubmitId, TenantName};

use super::{refused, submit};
use crate::authorise::Caller;
use crate::shared::Shared;

pub(super) async fn on_deploy(
    shared: &Shared,
    caller: &Caller,
    id: SubmitId,
    spec: EncodedSpec,
) -> Result<Response, RequestError> {
    let decoded =
        spec.decode().map_err(|error| refused(ErrorCode::InvalidInput, error.to_string()))?;
    if decoded.service.is_none() {
        let text = "it says nothing of a service; a job is submitted with `wrun submit`";
        return Err(refused(ErrorCode::InvalidInput, text));
    }
    let name = decoded.name.clone();
    let (kind, spec) = submit::check_spec(shared, caller, spec, decoded).await?;
    let tenant = caller.tenant.clone();
    let deploy = move |request| Input::Deploy { request, tenant, id, kind, spec };
    let deployed = shared.driver.deploy(deploy).await?;
    if deployed.changed {
        let act = format!("revision {} deployed", deployed.revision);
        audit(caller, &act, &caller.tenant, &name);
    }
    Ok(Response::Deployed(deployed))
}

pub(super) async fn on_services(
    shared: &Shared,
    caller: &Caller,
    all_tenants: bool,
    after: Option<ServiceId>,
) -> Result<Response, RequestError> {
    let tenant = (!all_tenants).then(|| caller.tenant.clone());
    let look = move |core: &Core| core.services(tenant.as_ref(), after.as_ref());
    Ok(Response::Services(shared.driver.view_live(look).await?))
}

pub(super) async fn on_service(
    shared: &Shared,
    caller: &Caller,
    service: ServiceRef,
) -> Result<Response, RequestError> {
    let id = visible(caller, service)?;
    let name = id.name.clone();
    let found = shared.driver.view_live(move |core| core.service(&id)).await?;
    found.map(|detail| Response::Service(Box::new(detail))).ok_or_else(|| no_such_service(&name))
}

pub(super) async fn on_scale(
    shared: &Shared,
    caller: &Caller,
    service: ServiceRef,
    to: ScaleTo,
) -> Result<Response, RequestError> {
    let service = visible(caller, service)?;
    let of = service.clone();
    shared.driver.ask_done(move |request| Input::Scale { request, service, to }).await?;
    audit(caller, &format!("scaled to {to:?}"), &of.tenant, of.name.as_str());
    Ok(Response::Done)
}

pub(super) async fn on_rollout(
    shared: &Shared,
    caller: &Caller,
    service: ServiceRef,
    action: RolloutAction,
) -> Result<Response, RequestError> {
    let service = visible(caller, service)?;
    let of = service.clone();
    shared.driver.ask_done(move |request| Input::Rollout { request, service, action }).await?;
    audit(caller, &format!("rollout: {action:?}"), &of.tenant, of.name.as_str());
    Ok(Response::Done)
}

pub(super) async fn on_undeploy(
    shared: &Shared,
    caller: &Caller,
    service: ServiceRef,
) -> Result<Response, RequestError> {
    let service = visible(caller, service)?;
    let of = service.clone();
    shared.driver.ask_done(move |request| Input::Undeploy { request, service }).await?;
    audit(caller, "undeployed", &of.tenant, of.name.as_str());
    Ok(Response::Done)
}

/// The gateways of connected nodes. Any tenant's services are reached through any of them.
pub(super) async fn on_gateways(shared: &Shared) -> Result<Response, RequestError> {
    let gateways = shared.nodes.gateways();
    let look = move |core: &Core| {
        let name = |node| core.node_info(node).map(|info| info.name.clone()).unwrap_or_default();
        let rows = gateways.into_iter();
        rows.map(|(node, addresses)| GatewayRow { node, name: name(node), addresses }).collect()
    };
    Ok(Response::Gateways(shared.driver.view_live(look).await?))
}

/// The service that is meant. Another tenant's is not there, except for an admin.
fn visible(caller: &Caller, service: ServiceRef) -> Result<ServiceId, RequestError> {
    let tenant = service.tenant.unwrap_or_else(|| caller.tenant.clone());
    if caller.may_see(&tenant) {
        return Ok(ServiceId { tenant, name: service.name });
    }
    Err(no_such_service(&service.name))
}

/// In the words of the core, so that nobody can tell apart what is not there and what is
/// another's.
fn no_such_service(name: &ServiceName) -> RequestError {
    let text = format!("there is no service `{name}`; `wrun services` lists those there are");
    refused(ErrorCode::NotFound, text)
}

fn audit(caller: &Caller, act: &str, of: &TenantName, service: &str) {
    tracing::info!(
        target: "wrun::audit",
        tenant = %caller.tenant, role = %caller.role, %of, service, "{act}"
    );
}
