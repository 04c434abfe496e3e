//! Services: what a request costs through gateway and replica, beside `wasmtime serve` with
//! the same component; what another node between costs, beside nginx; how long the first
//! request of a sleeping service takes; how it meets a spike; what an idle service holds of memory.

pub(crate) mod asleep;
pub(crate) mod forwarded;
pub(crate) mod idle;
pub(crate) mod load;
mod nginx;
pub(crate) mod serve;
pub(crate) mod service;
pub(crate) mod spike;
mod wasmtime;
