//! Requests to replicas on other nodes: both ends of the streams of
//! [`wrun_protocol::wire::forward`]. Who may call what, which replica it is and what becomes
//! of a request that failed is decided elsewhere; here bytes are carried.

mod call;
mod head;
mod pieces;
mod serve;
#[cfg(test)]
mod tests;

pub use call::call;
pub use serve::serve;
