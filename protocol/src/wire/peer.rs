//! Between two workers. The first frame of a stream says what it is for: a gang of which both
//! have tasks, or a request to a replica, of which [`super::forward`] tells.
//!
//! Of a gang, whoever has something to send opens a bidirectional stream and says
//! [`FromPeer::Open`]; messages flow from there to the other side, and permission to send
//! flows back. A stream serves all tasks of the gang on the two nodes in this one direction.
//!
//! Nothing is sent that the receiver has no room for: whoever reads a stream never waits, so
//! that a task that does not receive delays no other. A message that takes up to half of
//! [`GANG_WINDOW`](crate::limits::GANG_WINDOW) is sent when there is credit for it; for a
//! larger one the sender asks, and sends it when the receiving task wants it.

use serde::{Deserialize, Serialize};

use crate::{AttemptId, JobId};

/// A task that sends and one that receives, by their ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Route {
    /// The sender.
    pub from: u32,
    /// The receiver.
    pub to: u32,
}

/// From the side that opened the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromPeer {
    /// First: which gang, and which execution of it → [`ToPeer::Opened`] or
    /// [`ToPeer::Refused`].
    Open {
        /// The job.
        job: JobId,
        /// The gang's attempt.
        attempt: u32,
    },
    /// The sender has something for the receiver → [`ToPeer::Credit`] once the receiver has
    /// room. Once for a route.
    Begin(Route),
    /// A message. Its bytes follow, raw.
    Message {
        /// Of whom, to whom.
        route: Route,
        /// How many bytes follow.
        size: u32,
    },
    /// The next message is too large to be sent unasked → [`ToPeer::Wanted`].
    Offer {
        /// Of whom, to whom.
        route: Route,
        /// How many bytes it has.
        size: u32,
    },
    /// The sender has come to a barrier, and lets the receiver know.
    AtBarrier(Route),
    /// The sender has ended: nothing more comes from it.
    Ended(Route),
    /// First: a request for a replica. Its head follows, a
    /// [`RequestHead`](super::forward::RequestHead) →
    /// [`Answer`](super::forward::Answer).
    Request {
        /// The replica.
        attempt: AttemptId,
    },
}

/// The answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToPeer {
    /// The gang is here, in this attempt.
    Opened,
    /// It is not; the stream ends.
    Refused(Refusal),
    /// The receiver has room for so much more.
    Credit {
        /// Of whom, to whom.
        route: Route,
        /// Bytes, with [`GANG_MESSAGE_COST`](crate::limits::GANG_MESSAGE_COST) for each message.
        bytes: u32,
    },
    /// The receiver wants the message that was offered.
    Wanted(Route),
    /// The receiver has ended: it takes nothing more.
    Gone(Route),
}

/// Why a stream is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// This attempt of the gang is over.
    Stale {
        /// The attempt that this node knows.
        current: u32,
    },
    /// This node has no task of that gang, or none any more.
    Unknown,
    /// The node that asks has no task of that gang.
    NotAMember,
}

/// Codes with which a stream between workers is given up.
pub mod stream_code {
    /// The gang has ended here, or is being stopped; or the request is given up. Nothing is
    /// wrong with the peer.
    pub const OVER: u32 = 0;
    /// The peer did what the protocol does not know.
    pub const PROTOCOL: u32 = 1;
}
