//! Messages between the tasks of a gang, from here to other nodes and between tasks here.
//!
//! The server says once who is where; from then on workers talk to each other and need no
//! server. A gang here is one value under one lock ([`state`]), the same for tasks on one
//! node and for tasks apart: between tasks here, what one side says is given to the other at
//! once; to another node it goes over a stream ([`link`], [`serve`]) on a connection that
//! only nodes of the cluster can make ([`crate::peers`]).
//!
//! A task that waits long for another has the server asked whether that has ended ([`questions`]).
//!
//! What is sent belongs to one attempt of the gang: a stream is opened for an attempt, and
//! refused where that is over. Once a node of the gang is lost, the gang is lost here: its
//! tasks are told, and their failure is reported as the loss of a node, so that the server
//! has the whole of it begin anew.

mod attempt;
mod flow;
mod inbox;
mod link;
mod members;
mod questions;
mod registry;
mod seat;
mod serve;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use registry::Gangs;
pub(crate) use serve::serve;
