//! Resources set aside for a time.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::scheduling::{Request, is_name};
use crate::{TenantName, Timestamp};

/// Resources set aside for a window of time, for some tenants or (maintenance) nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Its name, by which jobs ask for it.
    pub name: String,
    /// Begin of the (first) window.
    pub start: Timestamp,
    /// End of the (first) window.
    pub end: Timestamp,
    /// The time from the begin of one window to that of the next; `None`: only one.
    pub every_ms: Option<u64>,
    /// What is set aside.
    pub what: Reserved,
    /// Whose jobs may run in it; empty: nobody's.
    pub tenants: BTreeSet<TenantName>,
}

/// What a reservation sets aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reserved {
    /// Every node.
    All,
    /// These nodes, by name, whole.
    Nodes(BTreeSet<String>),
    /// So many requests of a kind, on nodes that the core chooses when it is made.
    Amount {
        /// One of them.
        each: Request,
        /// How many.
        count: u32,
        /// On nodes of this partition; `None`: the default one.
        partition: Option<String>,
    },
}

/// Most reservations at a time.
pub const MAX_RESERVATIONS: usize = 1024;

impl Reservation {
    /// Checks it in itself. Says nothing of whether what it names exists or is free.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let ten_years = 10 * crate::limits::MAX_TIME_MS;
        let span = self.end.0.saturating_sub(self.start.0);
        if !is_name(&self.name) {
            return Err(("name", "use 1 to 128 bytes without control characters".to_owned()));
        }
        if span == 0 || span > ten_years {
            return Err(("end", "must lie after the start, at most ten years".to_owned()));
        }
        if self.every_ms.is_some_and(|every| every < span || every > ten_years) {
            return Err(("every", "must be at least as long as the window itself".to_owned()));
        }
        match &self.what {
            Reserved::Nodes(nodes) if nodes.is_empty() => {
                Err(("nodes", "name at least one node".to_owned()))
            }
            Reserved::Amount { count: 0, .. } => Err(("count", "use at least 1".to_owned())),
            _ => Ok(()),
        }
    }
}
