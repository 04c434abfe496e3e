//! Which gateways have told of a service's load, and of which time.
//!
//! What a gateway tells covers the time since it last told. Reports that were held up come
//! at once, and each says that it covers the last second; only the time of which its gateway
//! has not told yet counts, so that nothing looks like a spike that is none.

use std::collections::BTreeMap;

use wrun_protocol::{NodeId, Timestamp};

use super::window::Span;

/// Gateways whose last report is remembered. Of more, the one that has been silent the
/// longest is forgotten: its next report counts in full.
const MAX_GATEWAYS: usize = 256;

/// About how often a gateway tells while there is something to tell, in milliseconds.
pub(super) const REPORT_MS: u64 = 1000;

/// What a gateway said of the present is no longer so when it has been silent for this long,
/// in milliseconds: three of its reports are missing.
const SILENT_MS: u64 = 3 * REPORT_MS;

/// Reports never come to the millisecond: one that covers a little of what was told before
/// counts in full, up to one part in so many.
const TOLERANCE: u64 = 5;

#[derive(Clone, Copy, Debug)]
struct Gateway {
    told: Timestamp,
    /// Requests that waited then.
    waiting: u32,
}

/// The gateways of one service.
#[derive(Clone, Debug, Default)]
pub(super) struct Gateways {
    by_node: BTreeMap<NodeId, Gateway>,
}

/// What of a report counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    /// Of this time.
    pub(super) span: Span,
    /// Of so many milliseconds told.
    pub(super) of_ms: u64,
}

impl Gateways {
    /// Takes note of a report over so many milliseconds, after which so many requests wait, and
    /// says what of it counts; nothing from before `since`.
    pub(super) fn on_report(
        &mut self,
        now: Timestamp,
        node: NodeId,
        (over_ms, waiting): (u64, u32),
        since: Timestamp,
    ) -> Counted {
        let before = self.by_node.get(&node).map(|gateway| gateway.told.0);
        let begin = now.0.saturating_sub(over_ms).max(since.0).min(now.0);
        let overlap = before.map_or(0, |told| told.saturating_sub(begin));
        let tolerated = overlap <= over_ms / TOLERANCE;
        let begin = if tolerated { begin } else { (begin + overlap).min(now.0) };
        if before.is_none() && self.by_node.len() >= MAX_GATEWAYS {
            let silent = self.by_node.iter().min_by_key(|(_, gateway)| gateway.told);
            let silent = silent.map(|(node, _)| *node);
            silent.map(|node| self.by_node.remove(&node));
        }
        self.by_node.insert(node, Gateway { told: now, waiting });
        Counted { span: Span { begin, end: now.0 }, of_ms: over_ms }
    }

    /// Requests that wait, as far as is known.
    pub(super) fn waiting(&self, now: Timestamp) -> u64 {
        let heard = |gateway: &&Gateway| now.0 < gateway.told.0.saturating_add(SILENT_MS);
        self.by_node.values().filter(heard).map(|gateway| u64::from(gateway.waiting)).sum()
    }

    /// A gateway is gone, and with it what waited there.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.by_node.remove(&node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(gateways: &mut Gateways, now: u64, node: u64, over_ms: u64) -> (u64, u64) {
        let told = (over_ms, 1);
        let counted = gateways.on_report(Timestamp(now), NodeId(node), told, Timestamp(500));
        assert_eq!(counted.of_ms, over_ms);
        (counted.span.begin, counted.span.end)
    }

    #[test]
    fn only_time_of_which_a_gateway_has_not_told_yet_counts() {
        let mut gateways = Gateways::default();
        assert_eq!(report(&mut gateways, 1000, 1, 1000), (500, 1000));
        assert_eq!(report(&mut gateways, 1900, 1, 1000), (900, 1900));
        // Two that were held up: of the second nothing is new.
        assert_eq!(report(&mut gateways, 2500, 1, 1000), (1900, 2500));
        assert_eq!(report(&mut gateways, 2500, 1, 1000), (2500, 2500));
        // Another gateway tells of its own requests.
        assert_eq!(report(&mut gateways, 2500, 2, 1000), (1500, 2500));
    }

    #[test]
    fn what_waits_at_a_gateway_that_is_silent_or_gone_does_not_count() {
        let mut gateways = Gateways::default();
        for (node, now) in [(1, 1000), (2, 2000), (3, 3000)] {
            report(&mut gateways, now, node, 0);
        }
        assert_eq!(gateways.waiting(Timestamp(3999)), 3);
        assert_eq!(gateways.waiting(Timestamp(4000)), 2);
        gateways.forget(NodeId(3));
        assert_eq!(gateways.waiting(Timestamp(4000)), 1);
    }

    #[test]
    fn so_many_gateways_are_remembered_and_no_more() {
        let mut gateways = Gateways::default();
        (1..=1000).for_each(|at| _ = report(&mut gateways, at, at, 0));
        assert_eq!(gateways.by_node.len(), MAX_GATEWAYS);
        assert!(gateways.by_node.contains_key(&NodeId(1000)));
    }
}
