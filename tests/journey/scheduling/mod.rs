//! What decides when and where tasks run, as its users meet it.

mod array_parts;
mod changes;
mod dependencies;
mod explain;
mod policy;
mod schedules;
