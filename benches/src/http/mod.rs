//! Services: what a request costs through gateway and replica, beside `wasmtime serve` with
//! the same component; what another node between costs, beside nginx; how long the first
//! request of a sleeping service takes; what an idle service holds of memory.

mod asleep;
mod forwarded;
mod idle;
mod load;
mod nginx;
mod serve;
mod service;
mod wasmtime;

use anyhow::Result;

use crate::report::Report;

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    serve::measure(report)?;
    forwarded::measure(report)?;
    asleep::measure(report)?;
    idle::measure(report)
}
