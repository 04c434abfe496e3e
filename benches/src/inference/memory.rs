//! What a model takes of a worker's memory when many sandboxes use it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::Cluster;

use super::guests;
use super::models::{self, Case};
use crate::machine::resident;
use crate::report::{Report, Section};

const SANDBOXES: u32 = 100;

pub(super) fn measure(report: &mut Report) -> Result<()> {
    let mut section =
        Section::new(&format!("Inference: memory of {SANDBOXES} sandboxes with one model"));
    for case in [models::deep(), models::magika()?] {
        let cluster = guests::cluster(2);
        let worker = cluster.workers.first().context("the cluster has a worker")?.id();
        case.push(&cluster, &[])?;
        let before = resident(worker);
        let first = holding(&cluster, &case, 1)?;
        let one = resident(worker);
        let rest = holding(&cluster, &case, SANDBOXES - 1)?;
        let all = resident(worker);
        for job in [first, rest] {
            cluster.stdout(&["cancel", &job]);
        }
        let model = case.file.len() as f64;
        let what = case.what;
        let growth = |from: u64, to: u64| to as f64 - from as f64;
        section.row(format!("{what}: the model's file"), megabytes(model));
        section.row(
            format!("{what}: the worker grows with the first sandbox, by"),
            megabytes(growth(before, one)),
        );
        let more = growth(one, all);
        let copies = f64::from(SANDBOXES - 1) * model;
        let figure = format!(
            "{}, {:.0} kB each; as many copies of the model are {}",
            megabytes(more),
            more / f64::from(SANDBOXES - 1) / 1e3,
            megabytes(copies)
        );
        section.row(format!("{what}: it grows with {} more, by", SANDBOXES - 1), figure);
    }
    section.note(
        "Resident memory of the worker's process. Each sandbox has loaded the model, run it once \
         and keeps it. What tract makes of a file is larger than the file while it loads.",
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
