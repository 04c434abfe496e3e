//! `wrun:gang/exchange`: what a guest is given of its gang. A guest that waits here holds no
//! thread, and is stopped, frozen and timed as one that waits for anything else.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::{HasSelf, Linker};
use wrun_protocol::limits::{GANG_MESSAGE_COST, MAX_GANG_MESSAGE};
use wrun_protocol::task::Limit;

use crate::bindings::exchange::wrun::gang::exchange::{Error, Host, Membership, Message, Peer};
use crate::gang::{GangError, GangSeat, Received, TaskMemory};
use crate::state::TaskState;
use crate::stdio::LimitReached;

/// What a call returns: the guest's own result, or what ends the guest.
type Answer<T> = wasmtime::Result<Result<T, Error>>;

pub(crate) fn add_to_linker(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
    crate::bindings::exchange::Member::add_to_linker::<_, HasSelf<_>>(linker, |state| state)
}

impl TaskState {
    /// The task's seat in its gang, taken at the first call.
    fn seat(&mut self) -> Result<Arc<dyn GangSeat>, Error> {
        if self.seat.is_none() {
            let memory = TaskMemory::new(&self.control);
            self.seat = self.control.events().gang_seat(self.control.token, memory);
        }
        self.seat.clone().ok_or(Error::NotAGang)
    }

    /// Memory ends the task; everything else is for the guest to know.
    fn answer<T>(&self, result: Result<T, GangError>) -> Answer<T> {
        Ok(Err(match result {
            Ok(value) => return Ok(Ok(value)),
            Err(GangError::NoSuchRank { size }) => Error::NoSuchRank(size),
            Err(GangError::Ended { rank }) => Error::Ended(rank),
            Err(GangError::Lost) => Error::Lost,
            Err(GangError::Stopping) => Error::Stopping,
            Err(GangError::Memory) => {
                self.control.reach(Limit::Memory, self.control.account.limit());
                return Err(LimitReached.into());
            }
        }))
    }
}

fn message((sender, content): Received) -> Message {
    Message { sender, content: content.into() }
}

impl Host for TaskState {
    async fn current(&mut self) -> Answer<Membership> {
        Ok(self.seat().map(|seat| Membership {
            rank: seat.rank(),
            size: seat.size(),
            attempt: seat.attempt(),
        }))
    }

    async fn peers(&mut self) -> Answer<Vec<Peer>> {
        let nodes = self.seat().map(|seat| seat.nodes());
        let peer = |(rank, node): (u32, wrun_protocol::NodeId)| Peer { rank, node: node.0 };
        Ok(nodes.map(|nodes| (0..).zip(nodes).map(peer).collect()))
    }

    async fn send(&mut self, to: u32, content: Vec<u8>) -> Answer<()> {
        let seat = match self.seat() {
            Ok(seat) => seat,
            Err(error) => return Ok(Err(error)),
        };
        let size = content.len() as u64;
        if size > MAX_GANG_MESSAGE {
            return Ok(Err(Error::TooLarge(MAX_GANG_MESSAGE)));
        }
        let memory = TaskMemory::new(&self.control);
        let Some(charge) = memory.charge(size + u64::from(GANG_MESSAGE_COST), true) else {
            return self.answer(Err(GangError::Memory));
        };
        let sent = seat.send(to, Bytes::from(content), charge).await;
        self.answer(sent)
    }

    async fn receive(&mut self, from: Option<u32>) -> Answer<Message> {
        let seat = match self.seat() {
            Ok(seat) => seat,
            Err(error) => return Ok(Err(error)),
        };
        let received = seat.receive(from).await;
        self.answer(received.map(message))
    }

    async fn try_receive(&mut self, from: Option<u32>) -> Answer<Option<Message>> {
        let seat = match self.seat() {
            Ok(seat) => seat,
            Err(error) => return Ok(Err(error)),
        };
        let received = seat.try_receive(from);
        self.answer(received.map(|received| received.map(message)))
    }

    async fn barrier(&mut self) -> Answer<()> {
        let seat = match self.seat() {
            Ok(seat) => seat,
            Err(error) => return Ok(Err(error)),
        };
        let passed = seat.barrier().await;
        self.answer(passed)
    }
}
