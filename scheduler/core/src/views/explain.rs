//! Why a job waits, where it stands, and what would change that.

use std::collections::BTreeMap;

use wrun_protocol::JobId;
use wrun_protocol::wire::policy::{Explanation, QueueRow, ReasonRow};

use crate::core::Core;
use crate::reason::{Amount, PendingReason};
use crate::state::groups::{Group, GroupIx, Rank};
use crate::state::jobs::Job;
use crate::state::length::Length;
use crate::state::nodes::Node;

/// Labels and amounts that are told apart among nodes that do not serve.
const MAX_REASONS: usize = 64;

impl Core {
    /// Why a live job waits and what would let it start sooner. Costs one step for each
    /// node and for each job that stands before it.
    pub fn explain(&self, id: JobId) -> Option<Explanation> {
        let job = self.state.jobs.get(id)?;
        let reasons = self.pending_reasons(id);
        let rows = reasons.iter().map(|reason| ReasonRow {
            code: reason.code().to_owned(),
            text: reason.to_string(),
            nodes: reason.nodes(),
        });
        Some(Explanation {
            job: id,
            waiting: job.counts().pending,
            position: self.position(id, job),
            reasons: rows.collect(),
            expected: None,
            advice: self.advice(id, job, &reasons),
        })
    }

    /// The jobs that can be placed, first to be considered first, then those that wait for
    /// a quota; jobs of equal rank by age, though their tenants take turns.
    pub fn queue(&self, limit: usize) -> Vec<QueueRow> {
        let mut found: Vec<(Rank, JobId, GroupIx)> = Vec::new();
        let groups = &self.state.groups;
        for (standing, group) in groups.in_queue() {
            // Heads come by rank: nothing that follows can stand before what is found.
            found.sort_unstable_by_key(|(rank, job, _)| (std::cmp::Reverse(*rank), *job));
            if found.get(limit.saturating_sub(1)).is_some_and(|(r, ..)| *r > standing.rank.0) {
                break;
            }
            let Some(entry) = groups.get(group) else { continue };
            let jobs = entry.ready.iter().take(limit);
            found.extend(jobs.map(|job| (self.rank_of(entry, *job), *job, group)));
        }
        found.sort_unstable_by_key(|(rank, job, _)| (std::cmp::Reverse(*rank), *job));
        if found.len() < limit {
            let parked = groups.in_order().filter_map(|group| Some((group, groups.get(group)?)));
            let parked = parked.filter(|(_, entry)| entry.parked.is_some());
            let jobs = parked.flat_map(|(group, entry)| {
                entry.ready.iter().map(move |job| (self.rank_of(entry, *job), *job, group))
            });
            found.extend(jobs.take(limit));
        }
        found.truncate(limit);
        let mut reasons: BTreeMap<GroupIx, String> = BTreeMap::new();
        found
            .iter()
            .filter_map(|(_, job, group)| self.queue_row(*job, *group, &mut reasons))
            .collect()
    }

    fn queue_row(
        &self,
        id: JobId,
        group: GroupIx,
        reasons: &mut BTreeMap<GroupIx, String>,
    ) -> Option<QueueRow> {
        let job = self.state.jobs.get(id)?;
        let entry = self.state.groups.get(group)?;
        let reason = reasons.entry(group).or_insert_with(|| {
            self.pending_reason(id).map(|reason| reason.to_string()).unwrap_or_default()
        });
        let wishes = entry.key.wishes.as_deref();
        Some(QueueRow {
            job: id,
            name: job.spec.encoded().decode().map(|spec| spec.name).unwrap_or_default(),
            tenant: self.state.tenants.get(entry.key.tenant)?.name.clone(),
            partition: wishes.and_then(|wishes| wishes.partition.clone()),
            qos: wishes.and_then(|wishes| wishes.qos.clone()),
            waiting: job.counts().pending,
            priority: self.rank_of(entry, id),
            reason: reason.clone(),
            expected: None,
        })
    }

    pub(crate) fn rank_of(&self, group: &Group, job: JobId) -> Rank {
        let submitted = self.state.jobs.get(job).map(|job| job.submitted).unwrap_or_default();
        self.ranking.rank(&self.state.rules, &self.state.groups.lengths, group, submitted)
    }

