//! Why a request was not answered, or its answer broke off.

use wrun_protocol::task::Limit;

/// Why a replica did not answer a request; or, as the error of a body, why the answer
/// broke off.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The replica handles as many requests as it may.
    #[error("the replica handles {concurrency} requests, as many as it may")]
    Busy {
        /// [`wrun_protocol::service::HttpService::concurrency`].
        concurrency: u32,
    },
    /// The replica takes no more requests.
    #[error("the replica takes no more requests")]
    Draining,
    /// The deadline is over.
    #[error("no answer within the time for it")]
    TimedOut {
        /// Whether the guest had begun with it.
        begun: bool,
    },
    /// The request is none that a guest can be given.
    #[error("the request cannot be given to a guest: {problem}")]
    Request {
        /// What is wrong with it.
        problem: String,
    },
    /// No instance could be made.
    #[error("no instance could be made: {message}")]
    Setup {
        /// What the engine said.
        message: String,
    },
    /// The guest broke off.
    #[error("the guest trapped: {message}")]
    Trap {
        /// What the engine said.
        message: String,
    },
    /// The guest exited.
    #[error("the guest exited with code {code}")]
    Exit {
        /// Its exit code.
        code: i32,
    },
    /// A limit ended the guest.
    #[error("the guest reached its {limit} of {}", .limit.describe(*.allowed))]
    Limit {
        /// Which.
        limit: Limit,
        /// What was allowed.
        allowed: u64,
    },
    /// The guest answered with an error in place of a response.
    #[error("the guest answered with an error: {code}")]
    Refused {
        /// The error's name and text.
        code: String,
    },
    /// The guest returned without a response.
    #[error("the guest returned without a response")]
    NoResponse,
    /// The body of the answer is not as long as its head said.
    #[error("the guest sent {sent} bytes of a body of {announced}")]
    Length {
        /// `content-length`.
        announced: u64,
        /// What came.
        sent: u64,
    },
    /// The guest did not finish the body of its answer.
    #[error("the guest did not finish the body of its answer")]
    Unfinished,
    /// The request shared an instance with others, one of which ended it.
    #[error("the instance that handled it together with other requests was ended: {why}")]
    Shared {
        /// What ended it.
        why: Box<CallError>,
    },
    /// The replica was stopped, or the client went.
    #[error("the request was stopped")]
    Stopped,
}

impl CallError {
    /// Whether it is what a guest did.
    pub(crate) fn is_of_guest(&self) -> bool {
        match self {
            Self::TimedOut { begun } => *begun,
            Self::Trap { .. }
            | Self::Exit { .. }
            | Self::Limit { .. }
            | Self::Refused { .. }
            | Self::NoResponse
            | Self::Unfinished
            | Self::Length { .. }
            | Self::Shared { .. } => true,
            Self::Busy { .. }
            | Self::Draining
            | Self::Request { .. }
            | Self::Setup { .. }
            | Self::Stopped => false,
        }
    }

    /// Whether no guest has seen anything of the request, so that it may go elsewhere
    /// whatever it is.
    pub fn never_begun(&self) -> bool {
        matches!(
            self,
            Self::Busy { .. }
                | Self::Draining
                | Self::TimedOut { begun: false }
                | Self::Setup { .. }
        )
    }
}
