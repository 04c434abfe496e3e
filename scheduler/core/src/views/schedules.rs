//! What can be seen of schedules.

use wrun_protocol::TenantName;
use wrun_protocol::wire::schedule::{ScheduleRow, ScheduledRun};

use super::state_of;
use crate::core::Core;

impl Core {
    /// Schedules, of every tenant or of one, in order of tenant and name, those after
    /// `after`. The state of a last run that has ended is the history's to tell. Costs one
    /// step for each schedule passed over.
    pub fn schedules(
        &self,
        tenant: Option<&TenantName>,
        after: Option<&(TenantName, String)>,
        limit: usize,
    ) -> Vec<ScheduleRow> {
        let all = self.state.schedules.after(after);
        let wanted = all.filter(|((of, _), _)| tenant.is_none_or(|tenant| tenant == of));
        let rows = wanted.map(|((tenant, name), entry)| ScheduleRow {
            tenant: tenant.clone(),
            name: name.clone(),
            cron: entry.schedule.cron.clone(),
            overlap: entry.schedule.overlap,
            missed: entry.schedule.missed,
            until: entry.schedule.until,
            paused: entry.paused,
            next: entry.next,
            live: u32::try_from(entry.live.len()).unwrap_or(u32::MAX),
            last: entry.last.map(|(due, job)| ScheduledRun {
                due,
                job,
                state: self.state.jobs.get(job).map(state_of),
            }),
            left_out: entry.left_out.clone(),
        });
        rows.take(limit).collect()
    }
}
