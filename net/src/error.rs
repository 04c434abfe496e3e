//! What can go wrong, per operation. Each text says what, where and what to do; none
//! ever holds a secret.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use wrun_protocol::codec::CodecError;

use crate::address::AddressError;

/// An identity, certificate or credential cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read or written.
    #[error("{action} {}: {}", path.display(), reason(source))]
    File {
        /// `cannot read` or `cannot write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A private file can be read by others.
    #[error("{} holds a private key and others may read it: run `chmod 600` on it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// The content of a file or a field is not what it should be.
    #[error("{what}: {problem}")]
    Malformed {
        /// The file or field.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The certificate's time is over.
    #[error("the certificate expired {} ago: ask an admin of the cluster for a new one", Age(*.since))]
    Expired {
        /// How long ago.
        since: Duration,
    },
    /// The certificate's time has not begun.
    #[error("the certificate becomes valid in {} only: is this machine's clock right?", Age(*.until))]
    NotYetValid {
        /// How long until then.
        until: Duration,
    },
    /// A signing request is not one, or its signature does not fit its key.
    #[error("the certificate signing request cannot be used: {0}")]
    Request(String),
    /// A key or certificate cannot be made.
    #[error("cannot make a key or certificate: {0}")]
    Make(String),
}

impl IdentityError {
    pub(crate) fn malformed(what: impl ToString, problem: impl ToString) -> Self {
        Self::Malformed { what: what.to_string(), problem: problem.to_string() }
    }

    pub(crate) fn make(error: impl ToString) -> Self {
        Self::Make(error.to_string())
    }
}

/// A listener cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address cannot be bound.
    #[error("cannot listen on UDP {address}: {source}{}", hint(source))]
    Bind {
        /// The wanted address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The identity cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// No connection could be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The text is not a server's address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The host name has no address.
    #[error("cannot find the host of `{server}`: {problem}; check the name and this machine's DNS")]
    Resolve {
        /// As given.
        server: String,
        /// What the resolver said.
        problem: String,
    },
    /// Nothing answers there.
    #[error(
        "no wrun server answers at {server} ({tried}): is `wrun server` running there, and does a firewall let UDP through?"
    )]
    NoServer {
        /// As given.
        server: String,
        /// Which addresses, and how each failed.
        tried: String,
    },
    /// Its certificate is of another authority.
    #[error(
        "the server at {server} belongs to another cluster (its certificate is not of the expected authority): use the credential or join token that this cluster gave out"
    )]
    WrongAuthority {
        /// As given.
        server: String,
    },
    /// Its certificate's time is over or has not begun.
    #[error(
        "the certificate of the server at {server} is {problem}: restart the server to renew it, and check the clocks"
    )]
    ServerCertificate {
        /// As given.
        server: String,
        /// `expired`, `not yet valid`, …
        problem: String,
    },
    /// This side's own identity cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The server does not accept this side's certificate.
    #[error("the server at {server} refuses this credential: {problem}")]
    Refused {
        /// As given.
        server: String,
        /// Why, and what to do.
        problem: String,
    },
    /// The two sides have no protocol version in common.
    #[error(
        "the server at {server} speaks another version of the protocol: use the same version of wrun on both sides, or one next to it"
    )]
    Version {
        /// As given.
        server: String,
    },
    /// The server closed the connection, or it broke, before it could be used.
    #[error("the connection to {server} ended at once: {source}")]
    Closed {
        /// As given.
        server: String,
        /// Why.
        source: Closed,
    },
    /// This machine cannot open a socket.
    #[error("cannot open a UDP socket: {0}")]
    Socket(#[source] io::Error),
}

/// Why a connection is no longer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// The peer closed it.
    #[error("closed by the peer: {reason} (code {code})")]
    Peer {
        /// See [`crate::close_code`].
        code: u32,
        /// Said by the peer; at most a line.
        reason: String,
    },
    /// This side closed it.
    #[error("closed by this side")]
    Local,
    /// Nothing was heard of the peer for the idle time.
    #[error("the peer has not answered for too long: it or the network is down")]
    TimedOut,
    /// TLS on the other side refused this side's certificate.
    #[error("the peer refuses this certificate: {0}")]
    Certificate(String),
    /// Anything else.
    #[error("connection lost: {0}")]
    Lost(String),
}

