//! Heartbeats, and until when the server counts on this worker. Time is an argument.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Unanswered heartbeats that are remembered; an answer to an older one says nothing new.
const REMEMBERED: usize = 64;

/// The worker counts its lease from sending the last heartbeat that was acknowledged.
#[derive(Debug)]
pub(crate) struct Lease {
    length: Duration,
    every: Duration,
    /// Number and instant of heartbeats sent and not yet answered, oldest first.
    unanswered: VecDeque<(u64, Instant)>,
    last_beat: u64,
    /// When the next heartbeat is due; `None` without a session.
    due: Option<Instant>,
    /// When the lease ends; `None` when it has ended or never began.
    until: Option<Instant>,
}

impl Lease {
    /// No lease yet.
    pub(crate) fn new() -> Self {
        Self {
            length: Duration::ZERO,
            every: Duration::from_secs(1),
            unanswered: VecDeque::new(),
            last_beat: 0,
            due: None,
            until: None,
        }
    }

    /// The server has answered a `Hello` that was sent at `hello`.
    pub(crate) fn on_welcome(&mut self, hello: Instant, length: Duration, every: Duration) {
        self.length = length;
        // A server that asks for no pause at all would have the worker do nothing else.
        self.every = every.max(Duration::from_millis(10));
        self.until = Some(hello + length);
        self.due = Some(hello);
        self.unanswered.clear();
    }

    /// The session is gone; the lease runs on.
    pub(crate) fn on_disconnected(&mut self) {
        self.due = None;
        self.unanswered.clear();
    }

    /// The number of the heartbeat to send now, if one is due.
    pub(crate) fn beat(&mut self, now: Instant) -> Option<u64> {
        if self.due.is_none_or(|due| now < due) {
            return None;
        }
        self.due = Some(now + self.every);
        self.last_beat += 1;
        if self.unanswered.len() == REMEMBERED {
            self.unanswered.pop_front();
        }
        self.unanswered.push_back((self.last_beat, now));
        Some(self.last_beat)
    }

    /// The server has answered heartbeat `beat`, and with it all before.
    pub(crate) fn on_answer(&mut self, beat: u64) {
        while let Some(&(number, sent)) = self.unanswered.front() {
            if number > beat {
                break;
            }
            self.unanswered.pop_front();
            let until = sent + self.length;
            self.until = Some(self.until.map_or(until, |held| held.max(until)));
        }
    }

    /// Whether a heartbeat has waited for its answer for half a lease: the server, or the way
    /// to it, is gone, and another connection may still come in time.
    pub(crate) fn is_unheard(&self, now: Instant) -> bool {
        self.unheard_at().is_some_and(|at| at <= now)
    }

    fn unheard_at(&self) -> Option<Instant> {
        self.due?;
        self.unanswered.front().map(|(_, sent)| *sent + self.length / 2)
    }

    /// Whether the lease has ended since this was last asked. Says so once.
    pub(crate) fn ended(&mut self, now: Instant) -> bool {
        let over = self.until.is_some_and(|until| until <= now);
        if over {
            self.until = None;
        }
        over
    }

    /// When something is to be done next.
    pub(crate) fn timeout(&self) -> Option<Instant> {
        [self.due, self.until, self.unheard_at()].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn welcomed(at: Instant) -> Lease {
        let mut lease = Lease::new();
        lease.on_welcome(at, 10 * SECOND, 2 * SECOND);
        lease
    }

    #[test]
    fn the_lease_counts_from_sending_the_acknowledged_heartbeat() {
        let start = Instant::now();
        let mut lease = welcomed(start);
        assert_eq!(lease.beat(start), Some(1));
        assert_eq!(lease.beat(start + SECOND), None, "not due yet");
        assert_eq!(lease.beat(start + 2 * SECOND), Some(2));
        assert_eq!(lease.beat(start + 4 * SECOND), Some(3));
        lease.on_answer(2);
        assert!(!lease.ended(start + 11 * SECOND));
        assert!(lease.ended(start + 12 * SECOND), "two seconds after the first lease");
        assert!(!lease.ended(start + 13 * SECOND), "said once");
    }

    #[test]
    fn without_a_session_no_heartbeat_is_due_and_the_lease_runs_out() {
        let start = Instant::now();
        let mut lease = welcomed(start);
        assert_eq!(lease.beat(start), Some(1));
        lease.on_disconnected();
        lease.on_answer(1);
        assert_eq!(lease.beat(start + 5 * SECOND), None);
        assert_eq!(lease.timeout(), Some(start + 10 * SECOND));
        assert!(lease.ended(start + 10 * SECOND));
        assert_eq!(lease.timeout(), None);
    }

    #[test]
    fn a_heartbeat_without_an_answer_for_half_a_lease_tells_that_the_server_is_gone() {
        let start = Instant::now();
        let mut lease = welcomed(start);
        lease.beat(start);
        lease.beat(start + 2 * SECOND);
        assert!(!lease.is_unheard(start + 4 * SECOND));
        lease.on_answer(1);
        assert!(!lease.is_unheard(start + 6 * SECOND), "the first was answered");
        assert!(lease.is_unheard(start + 7 * SECOND));
        lease.on_disconnected();
        assert!(!lease.is_unheard(start + 8 * SECOND), "there is no session to give up");
    }

    #[test]
    fn an_answer_that_comes_late_revives_nothing_but_its_own_time() {
        let start = Instant::now();
        let mut lease = welcomed(start);
        lease.beat(start);
        assert!(lease.ended(start + 10 * SECOND));
        lease.on_answer(1);
        assert!(lease.ended(start + 10 * SECOND), "its ten seconds are over too");
    }
}
