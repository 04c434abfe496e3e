//! A model in the hands of a caller, and a request on its way.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::sync::oneshot;
use wrun_protocol::{Digest, TenantName};

use crate::batch::axes::Batching;
use crate::batch::queue::RequestId;
use crate::device::Device;
use crate::error::ComputeError;
use crate::served::{Asked, Handle, Outputs};
use crate::signature::Signature;
use crate::stats::ModelStats;
use crate::tensor::NamedTensor;

/// A loaded model. It stays loaded while a handle is held; copies are handles too.
#[derive(Clone, Debug)]
pub struct Model(pub(crate) Handle);

/// Who computes, and until when.
#[derive(Clone, Debug)]
pub struct Call {
    /// Whose turn it uses up.
    pub tenant: TenantName,
    /// The tenant's share against those of others; 0 counts as 1.
    pub weight: u32,
    /// When the answer is of no use any more; the engine's limit holds beside it.
    pub deadline: Option<Instant>,
}

/// A request on its way. To drop it takes it out of the queue, or stops its run when nobody
/// else waits for that.
#[must_use = "a request is cancelled when this is dropped"]
#[derive(Debug)]
pub struct Compute(State);

#[derive(Debug)]
enum State {
    Refused(Option<ComputeError>),
    Queued { model: Handle, id: RequestId, answer: oneshot::Receiver<Outputs> },
    Answered,
}

impl Model {
    /// What it takes and gives.
    pub fn signature(&self) -> &Signature {
        &self.0.about.signature
    }

    /// Its digest; `None` for one that a guest brought itself.
    pub fn digest(&self) -> Option<Digest> {
        self.0.about.key.as_ref().map(|key| key.digest)
    }

    /// Where it is.
    pub fn device(&self) -> Device {
        self.0.about.device
    }

    /// Tells it from other loaded models, as long as a handle to it is held.
    pub fn id(&self) -> usize {
        Arc::as_ptr(self.0.served()).addr()
    }

    /// Bytes that it takes of its device's memory.
    pub fn bytes_on_device(&self) -> u64 {
        self.0.bytes_on_device()
    }

    /// Bytes that it takes on this node, which a guest that brought it can be charged for.
    pub fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    /// Whether its requests are merged and along which axes, or why not. Axes that were proven
    /// can be declared at the next load, which then needs no proof.
    pub fn batching(&self) -> Batching {
        self.0.batching()
    }

    /// What it is and what happened to it so far.
    pub fn stats(&self) -> ModelStats {
        self.0.stats()
    }

    /// Queues a request at once; the future gives all outputs, in the model's order. What is
    /// wrong with the inputs is known at once too, and said by the future.
    pub fn compute(&self, call: Call, inputs: Vec<NamedTensor>) -> Compute {
        let Call { tenant, weight, deadline } = call;
        match self.0.push(Asked { tenant, weight, deadline }, inputs) {
            Ok((id, answer)) => Compute(State::Queued { model: self.0.clone(), id, answer }),
            Err(error) => Compute(State::Refused(Some(error))),
        }
    }
}

impl Future for Compute {
    type Output = Result<Vec<NamedTensor>, ComputeError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (model, answer) = match &mut self.0 {
            State::Refused(error) => {
                return Poll::Ready(Err(error.take().unwrap_or(ComputeError::Stopped)));
            }
            State::Answered => return Poll::Ready(Err(ComputeError::Stopped)),
            State::Queued { model, answer, .. } => (model, answer),
        };
        let Poll::Ready(outputs) = Pin::new(answer).poll(context) else { return Poll::Pending };
        let names = &model.about.signature.outputs;
        let named = outputs
            .unwrap_or(Err(ComputeError::Stopped))
            .map(|outputs| names.iter().map(|output| output.name.clone()).zip(outputs).collect());
        self.0 = State::Answered;
        Poll::Ready(named)
    }
}

impl Drop for Compute {
    fn drop(&mut self) {
        if let State::Queued { model, id, .. } = &self.0 {
            model.cancel(*id);
        }
    }
}
