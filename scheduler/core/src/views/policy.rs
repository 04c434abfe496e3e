//! What can be seen of the policy at work: shares, and how a priority comes about.

use wrun_protocol::JobId;
use wrun_protocol::policy::Policy;
use wrun_protocol::wire::policy::{PriorityDetail, PriorityFactor, ShareRow};

use crate::core::Core;
use crate::decide::rank::MILLIONTHS;

impl Core {
    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        &self.state.rules.policy
    }

    /// The tree of tenants, parents before children. Costs one step for each tenant.
    pub fn shares(&self) -> Vec<ShareRow> {
        let tree = self.state.share_tree(self.now);
        let all = tree.charge();
        let rows = tree.tenants().into_iter().filter_map(|branch| {
            let part = branch.used.charge().saturating_mul(MILLIONTHS.into()).checked_div(all);
            Some(ShareRow {
                tenant: branch.name.clone()?,
                depth: branch.depth,
                shares: branch.shares,
                share: (branch.share * MILLIONTHS as f64).round() as u32,
                usage: branch.used.thousandths(),
                usage_part: part.and_then(|part| u32::try_from(part).ok()).unwrap_or(0),
                factor: branch.factor,
                cpu_milli_ms: branch.used.cpu_milli_ms,
                memory_byte_ms: branch.used.memory_byte_ms,
                gpu_milli_ms: branch.used.gpu_milli_ms,
            })
        });
        rows.collect()
    }

    /// How a live job's priority comes about, as of the last time the queue was ranked.
    /// Where the policy orders by something else than the sum of factors, the total is the
    /// rank in that order, and the factors are what they would count.
    pub fn priority(&self, id: JobId) -> Option<PriorityDetail> {
        let (state, ranking) = (&self.state, &self.ranking);
        let job = state.jobs.get(id)?;
        let group = state.groups.get(job.group)?;
        let (rules, key) = (&state.rules, &group.key);
        let weights = rules.policy.weights;
        let waited = ranking.at.since(job.submitted);
        let points = ranking.points(rules, key, wrun_protocol::time::millis(waited));
        // A factor is what its points are of its weight.
        let of_weight = |name: &str, weight: u32, points: i64| {
            let factor = points.saturating_mul(MILLIONTHS as i64).checked_div(weight.into());
            PriorityFactor { name: name.to_owned(), factor: factor.unwrap_or(0), weight, points }
        };
        let by_user = |name: &str, weight: u32, factor: i64, points: i64| PriorityFactor {
            name: name.to_owned(),
            factor,
            weight,
            points,
        };
        Some(PriorityDetail {
            total: ranking.rank(rules, &state.groups.lengths, group, job.submitted),
            factors: vec![
                of_weight("age", weights.age, points.age),
                of_weight("fair-share", weights.fair_share, points.fair_share),
                of_weight("size", weights.size, points.size),
                of_weight("qos", weights.qos, points.qos),
                of_weight("partition", weights.partition, points.partition),
                by_user("user", weights.user, key.priority.into(), points.user),
                by_user("nice", 1, points.nice, -points.nice),
            ],
        })
    }
}
