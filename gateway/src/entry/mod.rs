//! A request as it comes from a client: checked, given its service and the fields that say
//! where it came from; and how it is refused.

mod forwarded;
mod id;
mod log;
mod refusal;
mod target;
mod trace;

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{self, HeaderName, HeaderValue};
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::time::Instant;
use wrun_protocol::service::HOPS;

pub(crate) use log::{Entry, Log};

use crate::gateway::Shared;
use crate::proxy::{self, AnswerBody, Ask, Handler};
use refusal::Refusal;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Who is at the other end of a connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    /// The same, as a field's value.
    pub(crate) value: HeaderValue,
    /// Where it connected to.
    pub(crate) local: SocketAddr,
    pub(crate) is_tls: bool,
    /// Whether what it says of those before it is believed.
    pub(crate) is_trusted: bool,
}

impl Client {
    pub(crate) fn new(
        address: SocketAddr,
        local: SocketAddr,
        is_tls: bool,
        shared: &Shared,
    ) -> Self {
        let ip = address.ip().to_canonical();
        let value = HeaderValue::from_str(&ip.to_string());
        let value = value.unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        let is_trusted = shared.config.trusted_proxies.iter().any(|range| range.contains(ip));
        Self { address, value, local, is_tls, is_trusted }
    }
}

impl Shared {
    /// Answers a request of a client, whatever becomes of it.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        client: &Client,
        mut request: Request<Incoming>,
    ) -> Response<AnswerBody> {
        let arrived = Instant::now();
        let id = id::of(request.headers_mut());
        let mut entry = self.log.entry(client, &request, &id);
        let mut handler = None;
        let outcome = self.bring(client, request, &id, arrived, &mut entry, &mut handler).await;
        let mut response = outcome.unwrap_or_else(|refusal| refusal.into_response(&id));
        if let Some(mut entry) = entry {
            entry.on_answer(response.status(), handler, arrived);
            response.body_mut().entry = Some(entry);
        }
        response.headers_mut().insert(REQUEST_ID, id);
        response
    }

    async fn bring(
        self: &Arc<Self>,
        client: &Client,
        request: Request<Incoming>,
        id: &HeaderValue,
        arrived: Instant,
        entry: &mut Option<Box<Entry>>,
        handler: &mut Option<Handler>,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let (mut parts, body) = request.into_parts();
        let uri = target::of(&parts, client)?;
        let service = self.table.known().routes.find(uri.host(), uri.path()).map(Arc::clone);
        let service = service.ok_or(Refusal::NoRoute)?;
        if let Some(entry) = entry {
            entry.service = Some(service.id.clone());
        }
        let fields = &mut parts.headers;
        proxy::strip(fields);
        fields.remove(HOPS);
        let host = fields.remove(header::HOST);
        // The gateway has seen to it.
        fields.remove(header::EXPECT);
        forwarded::set(fields, client, host.or_else(|| target::host_of(&uri)));
        trace::check(fields);
        fields.insert(REQUEST_ID, id.clone());
        parts.uri = uri;
        parts.extensions.clear();
        Ok(self.forward(&service, Ask { parts, body, arrived }, handler).await?)
    }
}
