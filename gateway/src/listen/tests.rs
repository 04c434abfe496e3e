//! Clients over real sockets: good ones, and hostile ones.

mod env;
mod hostile;
mod http2;
mod limits;
mod raw;
mod secure;
