//! Where a model is loaded: on the processor, or on a card of the node.

use std::fmt;

/// What has memory of its own, in which a model is once at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Device {
    /// The processor.
    Processor,
    /// Whichever card a library takes, on a node that lends its cards to nobody in particular:
    /// every guest may use it. Nobody knows its memory, so that what is on it counts as if it were
    /// on the processor.
    Unlisted,
    /// A card that the node lends to tasks, by its place among these. Only who was given it uses
    /// it.
    Card(u16),
}

/// A card that the node lends to tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// How CUDA is told that there is this one and no other: its number or its UUID, which may be
    /// that of a part of a card (`CUDA_VISIBLE_DEVICES` in NVIDIA's CUDA programming guide).
    pub visible: String,
    /// Its memory in bytes.
    pub memory: u64,
}

impl Device {
    /// As people are told of it; `provider` is what a back end calls it.
    pub(crate) fn describe(self, provider: &str) -> String {
        match self {
            Self::Processor | Self::Unlisted => provider.to_owned(),
            Self::Card(place) => format!("{provider}:{place}"),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Processor => f.write_str("the processor"),
            Self::Unlisted => f.write_str("a card"),
            Self::Card(place) => write!(f, "card {place}"),
        }
    }
}
