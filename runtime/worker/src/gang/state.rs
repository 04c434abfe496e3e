//! One gang as this node knows it: what its tasks here have sent and not yet left, what has
//! arrived for them. Decides what is said to whom next, and does not say it: what is for
//! another node waits here for the task that writes to it. No I/O, never waits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;
use wrun_protocol::NodeId;
use wrun_protocol::wire::peer::{FromPeer, Route, ToPeer};
use wrun_protocol::wire::worker::GangMember;
use wrun_sandbox::{Charge, GangError, Received, TaskMemory};

use super::flow::{Leaving, Outbound};
use super::inbox::{Inbox, Reply, Violation};
use super::members::Members;

/// Bytes taken for one node at a time, about.
const BATCH: usize = 128 << 10;

/// How long after the server has said that a task has ended, and after the last that came from
/// its node, what it has sent may still be on its way: longer than its node may take to open
/// its stream, and then be silent, before the gang counts as lost (`link::OPEN_FOR` and one more
/// try, and the idle time of `wrun_net::Limits::between_nodes`).
pub(super) const ARRIVES_WITHIN: Duration = Duration::from_secs(30);

/// See the module.
pub(super) struct State {
    node: NodeId,
    pub(super) members: Members,
    /// Ranks that have ended, by what the server says, and when it first said so.
    absent: BTreeMap<u32, Instant>,
    /// When something last came from a node; `None` while a message does.
    heard: BTreeMap<NodeId, Option<Instant>>,
    here: BTreeMap<u32, Here>,
    out: BTreeMap<Route, Outbound>,
    links: BTreeMap<NodeId, Link>,
    replies: BTreeMap<NodeId, Replies>,
    /// Why it has ended here.
    pub(super) over: Option<GangError>,
}

/// A task here.
#[derive(Default)]
struct Here {
    /// Set once the task has taken its seat; gone when it has ended.
    memory: Option<TaskMemory>,
    ended: bool,
    inbox: Inbox,
    /// Told of whatever the task may wait for.
    wake: Arc<Notify>,
}

/// To another node.
#[derive(Default)]
struct Link {
    /// Routes that may have something to say.
    ready: BTreeSet<Route>,
    /// The one that spoke last: the others have their turn before it has another.
    last: Option<Route>,
    wake: Arc<Notify>,
}

/// For another node, in answer to what it said.
struct Replies {
    queue: VecDeque<ToPeer>,
    wake: Arc<Notify>,
}

impl Link {
    /// Whose turn it is.
    fn next(&mut self) -> Option<Route> {
        let behind = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.ready.range((behind, Bound::Unbounded)).next();
        self.last = next.or(self.ready.first()).copied();
        self.last
    }
}

impl State {
    pub(super) fn new(node: NodeId, members: Members) -> Self {
        Self {
            node,
            members,
            absent: BTreeMap::new(),
            heard: BTreeMap::new(),
            here: BTreeMap::new(),
            out: BTreeMap::new(),
            links: BTreeMap::new(),
            replies: BTreeMap::new(),
            over: None,
        }
    }

    /// The server says which tasks have not ended. Those here are known without it.
    pub(super) fn learn(&mut self, members: &[GangMember], now: Instant) {
        self.members.learn(members);
        let mut absent = self.members.not_among(members);
        absent.retain(|rank| self.members.node(*rank) != Some(self.node));
        self.absent.retain(|rank, _| absent.contains(rank));
        for rank in absent {
            self.absent.entry(rank).or_insert(now);
        }
        self.here.values().for_each(|here| here.wake.notify_one());
    }

    /// Something of a node has come, or, with `None`, is coming.
    pub(super) fn on_heard(&mut self, node: NodeId, at: Option<Instant>) {
        self.heard.insert(node, at);
    }

    /// Whether a task has ended elsewhere that has sent nothing to that one here, and of which
    /// nothing can be on its way. Of one that has sent something, its node tells the end
    /// itself, after all else.
    fn is_silent(&self, from: u32, to: u32, now: Instant) -> bool {
        let Some(said) = self.absent.get(&from) else { return false };
        let heard = self.members.node(from).and_then(|node| self.heard.get(&node).copied());
        let last = match heard {
            // A message is coming: there may be more behind it.
            Some(None) => return false,
            Some(Some(heard)) => heard.max(*said),
            None => *said,
        };
        now.saturating_duration_since(last) >= ARRIVES_WITHIN
            && self.here.get(&to).is_some_and(|here| !here.inbox.has_heard_of(from))
    }

