//! What a cluster with nothing to do costs.

use std::time::{Duration, Instant};

use anyhow::Result;
use harness::{Cluster, Settings};

use crate::machine::{cpu_seconds, resident};
use crate::report::{Report, Section};

const WINDOW: Duration = Duration::from_secs(60);

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let defaults =
        Settings { lease: "10s".to_owned(), heartbeat: "2s".to_owned(), ..Settings::default() };
    let cluster = Cluster::with(defaults);
    std::thread::sleep(Duration::from_secs(2));
    let processes = [cluster.server.id(), cluster.workers.first().map_or(0, |w| w.id())];
    let cpu = || processes.iter().map(|process| cpu_seconds(*process)).sum::<f64>();
    let (before, begun) = (cpu(), Instant::now());
    std::thread::sleep(WINDOW);
    let share = (cpu() - before) / begun.elapsed().as_secs_f64() * 100.0;
    let memory = processes.iter().map(|process| resident(*process)).sum::<u64>() as f64 / 1e6;
    let mut section = Section::new("Idle");
    section.bar(
        "server and worker, resident memory together",
        format!("{memory:.0} MB"),
        "60 MB",
        memory < 60.0,
    );
    section.bar(
        "server and worker, CPU over a minute",
        format!("{share:.2} % of a core"),
        "0.2 %",
        share < 0.2,
    );
    report.add(section);
    Ok(())
}
