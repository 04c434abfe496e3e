//! Services of a cluster, by the same commands that a person types.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::{Cluster, Settings, artefacts};
use serde_json::Value;

/// A cluster of so many workers, each with a gateway.
pub(super) fn cluster(workers: usize) -> Cluster {
    cluster_of(workers, String::new())
}

/// The same with a file of settings for each.
pub(crate) fn cluster_of(workers: usize, worker_file: String) -> Cluster {
    Cluster::with(Settings { worker_file, ..settings(workers) })
}

/// The same of one worker with so many places.
pub(super) fn roomy(slots: u32) -> Cluster {
    Cluster::with(Settings { slots: slots.to_string(), ..settings(1) })
}

fn settings(workers: usize) -> Settings {
    // Declared, not used: a replica's memory is reserved.
    Settings { workers, memory: "16GiB".to_owned(), ..Settings::default() }
}

/// Deploys `guest` as `name` at `route`; `rest` is more of the service file. Returns when
/// it answers.
pub(crate) fn deploy(
    cluster: &Cluster,
    guest: &str,
    name: &str,
    route: &str,
    rest: &str,
) -> Result<()> {
    let path = written(cluster, guest, name, route, rest)?;
    asked(cluster, &["deploy", &path]).map(drop)
}

/// Deploys what the service file says, and does not wait.
pub(super) fn deploy_detached(cluster: &Cluster, file: &str) -> Result<()> {
    asked(cluster, &["deploy", "--detach", file]).map(drop)
}

/// What is known of one.
pub(super) fn service(cluster: &Cluster, name: &str) -> Result<Value> {
    Ok(serde_json::from_str(&asked(cluster, &["service", name, "--json"])?)?)
}

/// Waits until it is as it should be.
pub(super) fn until(
    cluster: &Cluster,
    name: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let begun = Instant::now();
    loop {
        let service = service(cluster, name)?;
        if wanted(&service) {
            return Ok(service);
        }
        ensure!(begun.elapsed() < Duration::from_secs(60), "not in time: {service:#}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The path of a service file as [`deploy`] deploys it.
pub(super) fn written(
    cluster: &Cluster,
    guest: &str,
    name: &str,
    route: &str,
    rest: &str,
) -> Result<String> {
    let component = artefacts::guest(guest);
    let file =
        format!("component = {component:?}\nname = {name:?}\nhttp.routes = [{route:?}]\n{rest}\n");
    let path = cluster.folder().join(format!("{name}.toml"));
    std::fs::write(&path, file)?;
    path.to_str().map(str::to_owned).context("a path of text")
}

fn asked(cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    let output = cluster.wrun(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "wrun {}: {said}", arguments.join(" "));
    Ok(String::from_utf8(output.stdout)?)
}
