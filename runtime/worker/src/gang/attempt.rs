//! One attempt of a gang, as everybody here holds it: its state under a lock, and the tasks
//! that write to other nodes, begun when there is something for them.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;
use wrun_protocol::wire::peer::{FromPeer, Route, ToPeer};
use wrun_protocol::wire::worker::GangMember;
use wrun_protocol::{JobId, NodeId};
use wrun_sandbox::GangError;

use super::flow::Leaving;
use super::inbox::Violation;
use super::link;
use super::members::Members;
use super::questions::Questions;
use super::state::{State, route_of};
use crate::peers::Peers;

/// See the module.
pub(super) struct Gang {
    pub(super) job: JobId,
    pub(super) attempt: u32,
    node: NodeId,
    inner: Mutex<Inner>,
    /// Where tasks run that write to other nodes.
    runtime: Handle,
    peers: Option<Arc<Peers>>,
    questions: Arc<Questions>,
    /// Told when the gang has ended here.
    ended: Notify,
}

struct Inner {
    state: State,
    /// Nodes to which somebody writes.
    served: BTreeSet<NodeId>,
    /// When the server was last asked who is left.
    asked: Option<Instant>,
}

impl Gang {
    pub(super) fn new(
        (job, attempt): (JobId, u32),
        members: Members,
        node: NodeId,
        runtime: Handle,
        peers: Option<Arc<Peers>>,
        questions: Arc<Questions>,
    ) -> Self {
        let state = State::new(node, members);
        let inner = Mutex::new(Inner { state, served: BTreeSet::new(), asked: None });
        Self { job, attempt, node, inner, runtime, peers, questions, ended: Notify::new() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the state; then sees to it that what is for other nodes leaves.
    pub(super) fn with<T>(self: &Arc<Self>, change: impl FnOnce(&mut State) -> T) -> T {
        let mut inner = self.inner();
        let changed = change(&mut inner.state);
        let Inner { state, served, .. } = &mut *inner;
        let unserved = state.unserved(served);
        drop(inner);
        for (node, wake) in unserved {
            self.runtime.spawn(link::run(Arc::clone(self), node, wake));
        }
        changed
    }

    pub(super) fn learn(&self, members: &[GangMember]) {
        self.inner().state.learn(members, Instant::now());
    }

    /// Has the server asked which tasks have not ended, unless it was within `pause`: many may
    /// wait here.
    pub(super) fn ask(&self, pause: Duration) {
        let now = Instant::now();
        let asked = &mut self.inner().asked;
        if asked.is_none_or(|asked| now.saturating_duration_since(asked) >= pause) {
            *asked = Some(now);
            self.questions.ask(self.job);
        }
    }

    /// The rank's own attempt.
    pub(super) fn attempt_of(&self, rank: u32) -> Option<u32> {
        self.inner().state.members.attempt(rank)
    }

    pub(super) fn peers(&self) -> Option<&Arc<Peers>> {
        self.peers.as_ref()
    }

    pub(super) fn address(&self, node: NodeId) -> Option<std::net::SocketAddr> {
        self.inner().state.members.address(node)
    }

    /// Why it has ended here, if it has.
    pub(super) fn over(&self) -> Option<GangError> {
        self.inner().state.over
    }

    /// Waits until it has.
    pub(super) async fn until_over(&self) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.over().is_some() {
                return;
            }
            ended.await;
        }
    }

    pub(super) fn close(&self, why: GangError) {
        self.inner().state.close(why);
        self.ended.notify_waiters();
    }

    /// A node of it cannot be reached, unless it has ended anyway.
    pub(super) fn lose(&self, node: NodeId, why: &str) {
        if self.over().is_none() {
            let (job, attempt) = (self.job, self.attempt);
            tracing::warn!(%job, attempt, %node, why, "a node of a gang is lost, and so the gang");
            self.close(GangError::Lost);
        }
    }

    pub(super) fn leaving(&self, node: NodeId) -> Vec<Leaving> {
        self.inner().state.leaving(node)
    }

    /// What a task of this node was told by that node.
    pub(super) fn on_reply(self: &Arc<Self>, node: NodeId, reply: ToPeer) -> Result<(), Violation> {
        let (ToPeer::Credit { route, .. } | ToPeer::Wanted(route) | ToPeer::Gone(route)) = reply
        else {
            return Err("a stream was answered twice");
        };
        self.with(|state| {
            if state.members.node(route.to) != Some(node) {
                return Err("a node answers for a task that it has not");
            }
            state.on_reply(reply);
            Ok(())
        })
    }

    /// Whether that node may say so of its task to one of this node; then how many bytes of a
    /// message follow, and whether anybody is left to take them.
    pub(super) fn admit(
        &self,
        node: NodeId,
        frame: &FromPeer,
    ) -> Result<Option<(u32, bool)>, Violation> {
        let Some(Route { from, to }) = route_of(frame) else {
            return Err("a gang was opened twice");
        };
        let state = &mut self.inner().state;
        let members = &state.members;
        if members.node(from) != Some(node) || members.node(to) != Some(self.node) {
            return Err("a node speaks for or to a task that is elsewhere");
        }
        let FromPeer::Message { route, size } = frame else {
            state.on_heard(node, Some(Instant::now()));
            return Ok(None);
        };
        state.on_heard(node, None);
        state.expects(*route, *size).map(|taken| Some((*size, taken)))
    }

    /// What that node has said, whole.
    pub(super) fn on_frame(
        self: &Arc<Self>,
        node: NodeId,
        frame: FromPeer,
        content: Bytes,
    ) -> Result<(), Violation> {
        self.with(|state| {
            state.on_heard(node, Some(Instant::now()));
            state.on_frame(frame, content)
        })
    }

    pub(super) fn begin_replies(&self, node: NodeId) -> Arc<Notify> {
        self.inner().state.begin_replies(node)
    }

    pub(super) fn take_replies(
        &self,
        node: NodeId,
        wake: &Arc<Notify>,
    ) -> Option<VecDeque<ToPeer>> {
        self.inner().state.take_replies(node, wake)
    }
}
