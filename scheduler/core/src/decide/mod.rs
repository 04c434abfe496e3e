//! The decisions. Each handler reads the state and yields facts and effects; the state
//! changes only as those facts are applied.

mod admin;
mod admission;
mod array;
mod at_once;
mod backfill;
mod backlog;
mod change;
mod depend;
pub(crate) mod dispatch;
mod gang;
mod gang_life;
mod gang_members;
mod give_up;
mod grant;
mod headroom;
mod holds;
pub(crate) mod lack;
mod limits;
mod make_room;
mod models;
pub(crate) mod near;
mod nodes;
mod notice;
pub(crate) mod outlook;
mod place;
mod policy;
pub(crate) mod preempt;
pub(crate) mod promise;
mod promise_with;
pub(crate) mod rank;
pub(crate) mod recall;
pub(crate) mod remembered;
mod reports;
mod reservation;
mod schedule;
pub(crate) mod service;
mod submit;
mod thaw;
mod victims;
pub(crate) mod workflow;

/// Most entries in one fact or message, so that each fits a frame and a journal batch.
pub(crate) const MAX_BATCH: usize = 8192;
