//! `wrun simulate`: the production core on a trace, in virtual time.
//!
//! `trace` reads what was submitted to a cluster once; `scenario` chooses of it; `driver`
//! runs the core through it, with nodes (`node`) that do as they are told, and `cluster`
//! says what a trace means to the scheduler. `measure` and `series` tell what came of it,
//! `table` and `plot` write it down. Nothing here prints: the command does.

pub(crate) mod cluster;
pub(crate) mod driver;
pub(crate) mod measure;
pub(crate) mod node;
pub(crate) mod plot;
pub(crate) mod random;
pub(crate) mod scenario;
pub(crate) mod series;
pub(crate) mod table;
pub(crate) mod trace;
