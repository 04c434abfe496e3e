//! A connection of a client: TLS, which HTTP it speaks, and its requests one after the other
//! or beside each other.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::Request;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::guard::{Guard, Overdue, Watch};
use super::tls::Tls;
use crate::entry::Client;
use crate::gateway::Shared;

/// With what a client begins that speaks HTTP/2 without saying so before (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The name of HTTP/2 in TLS (RFC 9113, 3.2).
const H2: &[u8] = b"h2";

/// Written to a client before it can be answered by a request.
const REFUSED: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const TOO_SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// How long a client may take for the last words.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Least that hyper takes for its buffers.
const LEAST_BUFFER: usize = 8 << 10;

/// What hyper may buffer of one connection of HTTP/1, either way.
const BUFFER: usize = 128 << 10;

/// Bytes that a client of HTTP/2 may send on one stream, and on all, before they are read.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// A connection that came in.
pub(super) struct Incoming {
    pub(super) shared: Arc<Shared>,
    pub(super) socket: TcpStream,
    pub(super) address: SocketAddr,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) draining: watch::Receiver<bool>,
}

impl Incoming {
    /// Answers its requests, until it is over.
    pub(super) async fn serve(self) {
        let address = self.address;
        if let Err(error) = self.run().await {
            tracing::debug!(%address, %error, "a connection has ended");
        }
    }

    async fn run(self) -> io::Result<()> {
        self.socket.set_nodelay(true)?;
        let local = self.socket.local_addr()?;
        let client = Client::new(self.address, local, self.tls.is_some(), &self.shared);
        let served = Served::new(self.shared, client, self.draining);
        let Some(tls) = self.tls else { return served.detect(self.socket).await };
        let handshake = tls.acceptor().accept(self.socket);
        let socket = timeout(served.shared.config.head_time, handshake).await??;
        match socket.get_ref().1.alpn_protocol() {
            Some(H2) => served.http2(socket, Bytes::new()).await,
            _ => served.http1(socket, Bytes::new()).await,
        }
    }
}

/// A connection, and what its requests need.
struct Served {
    shared: Arc<Shared>,
    client: Arc<Client>,
    watch: Arc<Watch>,
    draining: watch::Receiver<bool>,
}

/// How a connection ended.
enum End {
    Closed(hyper::Result<()>),
    Overdue(Overdue),
}

impl Served {
    fn new(shared: Arc<Shared>, client: Client, draining: watch::Receiver<bool>) -> Self {
        let watch = Arc::new(Watch::new(shared.clock));
        Self { shared, client: Arc::new(client), watch, draining }
    }

    /// Reads until it is plain which HTTP the client speaks.
    async fn detect(mut self, mut socket: TcpStream) -> io::Result<()> {
        let mut before = BytesMut::with_capacity(PREFACE.len());
        let detected = async {
            while before.len() < PREFACE.len() && PREFACE.starts_with(&before) {
                let missing = PREFACE.len() - before.len();
                if (&mut socket).take(missing as u64).read_buf(&mut before).await? == 0 {
                    break;
                }
            }
            io::Result::Ok(())
        };
        let limit = self.shared.config.head_time;
        tokio::select! {
            detected = timeout(limit, detected) => match detected {
                Ok(detected) => detected?,
                Err(_) if before.is_empty() => return Ok(()),
                Err(_) => return last_words(socket, TOO_SLOW).await,
            },
            () = drained(&mut self.draining) => return Ok(()),
        }
        match before.as_ref() == PREFACE {
            true => self.http2(socket, before.freeze()).await,
            false => self.http1(socket, before.freeze()).await,
        }
    }