    /// Whether all others have ended, and nothing of them is left to receive.
    pub(super) fn is_last(&self, rank: u32, now: Instant) -> bool {
        let (size, Some(here)) = (self.members.size(), self.here.get(&rank)) else { return false };
        let may_be = here.inbox.ended() as usize + self.absent.len() + 1 >= size as usize;
        let is_over = |from| here.inbox.is_over(from) || self.is_silent(from, rank, now);
        may_be && size > 1 && (0..size).filter(|from| *from != rank).all(is_over)
    }

    /// The task takes its seat: what waits for its memory gets it. Returns what tells it that
    /// something has changed.
    pub(super) fn sit(&mut self, rank: u32, memory: TaskMemory) -> Arc<Notify> {
        let ended: Vec<u32> =
            self.here.iter().filter(|(_, here)| here.ended).map(|(r, _)| *r).collect();
        let silent = |from: &u32| !self.out.contains_key(&Route { from: *from, to: rank });
        let silent: Vec<u32> = ended.into_iter().filter(silent).collect();
        let here = self.here.entry(rank).or_default();
        silent.into_iter().for_each(|from| here.inbox.on_ended(from));
        let wake = Arc::clone(&here.wake);
        let opened = here.inbox.open_windows(None, &memory, false).unwrap_or_default();
        if self.over.is_none() {
            here.memory = Some(memory);
        }
        self.answer_all(rank, opened);
        wake
    }

    /// Adds a message, if the route has room for it; gives it back if not.
    pub(super) fn send(
        &mut self,
        route: Route,
        message: (Bytes, Charge),
    ) -> Result<Option<(Bytes, Charge)>, GangError> {
        let out = self.outbound(route)?;
        if !out.accepts(message.0.len()) {
            return Ok(Some(message));
        }
        out.push(message.0, message.1);
        self.advance(route);
        Ok(None)
    }

    /// The sender has come to a barrier.
    pub(super) fn send_barrier(&mut self, route: Route) -> Result<(), GangError> {
        self.outbound(route)?.push_barrier();
        self.advance(route);
        Ok(())
    }

    fn outbound(&mut self, route: Route) -> Result<&mut Outbound, GangError> {
        self.check(route.to)?;
        let gone = Err(GangError::Ended { rank: route.to });
        let ended = self.here.get(&route.to).is_some_and(|here| here.ended);
        let ended = ended || self.absent.contains_key(&route.to);
        if ended || self.members.node(route.to).is_none() {
            return gone;
        }
        if !self.out.contains_key(&route) {
            let here = self.here.get(&route.from);
            let memory = here.and_then(|here| here.memory.as_ref()).ok_or(GangError::Stopping)?;
            let charge = memory.charge(Outbound::COST, true).ok_or(GangError::Memory)?;
            self.out.insert(route, Outbound::new(route, charge));
        }
        match self.out.get_mut(&route) {
            Some(out) if !out.gone => Ok(out),
            _ => gone,
        }
    }

    fn check(&self, rank: u32) -> Result<(), GangError> {
        let size = self.members.size();
        match self.over {
            Some(why) => Err(why),
            None if rank >= size => Err(GangError::NoSuchRank { size }),
            None => Ok(()),
        }
    }

    /// The next message for the task, of one sender or any, if one has arrived. Where it may
    /// wait, whatever keeps the next one from coming is seen to.
    pub(super) fn receive(
        &mut self,
        rank: u32,
        from: Option<u32>,
        now: Instant,
    ) -> Result<Option<Received>, GangError> {
        self.check(from.unwrap_or(rank))?;
        let here = self.here.get_mut(&rank).ok_or(GangError::Stopping)?;
        let memory = here.memory.clone().ok_or(GangError::Stopping)?;
        let mut opened = here.inbox.open_windows(from, &memory, false)?;
        opened.extend(here.inbox.want(from, &memory)?);
        self.answer_all(rank, opened);
        let here = self.here.get_mut(&rank).ok_or(GangError::Stopping)?;
        if let Some((sender, content, reply)) = here.inbox.take(from) {
            let replies = reply.into_iter().map(|reply| (sender, reply)).collect();
            self.answer_all(rank, replies);
            return Ok(Some((sender, content)));
        }
        let is_over = from.is_some_and(|from| here.inbox.is_over(from));
        if let Some(from) = from.filter(|from| is_over || self.is_silent(*from, rank, now)) {
            return Err(GangError::Ended { rank: from });
        }
        let here = self.here.get_mut(&rank).ok_or(GangError::Stopping)?;
        let opened = here.inbox.open_windows(from, &memory, true)?;
        self.answer_all(rank, opened);
        let here = self.here.get_mut(&rank).ok_or(GangError::Stopping)?;
        // What a task here was let to send is there already.
        let Some((sender, content, reply)) = here.inbox.take(from) else { return Ok(None) };
        let replies = reply.into_iter().map(|reply| (sender, reply)).collect();
        self.answer_all(rank, replies);
        Ok(Some((sender, content)))
    }

