//! What starts at once, a task or a gang: whether it ever could, were nothing else there.
//! What never could is refused; where it became so later, it waits and says why.

use wrun_protocol::scheduling::Arrangement;
use wrun_protocol::wire::user::{ErrorCode, RequestError};

use crate::core::Core;
use crate::reason::PendingReason;
use crate::state::groups::GroupKey;
use crate::state::need::Need;
use crate::state::nodes::Node;
use crate::state::quotas::QuotaIx;

impl Core {
    /// Refuses a gang that all known nodes together could not hold if they were empty, or
    /// for which a pool is too small.
    pub(crate) fn check_gang(&self, key: &GroupKey) -> Result<(), RequestError> {
        // One task alone has been checked.
        if key.gang() < 2 || !self.state.nodes.iter().any(|(_, node)| node.info.is_some()) {
            return Ok(());
        }
        let places = self.places_at_once(key, |node| node.info.is_some());
        if places >= u64::from(key.gang()) {
            return Ok(());
        }
        Err(RequestError::new(
            ErrorCode::Unsatisfiable,
            format!(
                "a gang of {} tasks, each of {}: all nodes that may run it, and the pools, hold {places} at once; ask for fewer or less, or add nodes",
                key.gang(),
                key.wanted
            ),
        ))
    }

    /// Why what starts at once could not though nothing else were there: by the quotas that
    /// bind it, or by the nodes that are ready now.
    pub(crate) fn beyond_all(&self, key: &GroupKey, quotas: &[QuotaIx]) -> Option<PendingReason> {
        let gang = key.gang();
        if let Some((limit, takes)) = self.state.groups.quotas.beyond(quotas, key) {
            return Some(PendingReason::BeyondLimit { limit, takes, gang });
        }
        if gang < 2 {
            return None;
        }
        // Where no node is ready at all, that is the reason.
        let ready = |node: &Node| node.takes_tasks() && node.suits(key);
        let places = self.places_at_once(key, ready);
        (1..u64::from(gang))
            .contains(&places)
            .then_some(PendingReason::GangBeyondNodes { gang, places })
    }

    /// How many tasks of a gang the nodes would hold at once if they were empty; not counted
    /// further once there is enough for it. All of its tasks are served by the same request:
    /// by the one that serves most.
    fn places_at_once(&self, key: &GroupKey, counts: impl Fn(&Node) -> bool) -> u64 {
        let counts = |node: &Node| counts(node) && node.admits(key);
        key.needs().map(|need| self.places_for(key, &need, counts)).max().unwrap_or_default()
    }

    fn places_for(&self, key: &GroupKey, need: &Need<'_>, counts: impl Fn(&Node) -> bool) -> u64 {
        let nodes = self.state.nodes.iter().filter(|(_, node)| counts(node));
        let rooms = nodes.map(|(_, node)| {
            let room = node.capacity().times(need.resources);
            u64::from(need.devices.map_or(room, |devices| node.stock.empty_room(devices, room)))
        });
        let mut on_nodes = 0_u64;
        for room in rooms {
            on_nodes = match key.arrangement() {
                Arrangement::SameNode => on_nodes.max(room),
                Arrangement::DifferentNodes => on_nodes + room.min(1),
                Arrangement::Spread | Arrangement::Pack => on_nodes.saturating_add(room),
            };
            if on_nodes >= key.gang().into() {
                break;
            }
        }
        let sizes = &self.state.rules.policy.pools;
        let pools = need.devices.iter().flat_map(|devices| &devices.pools);
        let in_pools = pools.map(|(name, slots)| {
            let size = sizes.get(name).copied().unwrap_or_default();
            u64::from(size.checked_div(*slots).unwrap_or(u32::MAX))
        });
        in_pools.fold(on_nodes, u64::min)
    }
}
