//! What has arrived for one task here, and what its senders may send.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use wrun_protocol::limits::{GANG_WINDOW, MAX_GANG_MESSAGE};
use wrun_sandbox::{Charge, GangError, TaskMemory};

use super::flow::{cost, is_eager};

/// The peer did what the protocol does not allow; in words for the log.
pub(super) type Violation = &'static str;

/// What a receiver tells a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Credit(u32),
    Wanted,
}

/// What has arrived for one task.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// Messages and offers in the order of their arrival: by number, of whom.
    order: BTreeMap<u64, u32>,
    next: u64,
    from: BTreeMap<u32, Inbound>,
    /// How many senders have ended.
    ended: u32,
}

#[derive(Debug)]
struct Arrived {
    number: u64,
    content: Bytes,
    /// What a large one is charged to. A small one is part of the window.
    charge: Option<Charge>,
}

/// The receiver's side of a route.
#[derive(Debug, Default)]
struct Inbound {
    /// The sender has something to send.
    begun: bool,
    /// The memory of the window, once the task has it.
    window: Option<Charge>,
    queue: VecDeque<Arrived>,
    /// What the sender may still send unasked.
    credited: u64,
    /// What was taken, and not yet credited again.
    owed: u32,
    /// A large message: its place in the order, its size, and its memory once it is wanted.
    offered: Option<(u64, u32)>,
    granted: Option<Charge>,
    at_barrier: u32,
    ended: bool,
}

impl Inbox {
    fn number(&mut self, from: u32) -> u64 {
        self.next += 1;
        self.order.insert(self.next, from);
        self.next
    }

    fn of(&mut self, from: u32) -> &mut Inbound {
        self.from.entry(from).or_default()
    }

    /// The sender has something. Credit follows when the task's memory has room for a window.
    pub(super) fn on_begin(
        &mut self,
        from: u32,
        memory: Option<&TaskMemory>,
    ) -> Result<Option<Reply>, Violation> {
        let inbound = self.of(from);
        if std::mem::replace(&mut inbound.begun, true) {
            return Err("a route began twice");
        }
        Ok(memory.and_then(|memory| inbound.open_window(memory, false)))
    }

    /// Opens the windows that wait for memory, of one sender or all; where `needed`, one that
    /// cannot be opened ends the task.
    pub(super) fn open_windows(
        &mut self,
        wanted: Option<u32>,
        memory: &TaskMemory,
        needed: bool,
    ) -> Result<Vec<(u32, Reply)>, GangError> {
        let mut opened = Vec::new();
        let all = wanted.is_none();
        let range = wanted.unwrap_or(0)..=wanted.unwrap_or(u32::MAX);
        for (from, inbound) in self.from.range_mut(range) {
            if !inbound.begun || inbound.window.is_some() {
                continue;
            }
            match inbound.open_window(memory, needed && (!all || opened.is_empty())) {
                Some(reply) => opened.push((*from, reply)),
                None if needed && opened.is_empty() => return Err(GangError::Memory),
                None => {}
            }
        }
        Ok(opened)
    }

    /// Whether a message of that size may come now: asked before its bytes are read.
    pub(super) fn expects(&self, from: u32, size: u32) -> Result<(), Violation> {
        let Some(inbound) = self.from.get(&from) else { return Err("a route never began") };
        let cost = cost(size as usize);
        if is_eager(cost) {
            return if cost <= inbound.credited { Ok(()) } else { Err("more came than may") };
        }
        match (inbound.offered, &inbound.granted) {
            (Some((_, offered)), Some(_)) if offered == size => Ok(()),
            _ => Err("a large message came unasked"),
        }
    }

    pub(super) fn on_message(&mut self, from: u32, content: Bytes) -> Result<(), Violation> {
        let size = u32::try_from(content.len()).map_err(|_| "a message is too large")?;
        self.expects(from, size)?;
        let cost = cost(content.len());
        let inbound = self.of(from);
        let (number, charge) = if is_eager(cost) {
            inbound.credited -= cost;
            (None, None)
        } else {
            (inbound.offered.take().map(|(number, _)| number), inbound.granted.take())
        };
        let number = match number {
            Some(number) => number,
            None => self.number(from),
        };
        self.of(from).queue.push_back(Arrived { number, content, charge });
        Ok(())
    }

