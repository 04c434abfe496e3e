//! A whole server over a folder of its own, with users and scripted workers on in-memory
//! connections.

mod blobs;
mod cluster;
mod harness;
mod isolation;
mod logs;
mod restart;
mod submit;
mod tasks;
