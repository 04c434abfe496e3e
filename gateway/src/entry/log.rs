//! The access log: a line for each request, written when its answer is over.

mod file;

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderValue, Method, Request, StatusCode, Version};
use serde::Serialize;
use tokio::time::Instant;
use wrun_protocol::service::ServiceId;

use super::Client;
use crate::proxy::Handler;
use crate::{AccessLog, ListenError};
use file::File;

/// Longest part of a path or host that is kept.
const LONGEST: usize = 1024;

/// Where lines go.
#[derive(Debug)]
pub(crate) enum Log {
    Off,
    Events,
    File(File),
}

/// A request, on its way to being a line. Is written when it is dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    log: Destination,
    at: SystemTime,
    id: HeaderValue,
    client: IpAddr,
    method: Method,
    host: Option<String>,
    path: String,
    version: Version,
    pub(crate) service: Option<ServiceId>,
    status: Option<StatusCode>,
    handler: Option<Handler>,
    arrived: Instant,
    /// Until the answer's head.
    answered: Option<Duration>,
    /// Bytes of the answer's body.
    pub(crate) sent: u64,
}

#[derive(Debug)]
enum Destination {
    Events,
    File(File),
}

/// A line in a file.
#[derive(Debug, Serialize)]
struct Line<'a> {
    /// Seconds since 1970, to the millisecond.
    at: f64,
    id: &'a str,
    client: IpAddr,
    method: &'a str,
    host: Option<&'a str>,
    path: &'a str,
    version: &'a str,
    service: Option<String>,
    revision: Option<u32>,
    node: Option<String>,
    attempt: Option<String>,
    /// `null`: the client went before it was answered.
    status: Option<u16>,
    bytes: u64,
    head_us: Option<u64>,
    total_us: u64,
}

impl Log {
    pub(crate) fn open(config: &AccessLog) -> Result<Self, ListenError> {
        Ok(match config {
            AccessLog::Off => Self::Off,
            AccessLog::Events => Self::Events,
            AccessLog::File { path, bytes, keep } => Self::File(File::open(path, *bytes, *keep)?),
        })
    }

    /// A line for this request; `None`: there are no lines.
    pub(super) fn entry<B>(
        &self,
        client: &Client,
        request: &Request<B>,
        id: &HeaderValue,
    ) -> Option<Box<Entry>> {
        let log = match self {
            Self::Off => return None,
            Self::Events if !tracing::enabled!(target: "access", tracing::Level::INFO) => {
                return None;
            }
            Self::Events => Destination::Events,
            Self::File(file) => Destination::File(file.clone()),
        };
        let cut = |text: &str| text.chars().take(LONGEST).collect::<String>();
        let host = request.headers().get(http::header::HOST).and_then(|host| host.to_str().ok());
        Some(Box::new(Entry {
            log,
            at: SystemTime::now(),
            id: id.clone(),
            client: client.address.ip().to_canonical(),
            method: request.method().clone(),
            host: request.uri().host().or(host).map(cut),
            path: cut(request.uri().path()),
            version: request.version(),
            service: None,
            status: None,
            handler: None,
            arrived: Instant::now(),
            answered: None,
            sent: 0,
        }))
    }
}

impl Entry {
    pub(super) fn on_answer(
        &mut self,
        status: StatusCode,
        handler: Option<Handler>,
        arrived: Instant,
    ) {
        self.status = Some(status);
        self.handler = handler;
        self.arrived = arrived;
        self.answered = Some(arrived.elapsed());
    }

    fn line(&self) -> Line<'_> {
        let since = self.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Line {
            at: (since.as_secs_f64() * 1000.0).round() / 1000.0,
            id: self.id.to_str().unwrap_or_default(),
            client: self.client,
            method: self.method.as_str(),
            host: self.host.as_deref(),
            path: &self.path,
            version: match self.version {
                Version::HTTP_10 => "1.0",
                Version::HTTP_2 => "2",
                _ => "1.1",
            },
            service: self.service.as_ref().map(ToString::to_string),
            revision: self.handler.map(|handler| handler.revision),
            node: self.handler.map(|handler| handler.node.to_string()),
            attempt: self.handler.map(|handler| handler.attempt.to_string()),
            status: self.status.map(|status| status.as_u16()),
            bytes: self.sent,
            head_us: self.answered.map(us),
            total_us: us(self.arrived.elapsed()),
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let line = self.line();
        match &self.log {
            Destination::File(file) => file.write(&line),
            Destination::Events => tracing::info!(
                target: "access",
                id = line.id,
                client = %line.client,
                method = line.method,
                host = line.host,
                path = line.path,
                version = line.version,
                service = line.service,
                revision = line.revision,
                node = line.node,
                attempt = line.attempt,
                status = line.status,
                bytes = line.bytes,
                head_us = line.head_us,
                total_us = line.total_us,
                "request"
            ),
        }
    }
}
