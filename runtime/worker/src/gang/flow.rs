//! What one task has sent to another and has not yet left its node, and what may leave.

use std::collections::VecDeque;

use bytes::Bytes;
use wrun_protocol::limits::{GANG_MESSAGE_COST, GANG_WINDOW};
use wrun_protocol::wire::peer::{FromPeer, Route};
use wrun_sandbox::Charge;

/// What a message counts against the window.
pub(super) fn cost(size: usize) -> u64 {
    size as u64 + u64::from(GANG_MESSAGE_COST)
}

/// Whether a message of that cost is sent unasked. Up to half the window, since the receiver
/// gives back credit by halves: a sender whose messages were all taken has more than that.
pub(super) fn is_eager(cost: u64) -> bool {
    cost <= u64::from(GANG_WINDOW / 2)
}

/// A message, and the memory it is charged to.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) content: Bytes,
    _charge: Charge,
}

/// What leaves next, and the message that goes with it.
pub(super) type Leaving = (FromPeer, Option<Waiting>);

/// The sender's side of a route.
#[derive(Debug)]
pub(super) struct Outbound {
    route: Route,
    queue: VecDeque<Waiting>,
    /// Cost of what is in the queue.
    queued: u64,
    /// What the receiver has room for.
    credit: u64,
    begun: bool,
    /// The first message in the queue is large, and was offered; and the receiver wants it.
    offered: bool,
    wanted: bool,
    /// Arrivals at barriers to tell of.
    barriers: u32,
    /// The sender has ended; and that was said.
    ended: bool,
    said: bool,
    /// The receiver has ended.
    pub(super) gone: bool,
    /// Of what is kept of the route itself.
    _charge: Charge,
}

impl Outbound {
    /// What one takes in memory, about: charged to the sender.
    pub(super) const COST: u64 = 256;

    pub(super) fn new(route: Route, charge: Charge) -> Self {
        Self {
            route,
            queue: VecDeque::new(),
            queued: 0,
            credit: 0,
            begun: false,
            offered: false,
            wanted: false,
            barriers: 0,
            ended: false,
            said: false,
            gone: false,
            _charge: charge,
        }
    }

    /// Whether a message of that size may be added now.
    pub(super) fn accepts(&self, size: usize) -> bool {
        self.queue.is_empty() || self.queued + cost(size) <= u64::from(GANG_WINDOW)
    }

    pub(super) fn push(&mut self, content: Bytes, charge: Charge) {
        self.queued += cost(content.len());
        self.queue.push_back(Waiting { content, _charge: charge });
    }

    pub(super) fn push_barrier(&mut self) {
        self.barriers += 1;
    }

    /// The sender has ended: what it has sent still leaves.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    pub(super) fn on_credit(&mut self, bytes: u32) {
        self.credit = self.credit.saturating_add(bytes.into());
    }

    pub(super) fn on_wanted(&mut self) {
        self.wanted = self.offered;
    }

    /// The receiver takes nothing more.
    pub(super) fn on_gone(&mut self) {
        self.gone = true;
        self.queue.clear();
        self.queued = 0;
    }

    /// What may leave next, in the order in which it was sent.
    pub(super) fn next(&mut self) -> Option<Leaving> {
        let route = self.route;
        if self.barriers > 0 {
            self.barriers -= 1;
            return Some((FromPeer::AtBarrier(route), None));
        }
        let Some(first) = self.queue.front() else {
            let last = self.ended && !std::mem::replace(&mut self.said, self.ended);
            return last.then_some((FromPeer::Ended(route), None));
        };
        let cost = cost(first.content.len());
        // A message is at most `MAX_GANG_MESSAGE`, far below what a number of 32 bits holds.
        let size = u32::try_from(first.content.len()).unwrap_or(u32::MAX);
        if !std::mem::replace(&mut self.begun, true) {
            return Some((FromPeer::Begin(route), None));
        }
        if is_eager(cost) {
            self.credit = self.credit.checked_sub(cost)?;
        } else if !std::mem::take(&mut self.wanted) {
            let offered = std::mem::replace(&mut self.offered, true);
            return (!offered).then_some((FromPeer::Offer { route, size }, None));
        } else {
            self.offered = false;
        }
        self.queued -= cost;
        let message = self.queue.pop_front();
        Some((FromPeer::Message { route, size }, message))
    }
}
