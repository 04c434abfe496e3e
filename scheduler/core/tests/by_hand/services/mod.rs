//! Services: replicas come up, fail, are drained and moved, and one revision takes the
//! place of another.

mod deploy;
mod life;
mod recovery;
mod scale;
mod stage;
