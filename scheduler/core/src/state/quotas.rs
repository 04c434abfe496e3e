//! What partitions, classes of service and tenants may have, and have now.
//!
//! A quota counts tasks that have not ended, and those that are placed with what they ask
//! for: what waits on a node counts as well, since it starts there on its own. Only bounds
//! that the policy sets have a quota, so that without any nothing is counted. A group that
//! a quota leaves no room for is parked at it, out of the queue, until the quota shrinks.

use std::collections::{BTreeMap, BTreeSet};

use wrun_protocol::TenantName;
use wrun_protocol::policy::Limits;

use super::groups::{GroupIx, GroupKey, Groups, Rank};
use super::policy::Rules;
use super::usage::Held;
use super::{State, Tenants};

/// A quota's place in the table.
pub(crate) type QuotaIx = u32;

/// Whose quota it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// All jobs of a partition.
    Partition(String),
    /// All jobs of a class of service.
    Qos(String),
    /// A tenant's jobs in a class of service.
    QosTenant(String, TenantName),
    /// The jobs of a tenant and of those below it.
    Tenant(TenantName),
}

/// What a quota bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bound {
    /// Tasks that have not ended.
    Queued,
    /// Tasks placed.
    Running,
    /// CPU in thousandths.
    Cpu,
    /// Memory in bytes.
    Memory,
    /// GPU in thousandths.
    Gpu,
}

/// A bound that leaves no room.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LimitReached {
    /// Whose.
    pub scope: Scope,
    /// Of what.
    pub bound: Bound,
    /// The most there may be.
    pub most: u64,
    /// What there is now.
    pub used: u64,
}

#[derive(Debug)]
pub(crate) struct Quota {
    scope: Scope,
    limits: Limits,
    queued: u64,
    running: u64,
    held: Held,
    /// Groups that wait for it to shrink, by rank, highest last.
    parked: BTreeSet<Parked>,
}

/// A group that waits, and its rank when it began to.
pub(crate) type Parked = (Rank, GroupIx);

/// Every quota.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    list: Vec<Quota>,
    by_scope: BTreeMap<Scope, QuotaIx>,
    /// Those with parked groups that have shrunk since.
    pub(crate) shrunk: BTreeSet<QuotaIx>,
}

impl Quotas {
    pub(crate) fn get(&self, quota: QuotaIx) -> Option<&Quota> {
        self.list.get(quota as usize)
    }

    fn get_mut(&mut self, quota: QuotaIx) -> Option<&mut Quota> {
        self.list.get_mut(quota as usize)
    }

    fn enter(&mut self, scope: Scope, limits: &Limits) -> Option<QuotaIx> {
        if *limits == Limits::default() {
            return None;
        }
        if let Some(quota) = self.by_scope.get(&scope) {
            return Some(*quota);
        }
        let quota = self.list.len() as QuotaIx;
        self.by_scope.insert(scope.clone(), quota);
        self.list.push(Quota {
            scope,
            limits: *limits,
            queued: 0,
            running: 0,
            held: Held::default(),
            parked: BTreeSet::new(),
        });
        Some(quota)
    }

    /// The quotas that bind a tenant's jobs of that partition and class, narrower ones first.
    pub(crate) fn binding(
        &mut self,
        rules: &Rules,
        tenant: &TenantName,
        key: &GroupKey,
    ) -> Vec<QuotaIx> {
        let mut quotas = Vec::new();
        let qos = rules.qos_of(key);
        if let Some(qos) = qos {
            let each = Scope::QosTenant(qos.name.clone(), tenant.clone());
            quotas.extend(self.enter(each, &qos.tenant_limits));
        }
        let exempt = qos.is_some_and(|qos| qos.exempt);
        let mut above = rules.tenant(tenant).filter(|_| !exempt);
        while let Some(tenant) = above {
            quotas.extend(self.enter(Scope::Tenant(tenant.name.clone()), &tenant.limits));
            above = tenant.parent.as_ref().and_then(|parent| rules.tenant(parent));
        }
        if let Some(partition) = rules.partition_of(key).filter(|_| !exempt) {
            let scope = Scope::Partition(partition.name.clone());
            quotas.extend(self.enter(scope, &partition.limits));
        }
        if let Some(qos) = qos {
            quotas.extend(self.enter(Scope::Qos(qos.name.clone()), &qos.limits));
        }
        quotas
    }

    pub(crate) fn count_live(&mut self, quotas: &[QuotaIx], more: u64, fewer: u64) {
        for quota in quotas {
            if let Some(quota) = self.get_mut(*quota) {
                quota.queued = (quota.queued + more).saturating_sub(fewer);
            }
        }
    }

    pub(crate) fn count_placed(&mut self, quotas: &[QuotaIx], key: &GroupKey, count: u32) {
        let held = demand(key, count);
        for quota in quotas {
            if let Some(quota) = self.get_mut(*quota) {
                quota.running += u64::from(count);
                quota.held.add(&held);
            }
        }
    }

