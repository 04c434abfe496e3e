//! The whole core against simulated workers, lost messages, killed workers and a killed
//! server, over many seeds. `WRUN_SEED=n` repeats one seed, `WRUN_SEEDS=n` tries so many.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test: it may stop at what it did not expect, and read clocks and files"
)]

mod ledger;
mod model;
mod policies;
mod random;
mod worker;
mod world;

use world::World;

fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..150 {
        world.step(true);
    }
    world.heal();
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a whole number"))
}

#[test]
fn nothing_is_lost_and_nothing_ends_twice_whatever_breaks() {
    if let Some(seed) = from_environment("WRUN_SEED") {
        return run(seed);
    }
    let seeds = from_environment("WRUN_SEEDS").unwrap_or(2000);
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || (thread..seeds).step_by(threads as usize).for_each(try_seed));
        }
    });
}

fn try_seed(seed: u64) {
    if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
        eprintln!("seed {seed} fails; to repeat it:");
        eprintln!("WRUN_SEED={seed} cargo test -p wrun-core --test simulation");
        std::panic::resume_unwind(panic);
    }
}
