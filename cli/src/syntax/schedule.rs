//! `wrun schedule` and `wrun schedules`.

use clap::{Args, Subcommand, ValueEnum};
use wrun_protocol::TenantName;
use wrun_protocol::cron::Cron;
use wrun_protocol::schedule;

use super::work::Work;
use crate::value::When;

/// Submits a job again and again, at the times of a cron expression
#[derive(Debug, Args)]
pub(crate) struct Schedule {
    #[command(subcommand)]
    pub(crate) command: ScheduleCommand,
}

/// What to do with schedules.
#[derive(Debug, Subcommand)]
pub(crate) enum ScheduleCommand {
    /// Adds a schedule
    ///
    /// WORK is a component or a job file, as for `wrun submit`, and is taken as it is now: files
    /// that change later change no run. The server submits it at each time that the expression
    /// names, whether or not anybody is connected then.
    Add(Box<Add>),
    /// Removes a schedule; its runs stay
    Remove(Named),
    /// Lets a schedule make no runs until it is resumed
    Pause(Named),
    /// Lets a schedule go on; what was due while it was paused is not made up for
    Resume(Named),
}

/// `wrun schedule add`.
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The schedule's name
    #[arg(value_name = "NAME")]
    pub(crate) schedule: String,

    /// When it is due, in UTC: minute, hour, day of the month, month, day of the week, like
    /// "0 3 * * *"; or @hourly, @daily, @weekly, @monthly, @yearly, or "@every 90m"
    #[arg(long, value_name = "EXPRESSION")]
    pub(crate) cron: Cron,

    /// What becomes of a run while an earlier one has not ended
    #[arg(long, value_enum, value_name = "POLICY", default_value = "skip")]
    pub(crate) overlap: Overlap,

    /// What becomes of runs that were due while the server was down
    #[arg(long, value_enum, value_name = "POLICY", default_value = "skip")]
    pub(crate) missed: Missed,

    /// Not due after TIME, like "2026-12-24 18:00" (UTC) or +90d
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<When>,

    #[command(flatten)]
    pub(crate) work: Work,
}

/// See `--overlap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Overlap {
    /// It is left out
    Skip,
    /// It waits for the end of the earlier ones
    Queue,
    /// The earlier one is cancelled
    Replace,
}

/// See `--missed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Missed {
    /// They are left out
    Skip,
    /// The latest of them is made up for
    Once,
    /// Each is made up for, oldest first; at most the latest 100
    All,
}

impl From<Overlap> for schedule::Overlap {
    fn from(overlap: Overlap) -> Self {
        match overlap {
            Overlap::Skip => Self::Skip,
            Overlap::Queue => Self::Queue,
            Overlap::Replace => Self::Replace,
        }
    }
}

impl From<Missed> for schedule::Missed {
    fn from(missed: Missed) -> Self {
        match missed {
            Missed::Skip => Self::Skip,
            Missed::Once => Self::Once,
            Missed::All => Self::All,
        }
    }
}

/// A schedule by its name.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The schedule's name
    #[arg(value_name = "NAME")]
    pub(crate) schedule: String,

    /// Whose it is [default: my own tenant's; others only for admins]
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: Option<TenantName>,
}

/// Lists schedules: when each is due next, and what became of its last run
#[derive(Debug, Args)]
pub(crate) struct Schedules {
    /// Of every tenant (admins only)
    #[arg(long, short)]
    pub(crate) all: bool,
}
