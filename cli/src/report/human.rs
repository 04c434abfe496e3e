//! Words, times and counts for people.

use std::time::Duration;

use wrun_protocol::Timestamp;
use wrun_protocol::node::NodeState;
use wrun_protocol::resources::Bytes;
use wrun_protocol::scheduling::{GpuRequest, Request};
use wrun_protocol::task::{Failure, Outcome};
use wrun_protocol::wire::schedule::WhyLeftOut;
use wrun_protocol::wire::user::{JobState, TaskCounts, TaskState};

/// The wall clock as the wire has it.
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(wrun_protocol::time::millis(since.unwrap_or_default()))
}

/// `3m ago`.
pub(crate) fn ago(then: Timestamp, now: Timestamp) -> String {
    if now.0 < then.0.saturating_add(1000) {
        return "now".to_owned();
    }
    format!("{} ago", coarse(now.since(then)))
}

/// One unit, rounded down: for how long ago.
pub(crate) fn coarse(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..=59 => format!("{seconds}s"),
        60..=3599 => format!("{}m", seconds / 60),
        3600..=86_399 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// `in 3m`, or `now` for what is past.
pub(crate) fn until(then: Timestamp, now: Timestamp) -> String {
    if then.0 < now.0.saturating_add(1000) {
        return "now".to_owned();
    }
    format!("in {}", coarse(then.since(now)))
}

/// `1 CPU, 128 MiB memory, 0.5 GPU`.
pub(crate) fn request(of: &Request) -> String {
    let mut text = of.resources.to_string();
    if let Some(gpu) = &of.devices.gpu {
        text += &format!(", {}", self::gpu(gpu));
    }
    for (name, amount) in &of.devices.named {
        text += &format!(", {amount} {name}");
    }
    for (name, slots) in &of.devices.pools {
        text += &format!(", {slots} of pool {name}");
    }
    text
}

/// `0.5 GPU (a100, 8 GiB)`.
fn gpu(of: &GpuRequest) -> String {
    let mut details = of.models.clone();
    if of.memory > 0 {
        details.push(Bytes(of.memory).to_string());
    }
    let details =
        if details.is_empty() { String::new() } else { format!(" ({})", details.join(", ")) };
    format!("{} GPU{details}", f64::from(of.milli) / 1000.0)
}

/// Two units: for how long something took.
pub(crate) fn took(time: Duration) -> String {
    let (micros, seconds) = (time.as_micros(), time.as_secs());
    match seconds {
        0 if micros < 1000 => format!("{micros}µs"),
        0 if micros < 10_000 => format!("{:.1}ms", micros as f64 / 1000.0),
        0 => format!("{}ms", micros / 1000),
        1..=59 => format!("{:.1}s", time.as_secs_f64()),
        60..=3599 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..=86_399 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// `2026-11-23 19:58:38 UTC`, by the proleptic Gregorian calendar.
pub(crate) fn date(time: Timestamp) -> String {
    let seconds = time.0 / 1000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / 3600, rest % 3600 / 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Year, month and day of a day since 1970-01-01. Years begin in March, so that the leap
/// day is their last; 719,468 days lie between 0000-03-01 and 1970-01-01.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

/// Why a schedule submitted nothing when it was due.
pub(crate) fn why_left_out(why: &WhyLeftOut) -> String {
    match why {
        WhyLeftOut::Missed => "no server ran".to_owned(),
        WhyLeftOut::Overlaps(job) => format!("job {job} had not ended"),
        WhyLeftOut::Refused(error) => error.message.clone(),
    }
}

/// `12,500`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How many tasks there are.
pub(crate) fn total(tasks: &TaskCounts) -> u64 {
    [tasks.pending, tasks.running, tasks.succeeded, tasks.failed, tasks.cancelled]
        .iter()
        .map(|count| u64::from(*count))
        .sum()
}

/// How many have ended.
pub(crate) fn ended(tasks: &TaskCounts) -> u64 {
    [tasks.succeeded, tasks.failed, tasks.cancelled].iter().map(|count| u64::from(*count)).sum()
}

/// `40 succeeded, 3 running, 1 failed`; what is zero is left out.
pub(crate) fn counts(tasks: &TaskCounts) -> String {
    let parts = [
        (tasks.succeeded, "succeeded"),
        (tasks.failed, "failed"),
        (tasks.cancelled, "cancelled"),
        (tasks.running, "running"),
        (tasks.pending, "pending"),
    ];
    let said: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    said.join(", ")
}

/// How an attempt ended, in a line. Of a trap the cause alone: the guest's frames that the
/// engine lists before it are for [`details`].
pub(crate) fn outcome(outcome: &Outcome) -> String {
    let text = outcome.to_string();
    let line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    match (outcome, text.rsplit_once("Caused by:")) {
        (Outcome::Failed(Failure::Trap { .. }), Some((_, cause))) => {
            format!("trap: {}", line(cause).trim_start_matches("wasm trap: "))
        }
        _ => line(&text),
    }
}

/// The lines that [`outcome`] leaves out, if there are any.
pub(crate) fn details(outcome: &Outcome) -> Option<String> {
    let text = outcome.to_string();
    (text.trim_end().lines().count() > 1).then_some(text)
}

/// A job's state in a word.
pub(crate) fn job_state(state: JobState) -> &'static str {
    match state {
        JobState::Pending => "pending",
        JobState::Running => "running",
        JobState::Succeeded => "succeeded",
        JobState::Failed => "failed",
        JobState::Cancelled => "cancelled",
    }
}

/// A task's state in a word.
pub(crate) fn task_state(state: TaskState) -> &'static str {
    match state {
        TaskState::Pending => "pending",
        TaskState::Assigned => "assigned",
        TaskState::Running => "running",
        TaskState::Succeeded => "succeeded",
        TaskState::Failed => "failed",
        TaskState::Cancelled => "cancelled",
        TaskState::Frozen => "frozen",
        TaskState::Stopping => "stopping",
    }
}

/// A node's state in a word.
pub(crate) fn node_state(state: NodeState) -> &'static str {
    match state {
        NodeState::Ready => "ready",
        NodeState::Draining => "draining",
        NodeState::Disconnected => "disconnected",
        NodeState::Lost => "lost",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let text = |ms| took(Duration::from_millis(ms));
        assert_eq!([text(3), text(420), text(1234)], ["3.0ms", "420ms", "1.2s"]);
        assert_eq!([text(61_000), text(3_700_000), text(90_000_000)], ["1m01s", "1h01m", "1d01h"]);
        assert_eq!(ago(Timestamp(0), Timestamp(185_000)), "3m ago");
        assert_eq!(ago(Timestamp(5000), Timestamp(4000)), "now");
    }

    #[test]
    fn long_numbers_are_in_groups_of_three() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(Timestamp(0)), "1970-01-01 00:00:00 UTC");
        assert_eq!(date(Timestamp(951_782_400_000)), "2000-02-29 00:00:00 UTC");
        assert_eq!(date(Timestamp(1_795_463_918_000)), "2026-11-23 19:58:38 UTC");
        assert_eq!(date(Timestamp(4_107_542_400_000)), "2100-03-01 00:00:00 UTC");
    }

    #[test]
    fn counts_leave_out_what_is_none() {
        let tasks = TaskCounts { succeeded: 40, running: 3, ..TaskCounts::default() };
        assert_eq!(counts(&tasks), "40 succeeded, 3 running");
        assert_eq!((total(&tasks), ended(&tasks)), (43, 40));
    }

    #[test]
    fn a_trap_is_told_by_its_cause() {
        let message = "error while executing at wasm backtrace:\n    0: 0x1 - f\n\nCaused by:\n    wasm trap: out of fuel\n";
        let trap = Outcome::Failed(Failure::Trap { message: message.to_owned() });
        assert_eq!(outcome(&trap), "trap: out of fuel");
        assert!(details(&trap).unwrap().contains("0x1"));
        let plain = Outcome::Failed(Failure::Exit { code: 3 });
        assert_eq!((outcome(&plain), details(&plain)), ("exit code 3".to_owned(), None));
    }
}
