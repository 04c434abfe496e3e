//! The whole agent against a scripted server and scripted executions that runs when it says so.

mod data;
mod items;
mod models;
mod preemption;
mod real;
mod replicas;
mod reports;
pub(crate) mod scripts;
mod services;
mod sessions;
mod slots;
mod tasks;
