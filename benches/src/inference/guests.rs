//! The guest `nn-loop` in a worker of its own process, by the commands that a person types.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use harness::{Cluster, Settings, artefacts};

use super::models::Case;

/// Guests that run at the same time, each with a part of a CPU that lets them all have one.
const CPU: &str = "0.015";

/// How long it takes for as many guests as a benchmark has to have loaded the model, in
/// milliseconds.
const START_MS: u128 = 8_000;

/// A cluster of one worker with so many CPUs, and as many threads for guests and as many for models.
/// Memory is declared, not used: that of sandboxes is reserved.
pub(super) fn cluster(cpus: usize) -> Cluster {
    cluster_of(cpus, String::new())
}

/// The same with a file of settings.
pub(super) fn cluster_of(cpus: usize, worker_file: String) -> Cluster {
    let (cpu, memory) = (cpus.to_string(), "16GiB".to_owned());
    Cluster::with(Settings { cpu, memory, worker_file, ..Settings::default() })
}

/// What a guest measured of each run, in nanoseconds, and what the first output adds up to.
pub(super) fn times(cluster: &Cluster, case: &Case, count: usize) -> Result<(f64, Vec<f64>)> {
    let guest = guest()?;
    let count = count.to_string();
    let mut command = vec!["run", "--memory", "64MiB", "--model", case.name, &guest, "--"];
    command.extend(["time", &count, case.name]);
    let arguments = case.arguments();
    command.extend(arguments.iter().map(String::as_str));
    let printed = cluster.stdout(&command);
    let mut lines = printed.lines().map(str::parse::<f64>);
    let sum = lines.next().context("the guest printed nothing")??;
    Ok((sum, lines.collect::<Result<_, _>>()?))
}

/// Runs a second of so many guests that run the model at the same time, as long as that.
pub(super) fn runs_per_second(
    cluster: &Cluster,
    case: &Case,
    guests: u32,
    time_ms: u32,
) -> Result<f64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let begin = now + START_MS;
    let span = [begin.to_string(), (begin + u128::from(time_ms)).to_string()];
    let job = submit(cluster, case, guests, &["until", &span[0], &span[1]])?;
    cluster.stdout(&["wait", &job]);
    let folder = format!("runs-{job}/");
    cluster.stdout(&["output", &job, "-o", &folder]);
    let mut runs = 0;
    for index in 0..guests {
        let path = cluster.folder().join(&folder).join(index.to_string());
        runs += std::fs::read_to_string(&path)?.trim().parse::<u64>()?;
    }
    Ok(runs as f64 / f64::from(time_ms) * 1e3)
}

/// Starts so many guests and gives the job's number.
pub(super) fn submit(cluster: &Cluster, case: &Case, guests: u32, what: &[&str]) -> Result<String> {
    let (guest, count) = (guest()?, guests.to_string());
    let mut command = vec!["submit", "--memory", "32MiB", "--cpu", CPU, "--count", &count];
    command.extend(["--model", case.name, &guest, "--"]);
    command.extend(what);
    let arguments = case.arguments();
    command.push(case.name);
    command.extend(arguments.iter().map(String::as_str));
    let printed = cluster.stdout(&command);
    let job = printed.trim().to_owned();
    ensure!(!job.is_empty(), "submit printed no number");
    Ok(job)
}

fn guest() -> Result<String> {
    let path = artefacts::guest("nn-loop");
    path.to_str().map(str::to_owned).context("a path of text")
}
