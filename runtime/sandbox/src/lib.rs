//! wasmtime, narrowed in one place: engines, compiled code, host interfaces, limits,
//! metering, and the queue that decides which guest runs next.
//!
//! This crate knows nothing of the network protocol between node and server, stores
//! nothing but compiled code, and never retries: one call to [`Sandbox::start`] is one
//! execution, and [`TaskEvents::ended`] is called for it exactly once.

mod account;
mod bindings;
mod bodies;
mod cache;
mod cards;
mod clock;
mod compiled;
mod config;
mod context;
mod control;
mod deterministic;
mod engines;
mod environment;
mod error;
mod exchange;
mod facts;
mod fair;
mod files;
mod files3;
mod frame;
mod gang;
mod guests;
mod hops;
mod http;
mod link;
mod model_meter;
mod names;
mod network;
mod nn;
mod outcome;
mod permits;
mod replica;
mod run;
mod sandbox;
mod scratch;
mod seal;
mod seat;
mod services;
mod state;
mod stdio;
mod store;
mod task;
mod ticker;

pub use cards::LentCards;
pub use config::SandboxConfig;
pub use engines::plain_engine;
pub use error::{PrepareError, SandboxError, StartError};
pub use gang::{Charge, GangError, GangSeat, GangWait, Received, TaskMemory};
pub use model_meter::ModelMeter;
pub use replica::{CallError, Replica, ReplicaEvents, ReplicaStart, ReplicaUsage};
pub use sandbox::{Prepared, Sandbox, TaskHandle};
pub use services::{Body, BodyError, ServiceAnswer, ServiceCallError, ServiceCaller};
pub use task::{
    CheckpointDone, GrantedModel, JobContext, NextTask, TaskEnd, TaskEvents, TaskInput, TaskStart,
};
