//! What a user does, in the order in which a user comes to it, through the real binary:
//! every test starts a cluster, types commands, and reads what they print.

mod arrays;
mod asking;
mod attached;
mod desk;
mod development;
mod each;
mod examples;
mod handlers;
mod https;
mod inference;
mod job_file;
mod json;
mod models;
mod nodes;
mod project;
mod remembered;
mod retries;
mod scheduling;
mod schema;
mod services;
mod settings;
mod simulate;
mod workflows;

use std::time::{Duration, Instant};

use desk::Desk;
use harness::process::PATIENCE;

/// Waits until `wanted` finds something.
fn until<T>(what: &str, mut wanted: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = wanted() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: not in time");
        std::thread::sleep(Duration::from_millis(20));
    }
}