    pub(crate) fn count_vacated(&mut self, quotas: &[QuotaIx], key: &GroupKey, count: u32) {
        let held = demand(key, count);
        for ix in quotas {
            let Some(quota) = self.get_mut(*ix) else { continue };
            quota.running = quota.running.saturating_sub(count.into());
            quota.held.take(&held);
            if !quota.parked.is_empty() {
                self.shrunk.insert(*ix);
            }
        }
    }

    /// How many tasks may come to those that have not ended.
    pub(crate) fn may_queue(&self, quotas: &[QuotaIx], count: u32) -> Result<(), LimitReached> {
        for quota in quotas.iter().filter_map(|quota| self.get(*quota)) {
            if let Some(most) = quota.limits.queued
                && quota.queued.saturating_add(count.into()) > most
            {
                return Err(quota.reached(Bound::Queued, most, quota.queued));
            }
        }
        Ok(())
    }

    /// How many tasks more may be placed now; an error, with the quota, where none.
    pub(crate) fn may_place(
        &self,
        quotas: &[QuotaIx],
        key: &GroupKey,
    ) -> Result<u32, (QuotaIx, LimitReached)> {
        let at_once = key.gang().max(1);
        let each = demand(key, 1);
        let mut room = u32::MAX;
        for ix in quotas {
            let Some(quota) = self.get(*ix) else { continue };
            for (bound, most, used, each) in quota.bounds(&each) {
                let Some(most) = most else { continue };
                let fits = most.saturating_sub(used).checked_div(each).unwrap_or(u64::MAX);
                if fits < u64::from(at_once) {
                    return Err((*ix, quota.reached(bound, most, used)));
                }
                room = room.min(u32::try_from(fits).unwrap_or(u32::MAX));
            }
        }
        Ok(room)
    }

    /// The first bound that what starts at once, a task or a gang, would be beyond if nothing
    /// else were there, and what it takes of that.
    pub(crate) fn beyond(&self, quotas: &[QuotaIx], key: &GroupKey) -> Option<(LimitReached, u64)> {
        let all = key.gang().max(1);
        let at_once = demand(key, all);
        quotas.iter().filter_map(|ix| self.get(*ix)).find_map(|quota| {
            let takes = |(bound, most, _, takes): (Bound, Option<u64>, u64, u64)| {
                let takes = if bound == Bound::Running { all.into() } else { takes };
                let most = most.filter(|most| *most < takes)?;
                Some((quota.reached(bound, most, 0), takes))
            };
            quota.bounds(&at_once).into_iter().find_map(takes)
        })
    }

    fn park(&mut self, quota: QuotaIx, rank: Rank, group: GroupIx) {
        if let Some(quota) = self.get_mut(quota) {
            quota.parked.insert((rank, group));
        }
    }

    fn unpark(&mut self, quota: QuotaIx, rank: Rank, group: GroupIx) {
        if let Some(quota) = self.get_mut(quota) {
            quota.parked.remove(&(rank, group));
        }
    }

    /// Groups that wait for any quota, quota by quota, highest rank first.
    pub(crate) fn all_parked(&self) -> impl Iterator<Item = GroupIx> {
        let quotas = self.list.iter().filter(|quota| !quota.parked.is_empty());
        quotas.flat_map(|quota| quota.parked.iter().rev().map(|(_, group)| *group))
    }

    /// Groups that wait for the quota, highest rank first.
    pub(crate) fn parked(&self, quota: QuotaIx) -> impl Iterator<Item = GroupIx> {
        let parked = self.get(quota).into_iter().flat_map(|quota| quota.parked.iter().rev());
        parked.map(|(_, group)| *group)
    }

    /// The one that follows on the last that was looked at.
    pub(crate) fn next_parked(&self, quota: QuotaIx, after: Option<Parked>) -> Option<Parked> {
        let parked = &self.get(quota)?.parked;
        match after {
            Some(after) => parked.range(..after).next_back().copied(),
            None => parked.last().copied(),
        }
    }
}

impl Quota {
    /// Bounds on what is placed: of what, the most, what there is, and what a task takes.
    fn bounds(&self, each: &Held) -> [(Bound, Option<u64>, u64, u64); 4] {
        let Limits { running, cpu_milli, memory, gpu_milli, .. } = self.limits;
        [
            (Bound::Running, running, self.running, 1),
            (Bound::Cpu, cpu_milli, self.held.cpu_milli, each.cpu_milli),
            (Bound::Memory, memory, self.held.memory, each.memory),
            (Bound::Gpu, gpu_milli, self.held.gpu_milli, each.gpu_milli),
        ]
    }

    fn reached(&self, bound: Bound, most: u64, used: u64) -> LimitReached {
        LimitReached { scope: self.scope.clone(), bound, most, used }
    }
}

