//! The whole core against simulated workers, lost messages, killed workers and a killed
//! server, over many seeds. `WRUN_SEED=n` repeats one seed, `WRUN_SEEDS=n` tries so many.

mod model;
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
    for seed in 0..from_environment("WRUN_SEEDS").unwrap_or(1000) {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
            eprintln!("seed {seed} fails; to repeat it:");
            eprintln!("WRUN_SEED={seed} cargo test -p wrun-core --test simulation");
            std::panic::resume_unwind(panic);
        }
    }
}
