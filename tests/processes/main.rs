//! Real servers and workers over QUIC on loopback: what holds when they die.

mod burst;
mod cards;
mod gangs;
mod inference;
mod kills;
mod models;
mod preemption;
mod published;
mod server_loss;
mod service_calls;
mod services;
mod worker_loss;
mod workflows;

use harness::{Client, Cluster, artefacts};
use wrun_protocol::{JobSpec, Resources};

/// A job of the guest `name`, small enough that many fit a node.
async fn small_job(client: &Client, name: &str) -> JobSpec {
    let component = std::fs::read(artefacts::guest(name)).unwrap();
    let mut spec = JobSpec::new(client.upload(&component).await);
    spec.resources = Resources { cpu_milli: 100, memory: 8 << 20, scratch: 1 << 20, slots: 1 };
    spec
}

/// A job of one task that sleeps for so long and prints when it wakes.
async fn sleeper(client: &Client, milliseconds: u64) -> JobSpec {
    let mut spec = small_job(client, "sleeper").await;
    spec.args = vec![milliseconds.to_string()];
    spec
}

/// Asks again and again until there is what is wanted.
fn found<T>(what: &str, mut wanted: impl FnMut() -> Option<T>) -> T {
    let begun = std::time::Instant::now();
    loop {
        if let Some(found) = wanted() {
            return found;
        }
        assert!(begun.elapsed() < harness::process::PATIENCE, "{what}: not in time");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// The first worker anew, with that file and environment.
fn restart(cluster: &mut Cluster, file: &str, environment: Vec<(String, String)>) {
    cluster.workers[0].terminate();
    assert!(cluster.workers[0].wait().success());
    cluster.set_worker(file, environment);
    cluster.restart_worker(0, "w1");
}

/// Polls until `condition` holds.
async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < harness::process::PATIENCE, "{what}: not in time");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
