//! The whole agent against a scripted server and scripted executions that runs when it says so.

mod data;
mod reports;
mod scripts;
mod sessions;
mod tasks;
