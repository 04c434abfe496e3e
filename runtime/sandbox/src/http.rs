//! Outgoing HTTP of guests. A host must be granted, and the connection goes to an
//! address that was checked: a name is resolved once, here, so that it cannot lead
//! elsewhere between check and connection. A service of the cluster is no address: the
//! node carries the request there.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, LazyLock};
use std::task::{Poll, ready};
use std::time::Duration;

use http::uri::{PathAndQuery, Scheme};
use http::{HeaderName, Request, Response, Uri};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, RequestOptions, WasiBody, WasiHttpHooks,
};
use wrun_protocol::service::SERVICE_DOMAIN;

use crate::bodies::{self, Lent};
use crate::hops::{self, Hops};
use crate::network::Network;
use crate::{BodyError, ServiceCallError, ServiceCaller};

/// Where the guest sets no time-out.
const PATIENCE: Duration = Duration::from_secs(600);

/// Decides over each request and sends it.
pub(crate) struct HttpPolicy {
    network: Option<Arc<Network>>,
    services: Option<Arc<dyn ServiceCaller>>,
    pub(crate) hops: Hops,
}

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Result<(Response<WasiBody>, Io), Error>;
type Connection = http1::Connection<TokioIo<Box<dyn Stream>>, WasiBody>;

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// The public authorities that web servers are certified by.
static TLS: LazyLock<Result<TlsConnector, rustls::Error>> = LazyLock::new(|| {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
});

impl HttpPolicy {
    pub(crate) fn new(
        network: Option<Arc<Network>>,
        services: Option<Arc<dyn ServiceCaller>>,
    ) -> Self {
        Self { network, services, hops: Hops::default() }
    }
}

impl WasiHttpHooks for HttpPolicy {
    /// The standard answer makes a closure for every field that it is asked about.
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        DEFAULT_FORBIDDEN_HEADERS.contains(name)
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        bodies::PIECES
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        bodies::PIECE
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        bodies::PIECE
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: Io,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let (network, services) = (self.network.clone(), self.services.clone());
        let hops = self.hops.now();
        let (mut head, body) = request.into_parts();
        let body = Lent::new(bodies::unmarked(body));
        Box::new(async move {
            let within = is_service(&head.uri);
            if within {
                hops::put(&mut head.headers, hops);
            }
            let request = Request::from_parts(head, body.clone().boxed_unsync());
            let sent = match network {
                None => Err(Error::HttpRequestDenied),
                Some(network) if within => send_within(&network, services, request, options).await,
                Some(network) => send(&network, request, options).await,
            };
            if sent.is_err() {
                tokio::spawn(body.drain());
            }
            sent
        })
    }
}

fn is_service(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().to_ascii_lowercase();
    host.strip_suffix(SERVICE_DOMAIN).is_some_and(|labels| labels.ends_with('.'))
}

/// To a service of the cluster.
async fn send_within(
    network: &Network,
    services: Option<Arc<dyn ServiceCaller>>,
    request: Request<WasiBody>,
    options: Option<RequestOptions>,
) -> Sent {
    let (host, port) = target(request.uri())?;
    if !network.allows_host(host, port) {
        return Err(Error::HttpRequestDenied);
    }
    let services = services.ok_or(Error::DestinationUnavailable)?;
    let patience = options.and_then(|options| options.first_byte_timeout).unwrap_or(PATIENCE);
    let answer = services.call(request.map(|body| body.map_err(Into::into).boxed_unsync()));
    let answer = timeout(patience, answer).await.map_err(|_| Error::ConnectionReadTimeout)?;
    let broken = |error: BodyError| Error::InternalError(Some(error.to_string()));
    let response = answer.map_err(refusal)?.map(|body| body.map_err(broken).boxed_unsync());
    Ok((response, Box::new(async { Ok(()) })))
}

fn refusal(error: ServiceCallError) -> Error {
    match error {
        ServiceCallError::NotFound => Error::DestinationNotFound,
        ServiceCallError::Denied => Error::HttpRequestDenied,
        ServiceCallError::Unavailable => Error::DestinationUnavailable,
        ServiceCallError::TimedOut => Error::HttpResponseTimeout,
        ServiceCallError::Loop => Error::LoopDetected,
        ServiceCallError::Failed(text) => Error::InternalError(Some(text)),
    }
}

/// Host and port that a URI names.
fn target(uri: &Uri) -> Result<(&str, u16), Error> {
    let default = if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let host = uri.host().ok_or(Error::HttpRequestUriInvalid)?;
    Ok((host, uri.port_u16().unwrap_or(default)))
}

