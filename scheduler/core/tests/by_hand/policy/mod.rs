//! Policy, worked out by hand: the order of the queue, shares, limits and changes of
//! jobs.

mod beyond;
mod changes;
mod limits;
mod orders;
mod shares;
