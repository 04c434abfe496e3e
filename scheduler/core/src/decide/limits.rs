//! Quotas at submit and at placement: what is beyond them is refused, or waits.

use wrun_protocol::wire::user::{ErrorCode, RequestError};
use wrun_protocol::{JobId, TenantName};

use crate::core::Core;
use crate::reason::PendingReason;
use crate::state::groups::{GroupIx, GroupKey};

/// Parked groups that one shrinking lets back into the queue at most; the others follow
/// when these have found room or not.
const MAX_WOKEN: usize = 16;

impl Core {
    /// Refuses more tasks than may be queued.
    pub(crate) fn check_queued(
        &mut self,
        tenant: &TenantName,
        key: &GroupKey,
        count: u32,
    ) -> Result<(), RequestError> {
        if !self.state.rules.has_limits() {
            return Ok(());
        }
        let quotas = self.state.binding(tenant, key);
        self.check_at_once(tenant, key)?;
        self.state.groups.quotas.may_queue(&quotas, count).map_err(|limit| {
            RequestError::new(
                ErrorCode::LimitReached,
                format!("{count} more tasks: {limit}; wait for some to end, or cancel some"),
            )
        })
    }

    /// Refuses what a quota could never allow, though nothing else were there.
    pub(crate) fn check_at_once(
        &mut self,
        tenant: &TenantName,
        key: &GroupKey,
    ) -> Result<(), RequestError> {
        if !self.state.rules.has_limits() {
            return Ok(());
        }
        let quotas = self.state.binding(tenant, key);
        match self.state.groups.quotas.beyond(&quotas, key) {
            None => Ok(()),
            Some((limit, takes)) => {
                let beyond = PendingReason::BeyondLimit { limit, takes, gang: key.gang() };
                let message = format!("{beyond}; ask for less, or use another class or partition");
                Err(RequestError::new(ErrorCode::LimitReached, message))
            }
        }
    }

    /// How many tasks of the group may be placed now. Where none, it is parked until that
    /// can have changed.
    pub(crate) fn within_limits(&mut self, group: GroupIx) -> u32 {
        match self.state.groups.may_place(group) {
            Ok(most) => most,
            Err((quota, _)) => {
                self.state.groups.park(group, quota);
                0
            }
        }
    }

    /// Lets parked groups back into the queue whose quota has room again, by rank.
    pub(crate) fn wake_parked(&mut self) {
        for quota in std::mem::take(&mut self.state.groups.quotas.shrunk) {
            let (mut woken, mut last) = (0, None);
            // One after the other: they may be many more than are let in.
            while let Some(next) = self.state.groups.quotas.next_parked(quota, last) {
                let (_, group) = next;
                last = Some(next);
                if woken == MAX_WOKEN {
                    self.state.groups.quotas.shrunk.insert(quota);
                    break;
                }
                match self.state.groups.may_place(group) {
                    Ok(_) => {
                        self.state.groups.unpark(group);
                        woken += 1;
                    }
                    Err((other, _)) if other != quota => self.state.groups.park(group, other),
                    Err(_) => {}
                }
            }
        }
    }

    /// The quota that keeps a job from being placed, if one does.
    pub(crate) fn limit_reached(&self, id: JobId) -> Option<crate::state::quotas::LimitReached> {
        let group = self.state.jobs.get(id)?.group;
        self.state.groups.may_place(group).err().map(|(_, limit)| limit)
    }
}