    /// Whether that rank has come to the barrier; takes note of it.
    pub(super) fn pass(&mut self, rank: u32, from: u32, now: Instant) -> Result<bool, GangError> {
        self.check(from)?;
        let here = self.here.get_mut(&rank).ok_or(GangError::Stopping)?;
        if here.inbox.take_barrier(from) {
            return Ok(true);
        }
        if here.inbox.is_over(from) || self.is_silent(from, rank, now) {
            return Err(GangError::Ended { rank: from });
        }
        Ok(false)
    }

    /// The task has ended: what it has sent still leaves, what has come for it is dropped.
    pub(super) fn end(&mut self, rank: u32) {
        let here = self.here.entry(rank).or_default();
        here.ended = true;
        here.memory = None;
        let senders = here.inbox.senders();
        here.inbox = Inbox::default();
        for from in senders {
            self.say(ToPeer::Gone(Route { from, to: rank }));
        }
        let routes: Vec<Route> =
            self.out.keys().filter(|route| route.from == rank).copied().collect();
        for (to, here) in &mut self.here {
            if !routes.iter().any(|route| route.to == *to) {
                here.inbox.on_ended(rank);
                here.wake.notify_one();
            }
        }
        for route in routes {
            if let Some(out) = self.out.get_mut(&route) {
                out.end();
            }
            self.advance(route);
        }
    }

    /// Ends the gang here: whoever waits is told why.
    pub(super) fn close(&mut self, why: GangError) {
        self.over.get_or_insert(why);
        self.out.clear();
        for here in self.here.values_mut() {
            here.memory = None;
            here.inbox = Inbox::default();
            here.wake.notify_one();
        }
        self.links.values().for_each(|link| link.wake.notify_one());
        self.replies.values().for_each(|replies| replies.wake.notify_one());
    }

    /// Whether other nodes may still want something of it.
    pub(super) fn is_in_use(&self) -> bool {
        self.over.is_none() && !(self.links.is_empty() && self.replies.is_empty())
    }

    /// Lets leave what may leave on the route: to a task here at once.
    fn advance(&mut self, route: Route) {
        match self.members.node(route.to) {
            Some(node) if node == self.node => {
                while let Some((frame, message)) = self.out.get_mut(&route).and_then(Outbound::next)
                {
                    let content = message.map(|message| message.content).unwrap_or_default();
                    // Both sides are here: what one is allowed the other has allowed.
                    let taken = self.on_frame(frame, content);
                    debug_assert!(taken.is_ok(), "{taken:?}");
                }
                self.wake(route.from);
            }
            Some(node) => {
                let link = self.links.entry(node).or_default();
                link.ready.insert(route);
                link.wake.notify_one();
            }
            None => {}
        }
    }

    /// What was said to a task here. The sender is one of whoever says it, the receiver one
    /// of this node: the caller has seen to that.
    pub(super) fn on_frame(&mut self, frame: FromPeer, content: Bytes) -> Result<(), Violation> {
        let Some(route) = route_of(&frame) else { return Err("a gang was opened twice") };
        let Route { from, to } = route;
        let here = self.here.entry(to).or_default();
        if here.ended {
            self.say(ToPeer::Gone(route));
            return Ok(());
        }
        let mut opened = None;
        match frame {
            FromPeer::Begin(_) => opened = here.inbox.on_begin(from, here.memory.as_ref())?,
            FromPeer::Message { .. } => here.inbox.on_message(from, content)?,
            FromPeer::Offer { size, .. } => here.inbox.on_offer(from, size)?,
            FromPeer::AtBarrier(_) => here.inbox.on_barrier(from)?,
            FromPeer::Ended(_) => here.inbox.on_ended(from),
            FromPeer::Open { .. } | FromPeer::Request { .. } => {}
        }
        here.wake.notify_one();
        self.answer_all(to, opened.into_iter().map(|reply| (from, reply)).collect());
        Ok(())
    }

