//! The gateway itself: what it was told of services, and requests to them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use wrun_protocol::TenantName;
use wrun_protocol::service::ServiceId;
use wrun_protocol::wire::service::{Endpoints, ServiceLoad};

use crate::listen::{self, Listening};
use crate::{Body, CallError, GatewayConfig, ListenConfig, ListenError, Upstream};

/// A gateway. Cheap to clone; clones are one gateway.
#[derive(Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
}

struct Shared {
    config: GatewayConfig,
    upstream: Arc<dyn Upstream>,
    services: Mutex<BTreeMap<ServiceId, Endpoints>>,
    urgent: Notify,
}

impl Gateway {
    /// A gateway that knows no service yet.
    pub fn new(config: GatewayConfig, upstream: Arc<dyn Upstream>) -> Self {
        let services = Mutex::default();
        let shared = Shared { config, upstream, services, urgent: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Listens for HTTP, until what is returned is dropped or drained.
    ///
    /// # Errors
    /// An address cannot be had, or the certificate cannot be used.
    pub async fn listen(&self, config: ListenConfig) -> Result<Listening, ListenError> {
        listen::listen(self, config).await
    }

    /// What is known of these services, in place of what was known of each. `whole`: there
    /// are no others, but for those that later calls name.
    pub fn on_services(&self, whole: bool, services: Vec<Endpoints>) {
        let mut known = self.shared.services.lock().unwrap_or_else(PoisonError::into_inner);
        if whole {
            known.clear();
        }
        known.extend(services.into_iter().map(|service| (service.id.clone(), service)));
    }

    /// These services are no more. Requests that wait for them are refused.
    pub fn on_gone(&self, services: &[ServiceId]) {
        let mut known = self.shared.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.iter().for_each(|id| drop(known.remove(id)));
    }

    /// The load since the last call, of services that had or have any.
    pub fn take_loads(&self) -> Vec<ServiceLoad> {
        Vec::new()
    }

    /// Is notified when [`Self::take_loads`] has something to tell that should not wait: a
    /// request waits for a service that has no replica.
    pub fn urgent(&self) -> &Notify {
        &self.shared.urgent
    }

    /// A request of a guest of `caller` to a service, without leaving the cluster. Its URI is
    /// absolute; its field [`crate::HOPS`] is set by the node from the request that the guest
    /// handles, if it handles one.
    ///
    /// # Errors
    /// Why no replica answered.
    pub async fn call(
        &self,
        caller: &TenantName,
        service: ServiceId,
        request: http::Request<Body>,
    ) -> Result<http::Response<Body>, CallError> {
        let _ = (caller, request, &self.shared.upstream, &self.shared.config);
        Err(CallError::NotFound(service))
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("config", &self.shared.config).finish_non_exhaustive()
    }
}
