//! Structure of work, worked out by hand: parts of arrays, jobs that wait for others,
//! gangs, and work that makes room for more urgent work.

mod arrays;
mod dependencies;
mod gangs;
mod preemption;
mod random_workflows;
mod remembered;
mod schedules;
mod thaw;
mod workflow_recovery;
pub(crate) mod workflows;
