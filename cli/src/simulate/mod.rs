//! `wrun simulate`: the production core on a trace, in virtual time.
pub(crate) mod cluster;
pub(crate) mod driver;
pub(crate) mod measure;
pub(crate) mod node;
pub(crate) mod random;
pub(crate) mod series;
pub(crate) mod trace;
