//! One run on a thread of the pool: begin, compute, answer.

use std::sync::Arc;
use std::time::Instant;

use super::{Answers, Outputs, Payload, Resident, Run, Served};
use crate::back_end::{RunError, Stop};
use crate::batch::axes::{AloneReason, Axes, Batching};
use crate::batch::queue::{RequestId, RunId, Started};
use crate::error::ComputeError;
use crate::pool::Work;
use crate::tensor::Tensor;

/// What is needed to compute, without the lock.
struct Begun {
    run: RunId,
    ids: Vec<RequestId>,
    payloads: Vec<Payload>,
    graph: Arc<Resident>,
    axes: Option<Arc<Axes>>,
    stop: Arc<Stop>,
}

impl Work for Served {
    fn work(self: Arc<Self>) {
        let Some(begun) = self.begin() else { return };
        let since = Instant::now();
        let (outputs, wrong) = self.compute(&begun);
        let tenants = begun.payloads.iter().map(|it| (&it.tenant, it.weight));
        self.place.pool.charge(tenants, since.elapsed());
        self.finish(begun, outputs, wrong);
    }
}

impl Served {
    fn begin(&self) -> Option<Begun> {
        let now = Instant::now();
        let mut state = self.state();
        state.submitted = false;
        // What is over its deadline goes first, so that it is not run.
        let expired = state.tell(now);
        let started = state.queue.start(now);
        let begun = started.zip(state.graph.clone()).map(|(started, graph)| {
            let Started { run, requests } = started;
            let (ids, payloads): (Vec<_>, Vec<_>) = requests.into_iter().unzip();
            let stop = Arc::new(Stop::default());
            let under_way = Run { stop: Arc::clone(&stop), abandoned: None, lost: false };
            state.runs.insert(run, under_way);
            state.counts.batch_size.add(ids.len() as u64);
            for id in &ids {
                if let Some(reply) = state.replies.get_mut(id) {
                    reply.started = Some(now);
                    let waited = now.saturating_duration_since(reply.since);
                    state.counts.queueing.add_time(waited);
                }
            }
            Begun { run, ids, payloads, graph, axes: state.axes.clone(), stop }
        });
        self.settle(state, now).send();
        expired.send();
        begun
    }

    /// The outputs of each request, and what was wrong with running them together.
    fn compute(&self, begun: &Begun) -> (Vec<Outputs>, Option<String>) {
        let Begun { payloads, axes, .. } = begun;
        let mut wrong = None;
        if payloads.len() > 1
            && let Some(axes) = axes
        {
            match self.together(begun, axes) {
                Ok(outputs) => return (outputs, None),
                Err(Wrong::Stopped) => {}
                Err(Wrong::Run) => {}
                Err(Wrong::Split(problem)) => wrong = Some(problem),
            }
        }
        // One by one: what is wrong with one request must not fail its company.
        let alone = |payload: &Payload| {
            let outputs = self.run(begun, payload.inputs.clone())?;
            self.check_outputs(&outputs)?;
            Ok(outputs)
        };
        (payloads.iter().map(alone).collect(), wrong)
    }

    fn together(&self, begun: &Begun, axes: &Axes) -> Result<Vec<Outputs>, Wrong> {
        let mut outputs = Vec::with_capacity(begun.payloads.len());
        let mut rest = begun.payloads.as_slice();
        while !rest.is_empty() {
            // Where each number of rows costs a preparation, only powers of two are run.
            let count = match begun.graph.graph.prepares_each_size() {
                true => 1 << rest.len().ilog2(),
                false => rest.len(),
            };
            let (some, others) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            outputs.extend(self.merged(begun, axes, some)?);
            rest = others;
        }
        Ok(outputs)
    }

    fn merged(
        &self,
        begun: &Begun,
        axes: &Axes,
        payloads: &[Payload],
    ) -> Result<Vec<Outputs>, Wrong> {
        let requests: Vec<_> = payloads.iter().map(|it| it.inputs.clone()).collect();
        let rows: Vec<_> = payloads.iter().map(|it| it.rows).collect();
        let outputs = begun.graph.graph.run(axes.merge(&requests), &begun.stop);
        let outputs = outputs.map_err(|error| match error {
            RunError::Stopped => Wrong::Stopped,
            RunError::Failed(_) | RunError::TooLarge { .. } => Wrong::Run,
        })?;
        let parts = axes.split(&outputs, &rows).map_err(|error| Wrong::Split(error.to_string()))?;
        let checked = |outputs: Vec<Tensor>| self.check_outputs(&outputs).map(|()| outputs);
        Ok(parts.into_iter().map(checked).collect())
    }

    fn run(&self, begun: &Begun, inputs: Vec<Tensor>) -> Outputs {
        let back_end = self.about.back_end;
        begun.graph.graph.run(inputs, &begun.stop).map_err(|error| match error {
            // Nobody listens: the queue stops a run when nobody wants it.
            RunError::Stopped => ComputeError::Unloaded,
            RunError::Failed(problem) => ComputeError::Failed { back_end, problem },
            RunError::TooLarge { what, size, limit } => {
                ComputeError::TooLarge { what, size, limit }
            }
        })
    }

    fn check_outputs(&self, outputs: &[Tensor]) -> Result<(), ComputeError> {
        let size = outputs.iter().map(|tensor| tensor.data().len() as u64).sum();
        let limit = self.place.limits.request_bytes;
        if size > limit {
            let what = "the sum of the outputs".to_owned();
            return Err(ComputeError::TooLarge { what, size, limit });
        }
        Ok(())
    }

    fn finish(&self, begun: Begun, outputs: Vec<Outputs>, wrong: Option<String>) {
        let Begun { run, ids, payloads, graph, .. } = begun;
        drop((payloads, graph));
        let now = Instant::now();
        let mut answers = Answers::default();
        let mut state = self.state();
        state.queue.ended(now, run);
        if state.runs.remove(&run).is_some_and(|run| run.lost) {
            self.place.pool.found();
        }
        if let Some(problem) = wrong {
            tracing::warn!(model = self.about.name, problem, "requests run alone from now on");
            state.batching = Batching::Alone(AloneReason::WentWrong { problem });
            state.axes = None;
        }
        for (id, outputs) in ids.into_iter().zip(outputs) {
            // Who has gone, or was told that the time is over, has no reply left.
            let Some(reply) = state.replies.remove(&id) else { continue };
            state.counts.failed += u64::from(outputs.is_err());
            state.counts.latency.add_time(now.saturating_duration_since(reply.since));
            answers.0.push((reply.sender, outputs));
        }
        let expired = self.settle(state, now);
        answers.send();
        expired.send();
    }
}

/// Why requests have no outputs together.
enum Wrong {
    Stopped,
    Run,
    Split(String),
}