async fn send(
    network: &Network,
    mut request: Request<WasiBody>,
    options: Option<RequestOptions>,
) -> Sent {
    let patience = |chosen: Option<Duration>| chosen.unwrap_or(PATIENCE);
    let to_connect = patience(options.as_ref().and_then(|options| options.connect_timeout));
    let to_first = patience(options.as_ref().and_then(|options| options.first_byte_timeout));
    let stream = timeout(to_connect, connect(network, request.uri()));
    let stream = stream.await.map_err(|_| Error::ConnectionTimeout)??;
    let handshake = http1::Builder::new().handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await?;
    *request.uri_mut() = origin_form(request.uri());
    let response = async move {
        let response = timeout(to_first, sender.send_request(request)).await;
        Ok(response.map_err(|_| Error::ConnectionReadTimeout)??)
    };
    let (response, connection) = drive(response, connection).await?;
    let response = response.map(|body: hyper::body::Incoming| body.map_err(Error::from));
    let io: Io = Box::new(async move {
        match connection {
            Some(connection) => connection.await.map_err(Error::from),
            None => Ok(()),
        }
    });
    Ok((response.map(BodyExt::boxed_unsync), io))
}

async fn connect(network: &Network, uri: &Uri) -> Result<Box<dyn Stream>, Error> {
    let secure = uri.scheme() == Some(&Scheme::HTTPS);
    let (host, port) = target(uri)?;
    let addresses = network.resolve(host, port).await.ok_or(Error::HttpRequestDenied)?;
    if addresses.is_empty() {
        return Err(Error::DestinationIpProhibited);
    }
    let stream = TcpStream::connect(addresses.as_slice()).await.map_err(Error::Connect)?;
    if !secure {
        return Ok(Box::new(stream));
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(bare).map_err(|_| Error::HttpRequestUriInvalid)?;
    let connector = TLS.as_ref().map_err(|_| Error::ConfigurationError)?;
    Ok(Box::new(connector.connect(name, stream).await.map_err(Error::Tls)?))
}

/// A server is sent path and query alone; scheme and authority are for proxies.
fn origin_form(uri: &Uri) -> Uri {
    let path = uri.path_and_query().cloned();
    Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")))
}

/// Waits for the response while the connection does its I/O. Gives the connection back
/// unless it has ended.
async fn drive<R>(
    response: impl Future<Output = Result<R, Error>>,
    connection: Connection,
) -> Result<(R, Option<Connection>), Error> {
    let mut response = pin!(response);
    let mut connection = Some(connection);
    let answer = poll_fn(|cx| {
        if let Poll::Ready(answer) = response.as_mut().poll(cx) {
            return Poll::Ready(answer);
        }
        let Some(driven) = connection.as_mut() else { return Poll::Pending };
        let ended = ready!(Pin::new(driven).poll(cx));
        connection = None;
        match ended {
            Ok(()) => response.as_mut().poll(cx),
            Err(error) => Poll::Ready(Err(error.into())),
        }
    });
    Ok((answer.await?, connection))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Empty;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use wrun_protocol::job::HostGrant;

    fn request(uri: &str) -> Request<WasiBody> {
        let body = Empty::new().map_err(|never: std::convert::Infallible| match never {});
        Request::builder().uri(uri).body(body.boxed_unsync()).unwrap()
    }

    fn policy(host: &str) -> HttpPolicy {
        let grants = [HostGrant { host: host.to_owned(), port: None }];
        HttpPolicy::new(Network::new(&grants, &[]), None)
    }

    async fn sent(mut policy: HttpPolicy, uri: &str) -> Sent {
        let processed: Io = Box::new(async { Ok(()) });
        Box::into_pin(policy.send_request(request(uri), None, processed)).await
    }

    #[tokio::test]
    async fn a_granted_host_is_sent_the_request_and_answers() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let serve = tokio::spawn(async move {
            let (mut stream, _) = server.accept().await.unwrap();
            let mut head = [0; 1024];
            let size = stream.read(&mut head).await.unwrap();
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
            stream.write_all(answer).await.unwrap();
            String::from_utf8(head[..size].to_vec()).unwrap()
        });
        let uri = format!("http://{address}/path?query");
        let (response, io) = sent(policy("127.0.0.1"), &uri).await.ok().unwrap();
        let io = tokio::spawn(Box::into_pin(io));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "hello");
        assert!(serve.await.unwrap().starts_with("GET /path?query HTTP/1.1\r\n"));
        io.abort();
    }

    #[tokio::test]
    async fn what_was_not_granted_is_denied_before_anything_is_sent() {
        let denied = sent(HttpPolicy::new(None, None), "http://127.0.0.1:1/").await;
        assert!(matches!(denied, Err(Error::HttpRequestDenied)));
        let denied = sent(policy("example.com"), "http://127.0.0.1:1/").await;
        assert!(matches!(denied, Err(Error::HttpRequestDenied)));
        let denied = sent(policy("localhost"), "http://localhost:1/").await;
        assert!(matches!(denied, Err(Error::DestinationIpProhibited)));
    }
}
