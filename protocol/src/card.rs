//! What a node says of its cards beyond what it offers: where it knows them from, and how busy they
//! are. Nothing is decided by it; it is shown.

use serde::{Deserialize, Serialize};

/// One card, in the place that it has in the node's [`crate::scheduling::Offer`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardState {
    /// The driver told of it. `false`: the node's operator declares it.
    pub found: bool,
    /// Bytes of its memory that are taken, by whatever runs on it. `None`: nobody can tell.
    pub memory_used: Option<u64>,
    /// For how much of the time something ran on it lately, in thousandths. `None`: nobody can
    /// tell.
    pub busy_milli: Option<u16>,
}
