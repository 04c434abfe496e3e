//! Outgoing HTTP of guests. Denied by the interface's own error until a node can make
//! the connection itself: the address that a granted name resolves to must be checked
//! before anything is sent to it.

use std::sync::Arc;

use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::network::Network;

/// Decides over each request.
pub(crate) struct HttpPolicy {
    network: Option<Arc<Network>>,
}

type Sent =
    Result<(http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>), Error>;

impl HttpPolicy {
    pub(crate) fn new(network: Option<Arc<Network>>) -> Self {
        Self { network }
    }
}

impl WasiHttpHooks for HttpPolicy {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        _options: Option<RequestOptions>,
        _processed: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let _ = (&self.network, request);
        Box::new(async { Err(Error::HttpRequestDenied) })
    }
}