impl Closed {
    /// What quinn says of a connection's end, with TLS alerts put into words.
    pub(crate) fn of(error: quinn::ConnectionError) -> Self {
        use quinn::ConnectionError as Error;
        match error {
            Error::ApplicationClosed(close) => Self::Peer {
                code: u32::try_from(close.error_code.into_inner()).unwrap_or(u32::MAX),
                reason: line(&close.reason),
            },
            error if is_refusal(&error) => {
                Self::Lost("the peer takes no more connections now; try again later".to_owned())
            }
            Error::ConnectionClosed(close) => match alert(close.error_code) {
                Some(alert) => Self::Certificate(refusal(alert)),
                None => Self::Lost(format!("{} {}", close.error_code, line(&close.reason))),
            },
            Error::LocallyClosed => Self::Local,
            Error::TimedOut => Self::TimedOut,
            Error::Reset => Self::Lost("the peer was restarted".to_owned()),
            other => Self::Lost(other.to_string()),
        }
    }
}

/// Whether a listener turned this side away before it looked at it, for want of room.
pub(crate) fn is_refusal(error: &quinn::ConnectionError) -> bool {
    matches!(error, quinn::ConnectionError::ConnectionClosed(close)
        if close.error_code == quinn::TransportErrorCode::CONNECTION_REFUSED)
}

/// TLS alerts (RFC 8446, section 6) that say something of certificates.
pub(crate) mod alerts {
    pub(crate) const CERTIFICATE_EXPIRED: u8 = 45;
    pub(crate) const NO_APPLICATION_PROTOCOL: u8 = 120;
}

/// The TLS alert in a QUIC error code, if it is one.
pub(crate) fn alert(code: quinn::TransportErrorCode) -> Option<u8> {
    let code = u64::from(code);
    u8::try_from(code.checked_sub(0x100)?).ok()
}

fn refusal(alert: u8) -> String {
    match alert {
        alerts::CERTIFICATE_EXPIRED => {
            "it has expired or is not yet valid; ask an admin of the cluster for a new one, and check this machine's clock".to_owned()
        }
        42..=44 | 46..=51 => {
            "it is not one that the cluster's authority gave out; use a credential of this cluster".to_owned()
        }
        alerts::NO_APPLICATION_PROTOCOL => "no version of the protocol in common".to_owned(),
        116 => "a certificate is required".to_owned(),
        other => format!("TLS alert {other}"),
    }
}

/// A peer's words as one line of printable text, at most 200 bytes.
fn line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes.get(..200).unwrap_or(bytes));
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A message or bytes could not be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The message cannot be encoded or is too large. Nothing of it was sent.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The peer wants no more of this stream.
    #[error("the peer stopped the stream (code {0})")]
    Stopped(u32),
    /// The stream was finished or reset by this side.
    #[error("the stream was already finished")]
    Finished,
    /// The connection is no longer.
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// A message or bytes could not be received.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecvError {
    /// What came is no message, or its announced size is too large.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The stream ended in the middle of a frame or of announced raw bytes.
    #[error("the stream ended after {got} of {wanted} bytes")]
    Truncated {
        /// How many were announced.
        wanted: u64,
        /// How many came.
        got: u64,
    },
    /// The peer gave the stream up.
    #[error("the peer gave the stream up (code {0})")]
    Reset(u32),
    /// This side stopped the stream.
    #[error("the stream was already stopped")]
    Stopped,
    /// The connection is no longer.
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// A duration in the largest unit that fits, for people.
struct Age(Duration);

impl std::fmt::Display for Age {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.0.as_secs();
        let (count, unit) = match seconds {
            0..120 => (seconds, "seconds"),
            120..7200 => (seconds / 60, "minutes"),
            7200..172_800 => (seconds / 3600, "hours"),
            _ => (seconds / 86_400, "days"),
        };
        let unit = if count == 1 { unit.trim_end_matches('s') } else { unit };
        write!(f, "{count} {unit}")
    }
}

/// What the system said of a file, and what to do where that is known.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            format!("the disk is full ({error}); make room there")
        }
        _ => error.to_string(),
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => ": another process has this port; stop it or choose another",
        io::ErrorKind::PermissionDenied => ": choose a port above 1023",
        io::ErrorKind::AddrNotAvailable => ": this machine has no such address",
        _ => "",
    }
}
