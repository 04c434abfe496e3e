//! The peers' nearest thing to an empty task, from their own registry, in the same run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use harness::artefacts::checkout;

use crate::report::{Report, Section};

/// Versions that the programs in `benches/peers` were written against.
const PACKAGES: [&str; 3] = ["hyperqueue==0.27.0", "ray==2.60.0", "distributed==2026.8.0"];

/// Program, tasks: as many as take a few seconds each.
const PROGRAMS: [(&str, u32); 3] =
    [("ray_tasks.py", 10_000), ("dask_tasks.py", 5_000), ("hyperqueue_tasks.py", 5_000)];

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let python = environment()?;
    let mut section = Section::new("Peers: an empty task on two workers");
    for (program, tasks) in PROGRAMS {
        let figures = run(&python, program, tasks)?;
        let figure = |name: &str| figures.get(name).cloned().unwrap_or_default();
        let number = |name: &str| figure(name).as_f64().unwrap_or(f64::NAN);
        let text = |name: &str| figure(name).as_str().unwrap_or("unknown").to_owned();
        let name = format!("{} {}", text("peer"), text("version"));
        section.row(
            format!("{name}, {tasks} tasks"),
            format!("{:.0} a second", f64::from(tasks) / number("seconds")),
        );
        let latency = format!(
            "{:.2} ms median, {:.2} ms 99th percentile",
            number("latency_median_ms"),
            number("latency_p99_ms")
        );
        section.row(format!("{name}, one task"), latency);
    }
    section.note(
        "What is alike: nothing is computed, two CPUs, one machine, submitted from outside. What is \
         not: Ray and Dask call a Python function in a process that lives on, in memory and without \
         a sandbox or a journal; HyperQueue starts the process `/bin/true` for each task, and its \
         client asks for the end of a job once a second, which is its latency here. wrun makes a \
         fresh sandbox for each task, and its submits and results are durable.",
    );
    report.add(section);
    Ok(())
}

/// A virtual environment with the peers, made once.
fn environment() -> Result<PathBuf> {
    let folder = checkout("target/peers");
    let python = folder.join("bin/python");
    if !python.exists() {
        done(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    }
    done(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(PACKAGES))?;
    Ok(python)
}

fn run(python: &Path, program: &str, tasks: u32) -> Result<serde_json::Value> {
    let script = checkout("benches/peers").join(program);
    // Peers leave files where they are started.
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(python);
    command.arg(script).arg(tasks.to_string()).current_dir(&folder);
    let output = command.output()?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let line = stdout.lines().rev().find(|line| line.starts_with('{'));
    let line = line.with_context(|| {
        format!("{program} printed no figures: {}", String::from_utf8_lossy(&output.stderr))
    })?;
    Ok(serde_json::from_str(line)?)
}

fn done(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}