    pub(super) fn on_offer(&mut self, from: u32, size: u32) -> Result<(), Violation> {
        if u64::from(size) > MAX_GANG_MESSAGE || is_eager(cost(size as usize)) {
            return Err("a message was offered that need not or must not be");
        }
        if self.of(from).offered.is_some() {
            return Err("two messages were offered at a time");
        }
        let number = self.number(from);
        self.of(from).offered = Some((number, size));
        Ok(())
    }

    /// Wants the large message that is next, of one sender or any, if one is.
    pub(super) fn want(
        &mut self,
        wanted: Option<u32>,
        memory: &TaskMemory,
    ) -> Result<Option<(u32, Reply)>, GangError> {
        let next = match wanted {
            Some(from) => Some(from),
            None => self.order.values().next().copied(),
        };
        let Some(from) = next else { return Ok(None) };
        let Some(inbound) = self.from.get_mut(&from) else { return Ok(None) };
        let Some((_, size)) = inbound.offered.filter(|_| inbound.queue.is_empty()) else {
            return Ok(None);
        };
        if inbound.granted.is_some() {
            return Ok(None);
        }
        let charge = memory.charge(cost(size as usize), true).ok_or(GangError::Memory)?;
        inbound.granted = Some(charge);
        Ok(Some((from, Reply::Wanted)))
    }

    /// Takes the next message of one sender, or of any.
    pub(super) fn take(&mut self, wanted: Option<u32>) -> Option<(u32, Bytes, Option<Reply>)> {
        let has = |from: &u32| self.from.get(from).is_some_and(|inbound| !inbound.queue.is_empty());
        let from = match wanted {
            Some(from) => Some(from).filter(has),
            // What was offered and has not come is passed over.
            None => self.order.values().copied().find(has),
        }?;
        let inbound = self.of(from);
        let arrived = inbound.queue.pop_front()?;
        let mut reply = None;
        if arrived.charge.is_none() {
            inbound.owed += cost(arrived.content.len()) as u32;
            if inbound.owed >= GANG_WINDOW / 2 {
                let bytes = std::mem::take(&mut inbound.owed);
                inbound.credited += u64::from(bytes);
                reply = Some(Reply::Credit(bytes));
            }
        }
        self.order.remove(&arrived.number);
        Some((from, arrived.content, reply))
    }

    /// Whether something of that sender may still come, as far as it is known here.
    pub(super) fn is_over(&self, from: u32) -> bool {
        let over = |inbound: &Inbound| {
            inbound.ended && inbound.queue.is_empty() && inbound.offered.is_none()
        };
        self.from.get(&from).is_some_and(over)
    }

    /// Whether anything has come from that sender.
    pub(super) fn has_heard_of(&self, from: u32) -> bool {
        self.from.contains_key(&from)
    }

    /// How many senders have ended.
    pub(super) fn ended(&self) -> u32 {
        self.ended
    }

    pub(super) fn on_ended(&mut self, from: u32) {
        self.ended += u32::from(!std::mem::replace(&mut self.of(from).ended, true));
    }

    /// The sender has come to a barrier. It can be ahead by one.
    pub(super) fn on_barrier(&mut self, from: u32) -> Result<(), Violation> {
        let inbound = self.of(from);
        inbound.at_barrier += 1;
        if inbound.at_barrier > 2 { Err("a barrier was passed before all came") } else { Ok(()) }
    }

    /// Takes note of an arrival at a barrier; `false` if there was none.
    pub(super) fn take_barrier(&mut self, from: u32) -> bool {
        let Some(inbound) = self.from.get_mut(&from) else { return false };
        let arrived = inbound.at_barrier > 0;
        inbound.at_barrier -= u32::from(arrived);
        arrived
    }

    /// Those who have something for this task.
    pub(super) fn senders(&self) -> Vec<u32> {
        self.from.iter().filter(|(_, inbound)| inbound.begun).map(|(from, _)| *from).collect()
    }
}

impl Inbound {
    fn open_window(&mut self, memory: &TaskMemory, needed: bool) -> Option<Reply> {
        self.window = Some(memory.charge(GANG_WINDOW.into(), needed)?);
        self.credited = GANG_WINDOW.into();
        Some(Reply::Credit(GANG_WINDOW))
    }
}
