//! Reports that the server has not acknowledged: numbered, bounded, sent in few frames,
//! sent again on a new session. Plain successes of neighbouring tasks become one report.

use std::collections::VecDeque;

use wrun_protocol::IndexRange;
use wrun_protocol::task::{Content, Failure, Outcome, Usage};
use wrun_protocol::wire::worker::{Assignment, FromWorker, Report, TaskResult};

/// Reports kept before the worker stops starting tasks. They are listed in `Hello`, which
/// is one frame: about 20 bytes each.
const MAX_REPORTS: usize = 16_384;

/// Bytes kept before the worker stops starting tasks.
const MAX_BYTES: usize = 64 << 20;

/// Reports and bytes of one frame: well below the largest frame that a peer accepts.
const FRAME_REPORTS: usize = 4096;
const FRAME_BYTES: usize = 256 << 10;

/// What a report takes besides the contents that it carries.
const REPORT_BYTES: usize = 96;

struct Kept {
    report: Report,
    bytes: usize,
}

/// The reports, in order of their numbers.
pub(crate) struct Outbox {
    kept: VecDeque<Kept>,
    /// Number of the first one kept.
    first: u64,
    /// How many of those kept were sent on this session.
    sent: usize,
    /// The highest number that was sent on any session: what it names never changes.
    ever_sent: u64,
    bytes: usize,
}

impl Outbox {
    /// Nothing to report yet; the first report will be number 1.
    pub(crate) fn new() -> Self {
        Self { kept: VecDeque::new(), first: 1, sent: 0, ever_sent: 0, bytes: 0 }
    }

    /// Adds a report and says its number.
    pub(crate) fn push(&mut self, report: Report) -> u64 {
        if !self.merge(&report) {
            let bytes = size(&report);
            self.bytes += bytes;
            self.kept.push_back(Kept { report, bytes });
        }
        self.last()
    }

    fn last(&self) -> u64 {
        self.first + self.kept.len() as u64 - 1
    }

    /// Joins a run of plain successes to the last report, if that was not sent and ends
    /// where this one begins.
    fn merge(&mut self, report: &Report) -> bool {
        if self.last() <= self.ever_sent {
            return false;
        }
        let (
            Some(Kept { report: Report::Succeeded { tasks, usage }, .. }),
            Report::Succeeded { tasks: more, usage: further },
        ) = (self.kept.back_mut(), report)
        else {
            return false;
        };
        let adjacent = tasks.job == more.job
            && tasks.attempt == more.attempt
            && tasks.tasks.end() == more.tasks.first;
        if adjacent {
            tasks.tasks.count = tasks.tasks.count.saturating_add(more.tasks.count);
            add_usage(usage, further);
        }
        adjacent
    }

    /// Every report up to `number` is durable at the server.
    pub(crate) fn on_acknowledged(&mut self, number: u64) {
        while self.first <= number.min(self.ever_sent) {
            let Some(kept) = self.kept.pop_front() else { break };
            self.bytes -= kept.bytes;
            self.first += 1;
            self.sent = self.sent.saturating_sub(1);
        }
    }

    /// A new session: everything kept is to be sent again.
    pub(crate) fn rewind(&mut self) {
        self.sent = 0;
    }

    /// Whether there is something to send.
    pub(crate) fn has_unsent(&self) -> bool {
        self.sent < self.kept.len()
    }

    /// The next frame of reports that were not sent on this session.
    pub(crate) fn next_frame(&mut self) -> Option<FromWorker> {
        let first = self.first + self.sent as u64;
        let mut bytes = 0;
        let mut reports = Vec::new();
        for kept in self.kept.iter().skip(self.sent).take(FRAME_REPORTS) {
            if !reports.is_empty() && bytes + kept.bytes > FRAME_BYTES {
                break;
            }
            bytes += kept.bytes;
            reports.push(kept.report.clone());
        }
        self.sent += reports.len();
        self.ever_sent = self.ever_sent.max(self.first + self.sent as u64 - 1);
        (!reports.is_empty()).then_some(FromWorker::Reports { first, reports })
    }

    /// Whether so much waits for the server that no further task may be started.
    pub(crate) fn is_full(&self) -> bool {
        self.kept.len() >= MAX_REPORTS || self.bytes >= MAX_BYTES
    }

    /// Whether the server has acknowledged everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The attempts whose end or return is told by the reports kept.
    pub(crate) fn told(&self) -> impl Iterator<Item = Assignment> {
        self.kept.iter().filter_map(|kept| match &kept.report {
            Report::Succeeded { tasks, .. } | Report::Returned(tasks) => Some(*tasks),
            Report::Ended { attempt, .. } | Report::Preempted { attempt, .. } => Some(Assignment {
                job: attempt.task.job,
                attempt: attempt.attempt,
                tasks: IndexRange::one(attempt.task.index),
            }),
            Report::Started(_) | Report::Checkpoint { .. } | Report::Readied { .. } => None,
        })
    }
}

