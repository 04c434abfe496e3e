//! What users see of schedules, and how they name them: the parts of
//! [`super::user::Request`] and [`super::user::Response`] that speak of them.

use serde::{Deserialize, Serialize};

use super::user::{JobState, RequestError};
use crate::cron::Cron;
use crate::schedule::{Missed, Overlap};
use crate::{JobId, TenantName, Timestamp};

/// Names a schedule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ScheduleId {
    /// Whose; `None` is the caller's own tenant.
    pub tenant: Option<TenantName>,
    /// Its name there.
    pub name: String,
}

/// Which schedules to list, in order of tenant and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleFilter {
    /// Of every tenant; admin only.
    pub all_tenants: bool,
    /// Only those after this one: the next page.
    pub after: Option<(TenantName, String)>,
    /// At most [`crate::limits::MAX_PAGE`].
    pub limit: u32,
}

/// A row of `wrun schedules`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleRow {
    /// Whose it is.
    pub tenant: TenantName,
    /// Its name.
    pub name: String,
    /// When it is due.
    pub cron: Cron,
    /// What becomes of a run while an earlier one has not ended.
    pub overlap: Overlap,
    /// What becomes of runs that were due while no server ran.
    pub missed: Missed,
    /// Not due after this instant.
    pub until: Option<Timestamp>,
    /// Whether it makes no runs for now.
    pub paused: bool,
    /// When it is due next; `None` while paused, and after its end.
    pub next: Option<Timestamp>,
    /// How many of its runs have not ended.
    pub live: u32,
    /// The last job that it submitted.
    pub last: Option<ScheduledRun>,
    /// The last time that it was due and submitted nothing.
    pub left_out: Option<LeftOut>,
}

/// A job that a schedule submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledRun {
    /// When it was due.
    pub due: Timestamp,
    /// The job.
    pub job: JobId,
    /// Where it stands; `None` where nothing is known of it any more.
    pub state: Option<JobState>,
}

/// A time at which a schedule was due and submitted nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// When it was due.
    pub due: Timestamp,
    /// Why.
    pub why: WhyLeftOut,
}

/// Why a schedule submitted nothing when it was due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WhyLeftOut {
    /// No server ran then.
    Missed,
    /// This run of it had not ended.
    Overlaps(JobId),
    /// As a submission by its tenant would have been.
    Refused(RequestError),
}
