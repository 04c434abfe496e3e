//! How answers look: as JSON for programs (`json`), as tables and pages for people.

pub(crate) mod explain;
pub(crate) mod graph;
pub(crate) mod human;
pub(crate) mod json;
pub(crate) mod model;
pub(crate) mod progress;
pub(crate) mod service;
pub(crate) mod simulation;
pub(crate) mod table;
