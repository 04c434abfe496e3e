//! A request that a gateway brings to a replica on another node, on a stream of its own.
//!
//! The gateway's node opens the stream with [`FromPeer::Request`](super::peer::FromPeer) and
//! waits for nothing: a [`RequestHead`] follows in the same packet, then the body. The other
//! node answers with an [`Answer`], then the body of that. Both bodies flow at once, as
//! [`Piece`]s, with the stream's own windows for back-pressure. A side that gives its
//! direction of the stream up, or wants no more of the other's, has cancelled the request.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The head of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestHead {
    /// As HTTP names it, in the case that HTTP gives it.
    pub method: String,
    /// Absolute.
    pub uri: String,
    /// In order.
    pub fields: Vec<Field>,
    /// How long the answer may take, its body included, in milliseconds.
    pub within_ms: u64,
    /// Whether pieces of a body follow.
    pub has_body: bool,
}

/// The head of a response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponseHead {
    /// From 100 to 999.
    pub status: u16,
    /// In order.
    pub fields: Vec<Field>,
    /// Whether pieces of a body follow.
    pub has_body: bool,
}

/// A field of a head, or a trailer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// In lower case.
    pub name: String,
    /// Any bytes that HTTP allows there.
    pub value: Bytes,
}

/// A piece of a body. One that ends without a last piece has broken off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Piece {
    /// Bytes, which follow raw.
    Data {
        /// How many.
        size: u32,
    },
    /// Last: the body is whole.
    End,
    /// Last: the body is whole, and these come after it.
    Trailers(Vec<Field>),
    /// Last: the body breaks off.
    Broken {
        /// Why, in words.
        why: String,
    },
}

/// The first frame of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The guest has answered.
    Response(ResponseHead),
    /// There is no answer, and nothing follows.
    Failed(CallFailure),
}

/// Why a replica has not answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CallFailure {
    /// This attempt is not here, or not any more.
    NotHere,
    /// It handles as many requests as it may.
    Busy,
    /// It takes no more requests.
    Draining,
    /// The time for the answer is over.
    TimedOut {
        /// Whether the guest had begun with it.
        begun: bool,
    },
    /// The request is none that a guest can be given.
    Request {
        /// What is wrong with it.
        problem: String,
    },
    /// No instance could be made for it.
    Setup {
        /// Why, in words.
        message: String,
    },
    /// The guest failed with it.
    Guest {
        /// How, in words.
        message: String,
    },
    /// The replica was stopped.
    Stopped,
}

impl CallFailure {
    /// Whether no guest has seen anything of the request, so that it may go elsewhere
    /// whatever it is.
    pub fn never_begun(&self) -> bool {
        match self {
            Self::NotHere | Self::Busy | Self::Draining | Self::Setup { .. } => true,
            Self::TimedOut { begun } => !begun,
            Self::Request { .. } | Self::Guest { .. } | Self::Stopped => false,
        }
    }
}
