//! What waits to be sent to one worker: filled by the driver, emptied by the session in
//! batches. Bounded by messages and bytes; a worker too slow to keep it below the bound
//! loses its session and starts over, instead of growing the server. News for its gateway
//! are kept apart: of those only the newest count.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use wrun_protocol::task::Content;
use wrun_protocol::wire::worker::ToWorker;

use crate::gateways::News;

/// Most messages that wait for one worker. A full backlog of distinct jobs is 8192
/// specifications and as many assignments.
const MAX_MESSAGES: usize = 64 * 1024;

/// Most bytes that wait for one worker.
const MAX_BYTES: usize = 64 << 20;

/// Most services and nodes of which news wait for one worker: beyond what a cluster has, as
/// only services that come and go leave more than there are.
const MAX_NEWS: usize = 64 * 1024;

/// Why an outbox takes nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndReason {
    /// The worker does not keep up.
    Slow,
    /// A newer session of the same node took over.
    Replaced,
    /// The server stops.
    Stopped,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// Tells the sessions of one node apart; never used twice while the server runs.
    number: u64,
    queue: Mutex<Queue>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    messages: Vec<ToWorker>,
    bytes: usize,
    news: News,
    /// Whether the session's first message has left: before it nothing else does.
    welcomed: bool,
    ended: Option<EndReason>,
}

impl Outbox {
    /// The outbox of a new session.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { number, queue: Mutex::default(), changed: Notify::new() }
    }

    /// Changes what its gateway is to be told.
    pub(crate) fn tell(&self, change: impl FnOnce(&mut News)) {
        let mut queue = self.lock();
        if queue.ended.is_some() {
            return;
        }
        change(&mut queue.news);
        if queue.news.len() > MAX_NEWS {
            queue.end(EndReason::Slow);
        }
        drop(queue);
        self.changed.notify_one();
    }

    /// The session's number.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Adds `messages`, leaving the vector empty. `false` once the outbox has ended, be it
    /// for these messages being too many.
    pub(crate) fn push(&self, messages: &mut Vec<ToWorker>) -> bool {
        let mut queue = self.lock();
        if queue.ended.is_some() {
            messages.clear();
            return false;
        }
        queue.bytes += messages.iter().map(weight).sum::<usize>();
        queue.messages.append(messages);
        let fits = queue.messages.len() <= MAX_MESSAGES && queue.bytes <= MAX_BYTES;
        if !fits {
            queue.end(EndReason::Slow);
        }
        drop(queue);
        self.changed.notify_one();
        fits
    }

    /// Ends it: what waits is dropped.
    pub(crate) fn end(&self, reason: EndReason) {
        self.lock().end(reason);
        self.changed.notify_one();
    }

    /// Everything that waits, as soon as there is something.
    pub(crate) async fn take(&self) -> Result<Vec<ToWorker>, EndReason> {
        loop {
            let (mut messages, news, place) = self.lock().take()?;
            // Before all else but the welcome: a gateway is to send nothing more to a replica
            // that is told to go.
            messages.splice(place..place, news.into_messages());
            if !messages.is_empty() {
                return Ok(messages);
            }
            self.changed.notified().await;
        }
    }

    /// Why it has ended, if it has.
    pub(crate) fn ended(&self) -> Option<EndReason> {
        self.lock().ended
    }

    /// A panic while the lock was held cannot leave the queue half changed.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// What may leave now, and at which place among the messages the news do.
    fn take(&mut self) -> Result<(Vec<ToWorker>, News, usize), EndReason> {
        if let Some(reason) = self.ended {
            return Err(reason);
        }
        let begins = matches!(self.messages.first(), Some(ToWorker::Welcome { .. }));
        self.welcomed |= begins;
        self.bytes = 0;
        let news = if self.welcomed { std::mem::take(&mut self.news) } else { News::default() };
        Ok((std::mem::take(&mut self.messages), news, usize::from(begins)))
    }

    fn end(&mut self, reason: EndReason) {
        self.ended.get_or_insert(reason);
        self.messages = Vec::new();
        self.news = News::default();
        self.bytes = 0;
    }
}

/// About what a message takes in memory.
fn weight(message: &ToWorker) -> usize {
    let inner = match message {
        ToWorker::Job { spec, tenant, .. } => spec.as_bytes().len() + tenant.as_str().len(),
        ToWorker::Assign(list) | ToWorker::Stop(list) | ToWorker::Recall(list) => {
            std::mem::size_of_val(list.as_slice())
        }
        ToWorker::Resume { checkpoint: Content::Inline(bytes), .. }
        | ToWorker::ResumeWith { checkpoint: Content::Inline(bytes), .. } => bytes.len(),
        ToWorker::Gang { members, .. } => std::mem::size_of_val(members.as_slice()),
        ToWorker::Welcome { stale, .. } => std::mem::size_of_val(stale.as_slice()),
        _ => 0,
    };
    inner + std::mem::size_of::<ToWorker>()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use wrun_protocol::wire::worker::ComponentKind;
    use wrun_protocol::{JobId, NodeId};

    use super::*;

    #[tokio::test]
    async fn hands_out_everything_at_once_in_order() {
        let outbox = Outbox::new();
        assert!(outbox.push(&mut vec![ToWorker::Forget(JobId(1))]));
        assert!(outbox.push(&mut vec![ToWorker::Forget(JobId(2))]));
        let taken = outbox.take().await;
        assert_eq!(taken, Ok(vec![ToWorker::Forget(JobId(1)), ToWorker::Forget(JobId(2))]));
    }

    #[tokio::test]
    async fn news_leave_after_the_welcome_and_before_all_else() {
        let outbox = Outbox::new();
        let (node, forget) = (NodeId(3), ToWorker::Forget(JobId(1)));
        outbox.tell(|news| news.node(node, None));
        let welcome = ToWorker::Welcome {
            lease_ms: 1,
            heartbeat_ms: 1,
            now: wrun_protocol::Timestamp(0),
            stale: Vec::new(),
        };
        assert!(outbox.push(&mut vec![welcome.clone(), forget.clone()]));
        let nodes = || ToWorker::Nodes(vec![(node, None)]);
        assert_eq!(outbox.take().await, Ok(vec![welcome, nodes(), forget.clone()]));
        assert!(outbox.push(&mut vec![forget.clone()]));
        outbox.tell(|news| news.node(node, None));
        assert_eq!(outbox.take().await, Ok(vec![nodes(), forget]));
        outbox.tell(|news| news.node(node, None));
        assert_eq!(outbox.take().await, Ok(vec![nodes()]));
    }

    #[tokio::test]
    async fn ends_when_too_much_waits() {
        let outbox = Outbox::new();
        let job = ToWorker::Job {
            job: JobId(1),
            tenant: "lab".parse().unwrap(),
            kind: ComponentKind::Command,
            spec: Bytes::from(vec![0; 256 << 10]).into(),
        };
        let pushed = (0..300).take_while(|_| outbox.push(&mut vec![job.clone()])).count();
        assert!(pushed < 260, "{pushed} were taken");
        assert_eq!(outbox.take().await, Err(EndReason::Slow));
        assert!(!outbox.push(&mut vec![job]));
    }
}
