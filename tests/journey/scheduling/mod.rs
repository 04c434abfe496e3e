//! What decides when and where tasks run, as its users meet it.

mod array_parts;
mod dependencies;
mod policy;
