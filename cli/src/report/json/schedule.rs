//! What commands about schedules print.

use schemars::JsonSchema;
use serde::Serialize;
use wrun_protocol::schedule::{Missed, Overlap};
use wrun_protocol::wire::schedule::{self as wire, WhyLeftOut};

use crate::report::human;

/// Schedules, in order of tenant and name.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Schedules {
    pub(crate) schedules: Vec<Schedule>,
}

/// A job that is submitted again and again.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Schedule {
    pub(crate) name: String,
    /// Whose it is.
    pub(crate) tenant: String,
    /// When it is due, in UTC.
    pub(crate) cron: String,
    /// `skip`, `queue` or `replace`.
    pub(crate) overlap: &'static str,
    /// `skip`, `once` or `all`.
    pub(crate) missed: &'static str,
    /// Not due after this.
    pub(crate) until_ms: Option<u64>,
    pub(crate) paused: bool,
    /// When it is due next.
    pub(crate) next_ms: Option<u64>,
    /// How many of its runs have not ended.
    pub(crate) live_runs: u32,
    /// The last job that it submitted.
    pub(crate) last_run: Option<ScheduledRun>,
    /// The last time that it was due and submitted nothing.
    pub(crate) left_out: Option<LeftOut>,
}

/// A job that a schedule submitted.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ScheduledRun {
    /// When it was due.
    pub(crate) due_ms: u64,
    pub(crate) job: u64,
    /// Where the job stands, as far as it is still known.
    pub(crate) state: Option<&'static str>,
}

/// A time at which a schedule submitted nothing.
#[derive(Serialize, JsonSchema)]
pub(crate) struct LeftOut {
    /// When it was due.
    pub(crate) due_ms: u64,
    /// `missed`, `overlaps` or `refused`.
    pub(crate) why: &'static str,
    /// For people.
    pub(crate) message: String,
}

/// A schedule was changed.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ScheduleChange {
    pub(crate) schedule: String,
    /// `added`, `removed`, `paused` or `resumed`.
    pub(crate) schedule_state: &'static str,
}

impl From<&wire::ScheduleRow> for Schedule {
    fn from(row: &wire::ScheduleRow) -> Self {
        Self {
            name: row.name.clone(),
            tenant: row.tenant.to_string(),
            cron: row.cron.to_string(),
            overlap: match row.overlap {
                Overlap::Skip => "skip",
                Overlap::Queue => "queue",
                Overlap::Replace => "replace",
            },
            missed: match row.missed {
                Missed::Skip => "skip",
                Missed::Once => "once",
                Missed::All => "all",
            },
            until_ms: row.until.map(|at| at.0),
            paused: row.paused,
            next_ms: row.next.map(|at| at.0),
            live_runs: row.live,
            last_run: row.last.map(|last| ScheduledRun {
                due_ms: last.due.0,
                job: last.job.0,
                state: last.state.map(human::job_state),
            }),
            left_out: row.left_out.as_ref().map(|left_out| LeftOut {
                due_ms: left_out.due.0,
                why: match left_out.why {
                    WhyLeftOut::Missed => "missed",
                    WhyLeftOut::Overlaps(_) => "overlaps",
                    WhyLeftOut::Refused(_) => "refused",
                },
                message: human::why_left_out(&left_out.why),
            }),
        }
    }
}
