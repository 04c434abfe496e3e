//! The gateway itself: what it was told of services, and requests to them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt;
use tokio::sync::Notify;
use tokio::time::Instant;
use wrun_protocol::TenantName;
use wrun_protocol::service::{HOPS, MAX_HOPS, ServiceId};
use wrun_protocol::wire::service::{Endpoints, ServiceLoad};

use crate::clock::Clock;
use crate::entry::Log;
use crate::listen::{self, Clients, Listening};
use crate::proxy::{self, Ask, Memory};
use crate::table::Table;
use crate::{Body, CallError, GatewayConfig, ListenConfig, ListenError, Upstream};

/// A gateway. Cheap to clone; clones are one gateway.
#[derive(Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
}

/// What requests, connections and listeners share.
pub(crate) struct Shared {
    pub(crate) config: GatewayConfig,
    pub(crate) upstream: Arc<dyn Upstream>,
    pub(crate) clock: Clock,
    pub(crate) table: Table,
    pub(crate) memory: Arc<Memory>,
    pub(crate) clients: Clients,
    pub(crate) log: Log,
    pub(crate) urgent: Notify,
    /// When loads were last taken.
    taken: Mutex<Instant>,
}

impl Gateway {
    /// A gateway that knows no service yet.
    ///
    /// # Errors
    /// The access log cannot be opened.
    pub fn new(config: GatewayConfig, upstream: Arc<dyn Upstream>) -> Result<Self, ListenError> {
        let clock = Clock::start();
        let shared = Shared {
            upstream,
            clock,
            table: Table::new(config.node, clock),
            memory: Arc::new(Memory::new(config.gathered)),
            clients: Clients::default(),
            log: Log::open(&config.access_log)?,
            urgent: Notify::new(),
            taken: Mutex::new(Instant::now()),
            config,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Listens for HTTP, until what is returned is dropped or drained.
    ///
    /// # Errors
    /// An address cannot be had, or the certificate cannot be used.
    pub async fn listen(&self, config: ListenConfig) -> Result<Listening, ListenError> {
        listen::listen(&self.shared, config).await
    }

    /// What is known of these services, in place of what was known of each. `whole`: there
    /// are no others, but for those that later calls name.
    pub fn on_services(&self, whole: bool, services: Vec<Endpoints>) {
        self.shared.table.on_services(whole, services);
    }

    /// These services are no more. Requests that wait for them are refused.
    pub fn on_gone(&self, services: &[ServiceId]) {
        self.shared.table.on_gone(services);
    }

    /// The load since the last call, of services that had or have any.
    pub fn take_loads(&self) -> Vec<ServiceLoad> {
        let now = Instant::now();
        let mut taken = self.shared.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let over = now.saturating_duration_since(std::mem::replace(&mut *taken, now));
        let over_ms = u64::try_from(over.as_millis()).unwrap_or(u64::MAX);
        let now = self.shared.clock.us(now);
        let known = self.shared.table.known();
        known.services.values().filter_map(|service| service.take_load(over_ms, now)).collect()
    }

    /// Is notified when [`Self::take_loads`] has something to tell that should not wait: a
    /// request waits for a service that has no replica.
    pub fn urgent(&self) -> &Notify {
        &self.shared.urgent
    }

    /// A request of a guest of `caller` to a service, without leaving the cluster. Its URI is
    /// absolute; its field [`HOPS`] is set by the node from the request that the guest
    /// handles, if it handles one. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Why no replica answered.
    pub async fn call(
        &self,
        caller: &TenantName,
        service: ServiceId,
        request: Request<Body>,
    ) -> Result<Response<Body>, CallError> {
        let arrived = Instant::now();
        let (mut parts, body) = request.into_parts();
        let known = self.shared.table.known().services.get(&service).map(Arc::clone);
        let Some(known) = known else { return Err(CallError::NotFound(service)) };
        if *caller != service.tenant && !known.shape().http.callers.contains(caller) {
            return Err(CallError::Denied { caller: caller.clone(), service });
        }
        if parts.uri.host().is_none() || !parts.uri.path().starts_with('/') {
            return Err(CallError::Request("its URI is not absolute".to_owned()));
        }
        let hops = hops(&parts.headers)? + 1;
        if hops > MAX_HOPS {
            return Err(CallError::Loop(MAX_HOPS));
        }
        proxy::strip(&mut parts.headers);
        parts.headers.remove(http::header::HOST);
        parts.headers.insert(HOPS, HeaderValue::from(hops));
        parts.extensions.clear();
        let ask = Ask { parts, body, arrived };
        let answer = self.shared.forward(&known, ask, &mut None).await?;
        Ok(answer.map(BodyExt::boxed_unsync))
    }
}

fn hops(fields: &http::HeaderMap) -> Result<u32, CallError> {
    let Some(value) = fields.get(HOPS) else { return Ok(0) };
    let hops = value.to_str().ok().and_then(|text| text.parse().ok());
    hops.filter(|hops| *hops <= MAX_HOPS)
        .ok_or_else(|| CallError::Request(format!("its field `{HOPS}` is no small number")))
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("config", &self.shared.config).finish_non_exhaustive()
    }
}
