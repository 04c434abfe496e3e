//! Requests that the core has not answered yet. A batch of submissions takes consecutive
//! request numbers and is answered as a whole.

use std::collections::BTreeMap;

use tokio::sync::oneshot;
use wrun_core::{Answer, RequestId};
use wrun_protocol::wire::user::RequestError;

/// The answers to a batch, in order.
pub(crate) type Batch = Vec<Result<Answer, RequestError>>;

/// Every batch that waits, by its first request number.
#[derive(Debug, Default)]
pub(super) struct Pending {
    batches: BTreeMap<u64, Waiting>,
    next: u64,
}

#[derive(Debug)]
struct Waiting {
    answers: Vec<Option<Result<Answer, RequestError>>>,
    left: usize,
    reply: oneshot::Sender<Batch>,
}

impl Pending {
    /// Request numbers for a batch of `count`: the first of consecutive ones.
    pub(super) fn expect(&mut self, count: usize, reply: oneshot::Sender<Batch>) -> u64 {
        let first = self.next;
        self.next += count as u64;
        let answers = std::iter::repeat_with(|| None).take(count).collect();
        self.batches.insert(first, Waiting { answers, left: count, reply });
        first
    }

    /// Takes the answer to one request; passes the batch on with its last one.
    pub(super) fn on_answer(&mut self, request: RequestId, answer: Result<Answer, RequestError>) {
        let Some((&first, waiting)) = self.batches.range_mut(..=request.0).next_back() else {
            return;
        };
        let index = usize::try_from(request.0 - first).unwrap_or(usize::MAX);
        let Some(slot) = waiting.answers.get_mut(index) else { return };
        if slot.replace(answer).is_none() {
            waiting.left -= 1;
        }
        if waiting.left == 0
            && let Some(done) = self.batches.remove(&first)
        {
            // The peer may have gone meanwhile; what it asked for is done all the same.
            let _ = done.reply.send(done.answers.into_iter().flatten().collect());
        }
    }

    /// How many batches wait.
    pub(super) fn len(&self) -> usize {
        self.batches.len()
    }
}

#[cfg(test)]
mod tests {
    use wrun_protocol::JobId;

    use super::*;

    #[tokio::test]
    async fn a_batch_is_answered_with_its_last_request() {
        let mut pending = Pending::default();
        let (one, mut first) = oneshot::channel();
        let (two, second) = oneshot::channel();
        let a = pending.expect(2, one);
        let b = pending.expect(1, two);
        pending.on_answer(RequestId(a + 1), Ok(Answer::Submitted(JobId(2))));
        pending.on_answer(RequestId(b), Ok(Answer::Done));
        assert!(first.try_recv().is_err());
        pending.on_answer(RequestId(a), Ok(Answer::Submitted(JobId(1))));
        let jobs = [Ok(Answer::Submitted(JobId(1))), Ok(Answer::Submitted(JobId(2)))];
        assert_eq!(first.await.unwrap(), jobs);
        assert_eq!(second.await.unwrap(), [Ok(Answer::Done)]);
        assert_eq!(pending.len(), 0);
    }

    #[test]
    fn an_answer_that_nobody_waits_for_is_dropped() {
        let mut pending = Pending::default();
        pending.on_answer(RequestId(7), Ok(Answer::Done));
        assert_eq!(pending.len(), 0);
    }
}