/// Adds `further` to `usage`; the peak is the higher one.
pub(crate) fn add_usage(usage: &mut Usage, further: &Usage) {
    usage.wall_us = usage.wall_us.saturating_add(further.wall_us);
    usage.cpu_us = usage.cpu_us.saturating_add(further.cpu_us);
    usage.frozen_us = usage.frozen_us.saturating_add(further.frozen_us);
    usage.peak_memory = usage.peak_memory.max(further.peak_memory);
}

fn size(report: &Report) -> usize {
    REPORT_BYTES
        + match report {
            Report::Ended { result, .. } => result_size(result),
            Report::Checkpoint { content, .. } => inline_size(Some(content)),
            _ => 0,
        }
}

fn result_size(result: &TaskResult) -> usize {
    let text = match &result.outcome {
        Outcome::Failed(
            Failure::Handler { message, .. }
            | Failure::Trap { message }
            | Failure::Setup { message },
        ) => message.len(),
        _ => 0,
    };
    text + inline_size(result.output.as_ref()) + inline_size(result.log.as_ref())
}

fn inline_size(content: Option<&Content>) -> usize {
    match content {
        Some(Content::Inline(bytes)) => bytes.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use wrun_protocol::JobId;

    use super::*;

    fn succeeded(first: u32, count: u32) -> Report {
        Report::Succeeded {
            tasks: Assignment { job: JobId(1), attempt: 1, tasks: IndexRange { first, count } },
            usage: Usage { wall_us: 5, cpu_us: 3, frozen_us: 0, peak_memory: u64::from(first) },
        }
    }

    fn frame(outbox: &mut Outbox) -> (u64, usize) {
        match outbox.next_frame() {
            Some(FromWorker::Reports { first, reports }) => (first, reports.len()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn neighbouring_successes_become_one_report_until_it_is_sent() {
        let mut outbox = Outbox::new();
        assert_eq!(outbox.push(succeeded(0, 2)), 1);
        assert_eq!(outbox.push(succeeded(2, 3)), 1, "joined");
        assert_eq!(outbox.push(succeeded(7, 1)), 2, "a gap");
        let Some(FromWorker::Reports { first: 1, reports }) = outbox.next_frame() else { panic!() };
        let Some(Report::Succeeded { tasks, usage }) = reports.first() else { panic!() };
        assert_eq!(tasks.tasks, IndexRange { first: 0, count: 5 });
        assert_eq!((usage.wall_us, usage.cpu_us, usage.peak_memory), (10, 6, 2));
        assert_eq!(outbox.push(succeeded(8, 1)), 3, "what was sent is not changed");
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again_under_the_same_numbers() {
        let mut outbox = Outbox::new();
        for index in [0, 2, 4] {
            outbox.push(succeeded(index, 1));
        }
        assert_eq!(frame(&mut outbox), (1, 3));
        assert!(outbox.next_frame().is_none());
        outbox.on_acknowledged(1);
        outbox.rewind();
        assert_eq!(frame(&mut outbox), (2, 2));
        outbox.on_acknowledged(3);
        assert!(outbox.is_empty());
        assert_eq!(outbox.push(succeeded(9, 1)), 4);
    }

    #[test]
    fn what_was_sent_on_an_earlier_session_keeps_its_meaning() {
        let mut outbox = Outbox::new();
        outbox.push(succeeded(0, 1));
        outbox.next_frame();
        outbox.rewind();
        assert_eq!(outbox.push(succeeded(1, 1)), 2, "not joined to number 1");
    }

    #[test]
    fn an_acknowledgement_of_what_was_never_sent_forgets_no_later_report() {
        let mut outbox = Outbox::new();
        outbox.push(succeeded(0, 1));
        outbox.on_acknowledged(u64::MAX);
        assert!(!outbox.is_empty());
        assert_eq!(outbox.push(succeeded(2, 1)), 2);
    }

    #[test]
    fn frames_are_bounded_and_the_box_says_when_it_is_full() {
        let mut outbox = Outbox::new();
        for index in 0..MAX_REPORTS as u32 {
            assert!(!outbox.is_full());
            outbox.push(succeeded(index * 2, 1));
        }
        assert!(outbox.is_full());
        let (first, count) = frame(&mut outbox);
        assert_eq!(first, 1);
        assert!(count <= FRAME_BYTES / REPORT_BYTES);
        outbox.on_acknowledged(1);
        assert!(!outbox.is_full());
        assert_eq!(frame(&mut outbox).0, 1 + count as u64);
    }
}
