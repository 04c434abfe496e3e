//! What a model takes of a worker's memory when many sandboxes use it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::Cluster;

use super::guests;
use super::models::{self, Case};
use crate::machine::resident_with_children;
use crate::report::{Report, Section};

const SANDBOXES: u32 = 100;

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let mut section =
        Section::new(&format!("Inference: memory of {SANDBOXES} sandboxes with one model"));
    for case in [models::deep(), models::magika()?] {
        let cluster = guests::cluster(2);
        let worker = cluster.workers.first().context("the cluster has a worker")?.id();
        case.push(&cluster, &[])?;
        let before = resident_with_children(worker);
        let job = holding(&cluster, &case, SANDBOXES)?;
        let grown = resident_with_children(worker) as f64 - before as f64;
        cluster.stdout(&["cancel", &job]);
        let model = case.file.len() as f64;
        let what = case.what;
        section.row(format!("{what}: the model's file"), megabytes(model));
        section.row(
            format!("{what}: the worker grows with {SANDBOXES} sandboxes, by"),
            format!(
                "{}; as many copies of the file are {}",
                megabytes(grown),
                megabytes(f64::from(SANDBOXES) * model)
            ),
        );
    }
    section.note(
        "Resident memory of the worker and of the processes in which it runs models. Each sandbox \
         has loaded the model, run it once and keeps it. What tract makes of a file is larger than the file while it loads.",
    );
    report.add(section);
    Ok(())
}

/// Starts so many guests that keep the model; returns when they all have run it.
fn holding(cluster: &Cluster, case: &Case, guests: u32) -> Result<String> {
    let job = guests::submit(cluster, case, guests, &["hold"])?;
    let begun = Instant::now();
    loop {
        let holding = cluster.stdout(&["logs", &job]).matches("holding").count();
        if holding == guests as usize {
            return Ok(job);
        }
        ensure!(begun.elapsed() < Duration::from_secs(120), "{holding} of {guests} hold the model");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn megabytes(bytes: f64) -> String {
    format!("{:.1} MB", bytes / 1e6)
}
