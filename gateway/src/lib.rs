//! Where HTTP enters the cluster, and from where services call one another: listeners,
//! routes, limits, balancing, and what goes with a request on its way to a replica.
//!
//! A gateway keeps what it was told of services and goes on with it when nobody tells it
//! more. It decides nothing about how many replicas there are, and runs none: an [`Upstream`]
//! carries a request to one.

mod body;
mod clock;
mod config;
mod entry;
mod error;
pub mod forward;
mod gateway;
mod listen;
mod proxy;
mod service;
mod table;
#[cfg(test)]
mod tests;
mod upstream;

pub use body::{Body, BodyError, empty, full};
pub use config::{AccessLog, AddressRange, GatewayConfig, ListenConfig, ParseRangeError, TlsFiles};
pub use error::{CallError, ListenError};
pub use gateway::Gateway;
pub use listen::Listening;
pub use upstream::{Target, Upstream, UpstreamError, UpstreamErrorKind, UpstreamFuture};