    /// The job's place in the queue, from 1; `None` where it is not in it.
    fn position(&self, id: JobId, job: &Job) -> Option<u64> {
        let group = self.state.groups.get(job.group)?;
        group.standing().filter(|_| group.ready.contains(&id))?;
        let own = self.rank_of(group, id);
        let mut before = 0;
        for (standing, ix) in self.state.groups.in_queue() {
            if standing.rank.0 < own {
                break;
            }
            let Some(entry) = self.state.groups.get(ix) else { continue };
            let is_before = |other: &&JobId| {
                let rank = self.rank_of(entry, **other);
                rank > own || (rank == own && **other < id)
            };
            before += match entry.ready.last().filter(is_before) {
                Some(_) => entry.ready.len(),
                None => entry.ready.iter().take_while(is_before).count(),
            };
        }
        Some(before as u64 + 1)
    }

    /// The job that stands first in the queue, where that is another.
    fn first_in_queue(&self, id: JobId) -> Option<JobId> {
        let (standing, _) = self.state.groups.in_queue().next()?;
        Some(standing.head).filter(|head| *head != id)
    }

    /// Every reason why tasks of the job wait, the one that holds it first.
    pub fn pending_reasons(&self, id: JobId) -> Vec<PendingReason> {
        let Some(first) = self.pending_reason(id) else { return Vec::new() };
        let mut reasons = vec![first];
        let Some(job) = self.state.jobs.get(id) else { return reasons };
        let Some(group) = self.state.groups.get(job.group) else { return reasons };
        if job.ready_tasks() > 0
            && group.parked.is_none()
            && let Some(job) = self.first_in_queue(id)
        {
            reasons.push(PendingReason::Behind { job });
        }
        let mut found: BTreeMap<PendingReason, u32> = BTreeMap::new();
        for (_, node) in self.state.nodes.iter() {
            let Some(reason) = why_not(node, group) else { continue };
            if found.len() < MAX_REASONS || found.contains_key(&reason) {
                *found.entry(reason).or_default() += 1;
            }
        }
        let mut found: Vec<_> = found.into_iter().collect();
        found.sort_by_key(|(_, nodes)| std::cmp::Reverse(*nodes));
        reasons.extend(found.into_iter().map(|(reason, nodes)| reason.on(nodes)));
        reasons.dedup();
        reasons
    }

    fn advice(&self, id: JobId, job: &Job, reasons: &[PendingReason]) -> Vec<String> {
        let mut advice = Vec::new();
        for reason in reasons {
            advice.extend(match reason {
                PendingReason::Held => Some(format!("release it: `wrun release {id}`")),
                PendingReason::Limit(limit) => Some(format!(
                    "it goes on when others end that count for {}; an administrator can raise the limit",
                    limit.scope
                )),
                PendingReason::NoNodes => Some("add a node: `wrun token create`".to_owned()),
                PendingReason::NoNodeFits { .. } => {
                    Some("ask for less, or add a node that is larger or labelled so".to_owned())
                }
                PendingReason::Deadline { .. } => Some(
                    "give it a later deadline, or a shorter time limit: `wrun update`".to_owned(),
                ),
                _ => None,
            });
        }
        let group = self.state.groups.get(job.group);
        let endless = group.is_some_and(|group| matches!(group.key.length, Length::Like(_)));
        let full = reasons.iter().any(|r| matches!(r, PendingReason::WaitsForCapacity { .. }));
        if full && endless {
            advice.push(
                "give it a time limit: what is known to end in time can go before others that wait"
                    .to_owned(),
            );
        }
        advice
    }
}

/// Why a node does not take a task of the group now; `None` where it would.
fn why_not(node: &Node, group: &Group) -> Option<PendingReason> {
    let info = node.info.as_ref()?;
    let (key, nodes) = (&group.key, 0);
    let partition = key.wishes.as_deref().and_then(|wishes| wishes.partition.clone());
    if !partition.as_ref().map_or(node.by_default, |name| node.partitions.contains(name)) {
        return Some(PendingReason::OutsidePartition { partition, nodes });
    }
    let missing = key.labels.iter().find(|(label, value)| info.labels.get(*label) != Some(value));
    if let Some((label, value)) = missing {
        return Some(PendingReason::LacksLabel {
            label: label.clone(),
            value: value.clone(),
            nodes,
        });
    }
    if let Some(amount) = Amount::lacking(&info.capacity, &key.wanted) {
        return Some(PendingReason::TooSmall { amount, nodes });
    }
    if !node.suits(key) {
        return Some(PendingReason::NotSuited { nodes });
    }
    if !node.takes_tasks() {
        return Some(PendingReason::NotReady { nodes });
    }
    if let Some(amount) = Amount::lacking(&node.free(), &key.wanted) {
        return Some(PendingReason::Full { amount, nodes });
    }
    (node.room_for(key) == 0).then_some(PendingReason::OthersFirst { nodes })
}