/// What `count` tasks of the group count for: of each resource, the most that any of the
/// requests that would serve them asks for.
fn demand(key: &GroupKey, count: u32) -> Held {
    let gpu = |devices: &wrun_protocol::scheduling::Devices| {
        devices.gpu.as_ref().map_or(0, |gpu| gpu.milli)
    };
    let mut most = Held::of(&key.wanted, 0, count);
    if let Some(wishes) = key.wishes.as_deref() {
        most.gpu_milli = u64::from(gpu(&wishes.devices)) * u64::from(count);
        for request in &wishes.alternatives {
            let other = Held::of(&request.resources, gpu(&request.devices), count);
            most = most.max(&other);
        }
    }
    most
}

impl Groups {
    /// Notes what binds the group.
    fn bind(&mut self, rules: &Rules, tenants: &Tenants, group: GroupIx) {
        let Some(entry) = self.get(group) else { return };
        let Some(tenant) = tenants.get(entry.key.tenant) else { return };
        let key = entry.key.clone();
        let quotas = self.quotas.binding(rules, &tenant.name, &key);
        if let Some(entry) = self.get_mut(group) {
            entry.quotas = quotas.into();
        }
    }

    /// How many tasks of the group may be placed more by all quotas.
    pub(crate) fn may_place(&self, group: GroupIx) -> Result<u32, (QuotaIx, LimitReached)> {
        match self.get(group) {
            Some(entry) if !entry.quotas.is_empty() => {
                self.quotas.may_place(&entry.quotas, &entry.key)
            }
            _ => Ok(u32::MAX),
        }
    }

    /// `count` tasks of the group were placed.
    pub(crate) fn count_placed(&mut self, group: GroupIx, count: u32) {
        let slot = self.table.get(group as usize).and_then(Option::as_deref);
        if let Some(entry) = slot.filter(|entry| !entry.quotas.is_empty()) {
            self.quotas.count_placed(&entry.quotas, &entry.key, count);
        }
    }

    /// `count` tasks of the group left their nodes.
    pub(crate) fn count_vacated(&mut self, group: GroupIx, count: u32) {
        let slot = self.table.get(group as usize).and_then(Option::as_deref);
        if let Some(entry) = slot.filter(|entry| !entry.quotas.is_empty()) {
            self.quotas.count_vacated(&entry.quotas, &entry.key, count);
        }
    }

    fn count_live(&mut self, group: GroupIx, more: u64, fewer: u64) {
        let slot = self.table.get(group as usize).and_then(Option::as_deref);
        if let Some(entry) = slot.filter(|entry| !entry.quotas.is_empty()) {
            self.quotas.count_live(&entry.quotas, more, fewer);
        }
    }

    /// Takes the group out of the queue until the quota shrinks.
    pub(crate) fn park(&mut self, group: GroupIx, quota: QuotaIx) {
        self.unpark(group);
        let Some(entry) = self.get_mut(group) else { return };
        let rank = entry.standing().map_or(Rank::MIN, |at| at.rank.0);
        entry.parked = Some((quota, rank));
        self.quotas.park(quota, rank, group);
        self.mark(group);
    }

    /// Lets the group back into the queue.
    pub(crate) fn unpark(&mut self, group: GroupIx) {
        let Some(entry) = self.get_mut(group) else { return };
        if let Some((quota, rank)) = entry.parked.take() {
            self.quotas.unpark(quota, rank, group);
            self.refilled.insert(group);
            self.mark(group);
        }
    }
}

impl State {
    /// The group of a job, with what binds it.
    pub(super) fn enter_group(&mut self, key: GroupKey) -> GroupIx {
        let known = self.groups.find(&key).is_some();
        let group = self.groups.enter(key);
        if self.groups.labels.grown {
            self.class_nodes();
        }
        if !known && self.rules.has_limits() {
            self.groups.bind(&self.rules, &self.tenants, group);
        }
        group
    }

    /// Tasks of the group that have not ended came, or ended.
    pub(super) fn count_live(&mut self, group: GroupIx, more: u64, fewer: u64) {
        self.groups.count_live(group, more, fewer);
        let tenant = self.groups.get(group).map(|group| group.key.tenant);
        if let Some(tenant) = tenant.and_then(|tenant| self.tenants.get_mut(tenant)) {
            tenant.live_tasks = (tenant.live_tasks + more).saturating_sub(fewer);
        }
    }

    /// What would bind a job that is not there yet.
    pub(crate) fn binding(&mut self, tenant: &TenantName, key: &GroupKey) -> Vec<QuotaIx> {
        self.groups.quotas.binding(&self.rules, tenant, key)
    }

    /// Counts all anew by the policy in force.
    pub(super) fn recount_quotas(&mut self) {
        let groups: Vec<GroupIx> = self.groups.in_order().collect();
        groups.iter().for_each(|group| self.groups.unpark(*group));
        self.groups.quotas = Quotas::default();
        for group in &groups {
            if let Some(entry) = self.groups.get_mut(*group) {
                entry.quotas = Box::default();
            }
        }
        if !self.rules.has_limits() {
            return;
        }
        groups.iter().for_each(|group| self.groups.bind(&self.rules, &self.tenants, *group));
        for (_, job) in self.jobs.iter() {
            self.groups.count_live(job.group, job.live_tasks().into(), 0);
            self.groups.count_placed(job.group, job.counts().running);
        }
    }
}
