//! What the core wants done. Effects are data, and ordered: one that follows an
//! [`Effect::Append`] may be released only when that append is durable.

use wrun_protocol::service::ServiceId;
use wrun_protocol::wire::model::Pushed;
use wrun_protocol::wire::service::Deployed;
use wrun_protocol::wire::user::RequestError;
use wrun_protocol::wire::worker::ToWorker;
use wrun_protocol::{JobId, NodeId};

use crate::ended::EndedJob;
use crate::fact::Fact;
use crate::input::RequestId;
use crate::workflow::Preparation;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make this durable. It is applied in memory already.
    Append(Fact),
    /// A job that the [`Effect::Append`] before this one ends, for the history. One for each
    /// such job, in the order in which the fact names them.
    Ended(Box<EndedJob>),
    /// Send to a worker's session, in order; dropped if it is not connected.
    Send {
        /// Whose session.
        node: NodeId,
        /// What.
        message: ToWorker,
    },
    /// Answer a request. Each request gets exactly one.
    Reply {
        /// Which.
        request: RequestId,
        /// What.
        answer: Result<Answer, RequestError>,
    },
    /// Something that a watcher of this job can see has changed. May be coalesced.
    JobChanged(JobId),
    /// What gateways need to know of this service has changed: every worker is to be told what
    /// [`crate::Core::endpoints`] says now, or that the service is gone where it says nothing.
    /// It comes before the [`Effect::Append`] of its cause, so that gateways need not wait for
    /// the disk; may be coalesced.
    Endpoints(ServiceId),
    /// Gather what a step takes of others and make its job → [`crate::Input::StepPrepared`].
    PrepareStep(Box<Preparation>),
    /// Look up which results of this job's tasks are remembered: [`crate::Core::unlooked`] says
    /// of which → [`crate::Input::LookedUp`]. Asked for again after a restart.
    LookUp(JobId),
}

/// A request that was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The job, new or that of an earlier submission with the same id.
    Submitted(JobId),
    /// It is done.
    Done,
    /// The node's number.
    Joined(NodeId),
    /// What a deployment came to.
    Deployed(Deployed),
    /// What pushing a model came to.
    ModelPushed(Pushed),
    /// A model was taken away.
    ModelWithdrawn {
        /// How much live work can load it no more.
        uses: u64,
    },
}