    /// Whether the message may come now: asked before its bytes are read. `false` if nobody
    /// is left to take it.
    pub(super) fn expects(&self, route: Route, size: u32) -> Result<bool, Violation> {
        match self.here.get(&route.to) {
            Some(here) if here.ended => Ok(false),
            Some(here) => here.inbox.expects(route.from, size).map(|()| true),
            None => Err("a route never began"),
        }
    }

    /// What a receiver said to a task here.
    pub(super) fn on_reply(&mut self, reply: ToPeer) {
        let route = match reply {
            ToPeer::Credit { route, .. } | ToPeer::Wanted(route) | ToPeer::Gone(route) => route,
            ToPeer::Opened | ToPeer::Refused(_) => return,
        };
        let Some(out) = self.out.get_mut(&route) else { return };
        match reply {
            ToPeer::Credit { bytes, .. } => out.on_credit(bytes),
            ToPeer::Wanted(_) => out.on_wanted(),
            _ => out.on_gone(),
        }
        self.advance(route);
        self.wake(route.from);
    }

    fn answer_all(&mut self, rank: u32, replies: Vec<(u32, Reply)>) {
        for (from, reply) in replies {
            let route = Route { from, to: rank };
            self.say(match reply {
                Reply::Credit(bytes) => ToPeer::Credit { route, bytes },
                Reply::Wanted => ToPeer::Wanted(route),
            });
        }
    }

    /// Says it to the route's sender.
    fn say(&mut self, reply: ToPeer) {
        let (ToPeer::Credit { route, .. } | ToPeer::Wanted(route) | ToPeer::Gone(route)) = reply
        else {
            return;
        };
        match self.members.node(route.from) {
            Some(node) if node == self.node => self.on_reply(reply),
            Some(node) => {
                if let Some(replies) = self.replies.get_mut(&node) {
                    replies.queue.push_back(reply);
                    replies.wake.notify_one();
                }
            }
            None => {}
        }
    }

    fn wake(&self, rank: u32) {
        if let Some(here) = self.here.get(&rank) {
            here.wake.notify_one();
        }
    }

    /// Nodes that something waits for, and to which nobody writes yet, with what tells that
    /// there is more. From then on somebody does.
    pub(super) fn unserved(&mut self, served: &mut BTreeSet<NodeId>) -> Vec<(NodeId, Arc<Notify>)> {
        let new = self.links.iter().filter(|(node, _)| served.insert(**node));
        new.map(|(node, link)| (*node, Arc::clone(&link.wake))).collect()
    }

    /// What may leave for that node, about a batch of it.
    pub(super) fn leaving(&mut self, node: NodeId) -> Vec<Leaving> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH {
            let Some(link) = self.links.get_mut(&node) else { break };
            let Some(route) = link.next() else { break };
            let mut next = || self.out.get_mut(&route).and_then(Outbound::next);
            while bytes < BATCH
                && let Some(leaving) = next()
            {
                bytes += leaving.1.as_ref().map_or(0, |message| message.content.len()) + 16;
                batch.push(leaving);
            }
            if bytes < BATCH
                && let Some(link) = self.links.get_mut(&node)
            {
                link.ready.remove(&route);
            }
            self.wake(route.from);
        }
        batch
    }

    /// From now on, what is said to that node is taken by whoever is told by this.
    pub(super) fn begin_replies(&mut self, node: NodeId) -> Arc<Notify> {
        let wake = Arc::new(Notify::new());
        let replies = Replies { queue: VecDeque::new(), wake: Arc::clone(&wake) };
        if let Some(older) = self.replies.insert(node, replies) {
            older.wake.notify_one();
        }
        wake
    }

    /// What there is to say to that node; `None` once another stream has taken over.
    pub(super) fn take_replies(
        &mut self,
        node: NodeId,
        wake: &Arc<Notify>,
    ) -> Option<VecDeque<ToPeer>> {
        let replies = self.replies.get_mut(&node)?;
        Arc::ptr_eq(&replies.wake, wake).then(|| std::mem::take(&mut replies.queue))
    }
}

/// Of whom to whom it is; `None` for what is of no task.
pub(super) fn route_of(frame: &FromPeer) -> Option<Route> {
    match frame {
        FromPeer::Open { .. } | FromPeer::Request { .. } => None,
        FromPeer::Begin(route)
        | FromPeer::Message { route, .. }
        | FromPeer::Offer { route, .. }
        | FromPeer::AtBarrier(route)
        | FromPeer::Ended(route) => Some(*route),
    }
}
