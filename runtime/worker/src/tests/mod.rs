//! The whole agent against a scripted server and scripted executions that runs when it says so.

mod data;
mod items;
mod preemption;
mod real;
mod reports;
mod scripts;
mod sessions;
mod slots;
mod tasks;
