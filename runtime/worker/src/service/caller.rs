//! Requests of guests to services by name, which the gateway of their node brings there.

use std::fmt;

use http::Request;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use wrun_gateway::{CallError, Gateway};
use wrun_protocol::TenantName;
use wrun_protocol::service::ServiceId;
use wrun_sandbox::{Body, ServiceAnswer, ServiceCallError, ServiceCaller};

/// What guests of one tenant call services through. Whether a job may is for its sandbox,
/// whether the service lets the tenant for the gateway.
pub(crate) struct Caller {
    gateway: Gateway,
    tenant: TenantName,
    runtime: Handle,
}

impl Caller {
    /// For guests of that tenant. Must be called within a tokio runtime.
    pub(crate) fn new(gateway: Gateway, tenant: TenantName) -> Self {
        Self { gateway, tenant, runtime: Handle::current() }
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

impl ServiceCaller for Caller {
    fn call(&self, request: Request<Body>) -> ServiceAnswer {
        let host = request.uri().host();
        let Some(service) = host.and_then(|host| ServiceId::of_host(host, &self.tenant)) else {
            return Box::pin(std::future::ready(Err(ServiceCallError::NotFound)));
        };
        let (gateway, tenant) = (self.gateway.clone(), self.tenant.clone());
        // On the node's own runtime: a guest that spins must not hold up what its request
        // has opened here.
        let calling =
            self.runtime.spawn(async move { gateway.call(&tenant, service, request).await });
        let mut calling = GivenUp(calling);
        Box::pin(async move {
            match (&mut calling.0).await {
                Ok(answer) => answer.map_err(of_gateway),
                Err(_) => Err(ServiceCallError::Failed("the node is going".to_owned())),
            }
        })
    }
}

/// A call that is given up when this is dropped.
struct GivenUp<T>(JoinHandle<T>);

impl<T> Drop for GivenUp<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn of_gateway(error: CallError) -> ServiceCallError {
    match error {
        CallError::NotFound(_) => ServiceCallError::NotFound,
        CallError::Denied { .. } => ServiceCallError::Denied,
        CallError::TenantBusy { .. }
        | CallError::QueueFull { .. }
        | CallError::NoReplica { .. } => ServiceCallError::Unavailable,
        CallError::TimedOut { .. } => ServiceCallError::TimedOut,
        CallError::Loop(_) => ServiceCallError::Loop,
        other => ServiceCallError::Failed(other.to_string()),
    }
}