    async fn http1<S>(mut self, socket: S, before: Bytes) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let config = &self.shared.config;
        let head_bytes = config.head_bytes as usize;
        let mut http = http1::Builder::new();
        http.header_read_timeout(None)
            .max_header_size(head_bytes)
            .max_buf_size(BUFFER.max(head_bytes).max(LEAST_BUFFER));
        if config.head_fields != DEFAULT_FIELDS {
            http.max_headers(config.head_fields);
        }
        let io = TokioIo::new(Guard::new(socket, before, Arc::clone(&self.watch), true));
        let (shared, client, watch) = self.parts();
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let (shared, client, open) = (Arc::clone(&shared), Arc::clone(&client), watch.open());
            async move {
                let mut response = shared.answer(&client, request).await;
                response.body_mut().open = Some(open);
                Ok::<_, Infallible>(response)
            }
        });
        let mut connection = http.serve_connection(io, service);
        let end = self.drive(Pin::new(&mut connection), http1::Connection::graceful_shutdown).await;
        let words = match end {
            // To hyper, what was refused looks as if the client had gone.
            End::Closed(_) if self.watch.is_refused() && !self.watch.has_requests() => REFUSED,
            End::Closed(Ok(())) | End::Overdue(Overdue::Idle | Overdue::Stuck) => return Ok(()),
            End::Overdue(Overdue::Head) => TOO_SLOW,
            End::Closed(Err(error)) => return Err(io::Error::other(error)),
        };
        last_words(connection.into_parts().io.into_inner().into_socket(), words).await
    }

    async fn http2<S>(mut self, socket: S, before: Bytes) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let config = &self.shared.config;
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .max_concurrent_streams(config.streams)
            .max_pending_accept_reset_streams(config.resets)
            .max_local_error_reset_streams(config.resets.saturating_mul(4))
            .max_header_list_size(config.head_bytes)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(BUFFER)
            .keep_alive_interval(config.keep_alive)
            .keep_alive_timeout(config.head_time);
        let io = TokioIo::new(Guard::new(socket, before, Arc::clone(&self.watch), false));
        let (shared, client, watch) = self.parts();
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let (shared, client) = (Arc::clone(&shared), Arc::clone(&client));
            let mut open = watch.open();
            async move {
                let mut response = shared.answer(&client, request).await;
                // For one connection of HTTP/1 only, and an error here (RFC 9113, 8.2.2).
                response.headers_mut().remove(http::header::CONNECTION);
                open.watch_answer(response.body().ended());
                response.body_mut().open = Some(open);
                Ok::<_, Infallible>(response)
            }
        });
        let connection = pin!(http.serve_connection(io, service));
        match self.drive(connection, http2::Connection::graceful_shutdown).await {
            End::Closed(closed) => closed.map_err(io::Error::other),
            End::Overdue(_) => Ok(()),
        }
    }

    fn parts(&self) -> (Arc<Shared>, Arc<Client>, Arc<Watch>) {
        (Arc::clone(&self.shared), Arc::clone(&self.client), Arc::clone(&self.watch))
    }

    /// Lets a connection go on until it is closed, or something of it takes too long. It is
    /// shut down gracefully when the listeners drain.
    async fn drive<C>(&mut self, mut connection: Pin<&mut C>, shut_down: fn(Pin<&mut C>)) -> End
    where
        C: Future<Output = hyper::Result<()>>,
    {
        let config = &self.shared.config;
        let look = config.head_time.min(config.body_grace).min(config.keep_alive) / 4;
        let mut look = tokio::time::interval(look.max(Duration::from_millis(1)));
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut is_ending = false;
        loop {
            tokio::select! {
                closed = connection.as_mut() => return End::Closed(closed),
                () = drained(&mut self.draining), if !is_ending => {
                    is_ending = true;
                    shut_down(connection.as_mut());
                }
                _ = look.tick() => match self.watch.overdue(config) {
                    None => {}
                    // Its client may be about to send a request, and is told not to.
                    Some(Overdue::Idle) if !is_ending => {
                        is_ending = true;
                        shut_down(connection.as_mut());
                    }
                    Some(overdue) => return End::Overdue(overdue),
                }
            }
        }
    }
}

/// Is over when the listeners drain.
async fn drained(draining: &mut watch::Receiver<bool>) {
    drop(draining.wait_for(|draining| *draining).await);
}

/// What hyper allows without an allocation for each request.
const DEFAULT_FIELDS: usize = 100;

/// Says why, and closes in a way that lets the client read it.
async fn last_words<S>(mut socket: S, words: &[u8]) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let said = async {
        socket.write_all(words).await?;
        socket.shutdown().await?;
        // What it still sends is read: closing before would throw away what was said.
        let mut rest = [0; 1024];
        while socket.read(&mut rest).await? > 0 {}
        Ok(())
    };
    timeout(LAST_WORDS, said).await?
}
