//! A task's seat in its gang: what the sandbox calls for the guest. Waiting here is waiting
//! for the state to change; nothing is held meanwhile.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;
use wrun_protocol::NodeId;
use wrun_protocol::wire::peer::Route;
use wrun_sandbox::{Charge, GangError, GangSeat, GangWait, Received, TaskMemory};

use super::attempt::Gang;

/// See the module.
pub(super) struct Seat {
    gang: Arc<Gang>,
    rank: u32,
    /// Only this task waits for it, one call at a time.
    changed: Arc<Notify>,
    /// Who had ended when it wanted to meet all.
    missing: OnceLock<u32>,
}

/// When a task that waits for others has the server asked next: more and more rarely.
struct Patience {
    pause: Duration,
    until: Instant,
}

impl Patience {
    const FIRST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(32);
    /// How often what the server has said is looked at again.
    const LOOK: Duration = Duration::from_secs(2);

    fn new() -> Self {
        Self { pause: Self::FIRST, until: Instant::now() + Self::FIRST }
    }
}

impl Seat {
    pub(super) fn take(gang: Arc<Gang>, rank: u32, memory: TaskMemory) -> Self {
        let changed = gang.with(|state| state.sit(rank, memory));
        Self { gang, rank, changed, missing: OnceLock::new() }
    }

    async fn send_now(&self, to: u32, message: Bytes, charge: Charge) -> Result<(), GangError> {
        let route = Route { from: self.rank, to };
        let mut unsent = (message, charge);
        loop {
            match self.gang.with(|state| state.send(route, unsent))? {
                None => return Ok(()),
                Some(back) => unsent = back,
            }
            self.changed.notified().await;
        }
    }

    async fn receive_next(&self, from: Option<u32>) -> Result<Received, GangError> {
        let mut patience = Patience::new();
        loop {
            if let Some(received) = self.try_receive(from)? {
                return Ok(received);
            }
            let now = Instant::now();
            if from.is_none() && self.gang.with(|state| state.is_last(self.rank, now)) {
                let rank = u32::from(self.rank == 0);
                return Err(GangError::Ended { rank });
            }
            self.hear_of_others(&mut patience).await;
        }
    }

    /// Waits for something of other tasks. Where what is waited for does not come for long, it
    /// may have ended: the server is asked.
    async fn hear_of_others(&self, patience: &mut Patience) {
        let now = Instant::now();
        if patience.until <= now {
            self.gang.ask(patience.pause);
            patience.pause = (patience.pause * 2).min(Patience::LONGEST);
            patience.until = now + patience.pause;
        }
        let until = patience.until.min(now + Patience::LOOK);
        // Whatever woke it: it looks again.
        let _ = tokio::time::timeout_at(until, self.changed.notified()).await;
    }

    /// Dissemination: in round k every task lets the one 2^k ranks on know, and waits for the
    /// one 2^k ranks back. After as many rounds as the size has digits in base 2 each has
    /// heard of all, and no task has more to do than any other.
    async fn meet_all(&self) -> Result<(), GangError> {
        let size = u64::from(self.size());
        let mut distance = 1;
        while distance < size {
            let place = |ranks: u64| u32::try_from((u64::from(self.rank) + ranks) % size);
            let (Ok(to), Ok(from)) = (place(distance), place(size - distance)) else { break };
            let route = Route { from: self.rank, to };
            self.gang.with(|state| state.send_barrier(route))?;
            let mut patience = Patience::new();
            while !self.gang.with(|state| state.pass(self.rank, from, Instant::now()))? {
                self.hear_of_others(&mut patience).await;
            }
            distance *= 2;
        }
        Ok(())
    }

    /// Once a barrier cannot be passed none can: others would be told of arrivals at barriers
    /// to which they will never come.
    async fn meet(&self) -> Result<(), GangError> {
        if let Some(rank) = self.missing.get() {
            return Err(GangError::Ended { rank: *rank });
        }
        let met = self.meet_all().await;
        if let Err(GangError::Ended { rank }) = met {
            // Only this task sets it, one call at a time.
            let _ = self.missing.set(rank);
        }
        met
    }
}

impl GangSeat for Seat {
    fn rank(&self) -> u32 {
        self.rank
    }

    fn size(&self) -> u32 {
        self.gang.with(|state| state.members.size())
    }

    fn attempt(&self) -> u32 {
        self.gang.attempt
    }

    fn nodes(&self) -> Vec<NodeId> {
        self.gang.with(|state| state.members.nodes())
    }

    fn send(&self, to: u32, message: Bytes, charge: Charge) -> GangWait<'_, ()> {
        Box::pin(self.send_now(to, message, charge))
    }

    fn receive(&self, from: Option<u32>) -> GangWait<'_, Received> {
        Box::pin(self.receive_next(from))
    }

    fn try_receive(&self, from: Option<u32>) -> Result<Option<Received>, GangError> {
        self.gang.with(|state| state.receive(self.rank, from, Instant::now()))
    }

    fn barrier(&self) -> GangWait<'_, ()> {
        Box::pin(self.meet())
    }
}
