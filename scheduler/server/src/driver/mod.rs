//! The one owner of the core, and how the rest of the server talks to it.
//!
//! [`Driver`] is the cheap handle that requests and sessions hold; [`run::Run`] is the task
//! behind it. Commands go through one bounded channel: whoever sends waits while the core
//! is behind, and with it the peer whose bytes it no longer reads.

mod held;
mod pending;
mod recorder;
mod run;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use wrun_core::input::Prior;
use wrun_core::workflow::Prepared;
use wrun_core::{Answer, Core, Input, Remembered, RequestId};
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::node::NodeInfo;
use wrun_protocol::scheduling::Offer;
use wrun_protocol::wire::service::Deployed;
use wrun_protocol::wire::user::{ErrorCode, RequestError};
use wrun_protocol::wire::worker::{Assignment, ComponentKind};
use wrun_protocol::{IndexRange, JobId, NodeId, SubmitId, TenantName};

use crate::outbox::Outbox;
use pending::Batch;

pub(crate) use recorder::{Begin, Recorder, Untold};
pub(crate) use run::{Parts, Run};

/// Commands that wait for the core, at most.
pub(crate) const MAX_WAITING: usize = 1024;

/// A job whose specification, component and blobs were checked.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    pub(crate) id: SubmitId,
    pub(crate) kind: ComponentKind,
    pub(crate) spec: EncodedSpec,
    /// Jobs that it waits for and that have ended.
    pub(crate) ended: Vec<Prior>,
    /// Results of its tasks that are remembered, where they were looked up: not for a job that
    /// is to wait.
    pub(crate) known: Option<Vec<Remembered>>,
}

type MakeInput = Box<dyn FnOnce(RequestId) -> Input + Send>;
type Look = Box<dyn FnOnce(&Core) -> Tell + Send>;
/// Gives a view's result to whoever asked.
pub(crate) type Tell = Box<dyn FnOnce() + Send>;

/// What the owner of the core is asked to do.
pub(crate) enum Command {
    /// Submit jobs of one tenant; answered when the last of them is durable.
    Submit { tenant: TenantName, jobs: Vec<Accepted>, reply: oneshot::Sender<Batch> },
    /// Anything else that is answered once.
    Ask { make: MakeInput, reply: oneshot::Sender<Batch> },
    /// Look at the core; told once everything that was seen is durable, and also in the
    /// history where `recorded`.
    View { look: Look, recorded: bool },
    /// What came of a step's preparation.
    Prepared { workflow: JobId, step: u16, prepared: Prepared },
    /// What is remembered of these tasks' results.
    LookedUp { job: JobId, tasks: Vec<IndexRange>, known: Vec<Remembered> },
    /// A node's session has begun.
    Connect {
        node: NodeId,
        outbox: Arc<Outbox>,
        /// Where it listens for other nodes, if it has said.
        listens: Option<SocketAddr>,
        info: NodeInfo,
        offer: Offer,
        incarnation: u64,
        attempts: Vec<Assignment>,
    },
    /// A message of a node's session; dropped if it is no longer the node's.
    Node { node: NodeId, session: u64, input: Input },
    /// A node's session has ended.
    Disconnect { node: NodeId, session: u64 },
    /// Make everything durable, then end.
    Stop,
}

/// The handle to the core's owner.
#[derive(Clone)]
pub(crate) struct Driver {
    commands: mpsc::Sender<Command>,
}

impl Driver {
    /// A handle, and where its commands arrive.
    pub(crate) fn channel() -> (Self, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel(MAX_WAITING);
        (Self { commands }, receiver)
    }

    /// Submits jobs; one answer for each, in order, once all are durable.
    pub(crate) async fn submit(
        &self,
        tenant: TenantName,
        jobs: Vec<Accepted>,
    ) -> Result<Vec<Result<JobId, RequestError>>, RequestError> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let (reply, answers) = oneshot::channel();
        self.send(Command::Submit { tenant, jobs, reply }).await?;
        let answers = answers.await.map_err(|_| stopping())?;
        let job = |answer| match answer {
            Ok(Answer::Submitted(job)) => Ok(job),
            Ok(other) => Err(unexpected(other)),
            Err(error) => Err(error),
        };
        Ok(answers.into_iter().map(job).collect())
    }

    /// Asks the core for one thing; the answer comes once it is durable.
    pub(crate) async fn ask(
        &self,
        make: impl FnOnce(RequestId) -> Input + Send + 'static,
    ) -> Result<Answer, RequestError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Ask { make: Box::new(make), reply }).await?;
        let answers = answer.await.map_err(|_| stopping())?;
        answers.into_iter().next().unwrap_or_else(|| Err(stopping()))
    }

    /// Asks for one thing whose answer says only that it is done.
    pub(crate) async fn ask_done(
        &self,
        make: impl FnOnce(RequestId) -> Input + Send + 'static,
    ) -> Result<(), RequestError> {
        match self.ask(make).await? {
            Answer::Done => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Deploys a service; what that came to, once it is durable.
    pub(crate) async fn deploy(
        &self,
        make: impl FnOnce(RequestId) -> Input + Send + 'static,
    ) -> Result<Deployed, RequestError> {
        match self.ask(make).await? {
            Answer::Deployed(deployed) => Ok(deployed),
            other => Err(unexpected(other)),
        }
    }

    /// Looks at the core. What is returned was durable, and in the history, by then: what
    /// `look` did not find in the core any more is found there.
    pub(crate) async fn view<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Core) -> T + Send + 'static,
    ) -> Result<T, RequestError> {
        self.look(true, look).await
    }

    /// Looks at the core for what is live only. What is returned was durable by then. Unlike
    /// [`Self::view`] it does not wait for the history.
    pub(crate) async fn view_live<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Core) -> T + Send + 'static,
    ) -> Result<T, RequestError> {
        self.look(false, look).await
    }

    async fn look<T: Send + 'static>(
        &self,
        recorded: bool,
        look: impl FnOnce(&Core) -> T + Send + 'static,
    ) -> Result<T, RequestError> {
        let (reply, seen) = oneshot::channel();
        let look: Look = Box::new(move |core| {
            let found = look(core);
            Box::new(move || {
                // Nobody waits any more for an answer that nobody takes.
                let _ = reply.send(found);
            })
        });
        self.send(Command::View { look, recorded }).await?;
        seen.await.map_err(|_| stopping())
    }

    /// Asks for the end without waiting, for those who are dropped.
    pub(crate) fn stop_soon(&self) {
        let commands = self.commands.clone();
        if commands.try_send(Command::Stop).is_err()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { commands.send(Command::Stop).await.is_ok() });
        }
    }

    /// Sends a command that has no answer, or carries the way of its answer.
    pub(crate) async fn send(&self, command: Command) -> Result<(), RequestError> {
        self.commands.send(command).await.map_err(|_| stopping())
    }
}

/// What a request is told that meets the server's end.
pub(crate) fn stopping() -> RequestError {
    RequestError::new(ErrorCode::Unavailable, "the server is stopping; try again when it is back")
}

fn unexpected(answer: Answer) -> RequestError {
    tracing::error!(?answer, "the core gave an answer of another kind");
    RequestError::new(ErrorCode::Internal, "the scheduler gave an answer of another kind")
}
