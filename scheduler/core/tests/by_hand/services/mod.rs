//! Services: replicas come up, fail, are drained and moved, and one revision takes the
//! place of another.

mod deploy;
mod life;
mod loads;
mod nodes;
mod recovery;
mod rollouts;
mod scale;
pub(crate) mod stage;
