//! Explanations and the list of the queue: how long a question keeps the core's one thread. The
//! program that measures is a benchmark of the core's own (`scheduler/core/benches/explaining.rs`).

use anyhow::Result;

use crate::core_bench::{core_bench, grouped};
use crate::report::{Report, Section};

/// Milliseconds at the median that the project has set itself, at so many nodes and jobs.
const BAR: f64 = 5.0;
const BAR_AT: [f64; 2] = [10_000.0, 1_000_000.0];

const HEADINGS: [&str; 6] = [
    "nodes",
    "jobs that wait",
    "explain, near the front, ms",
    "in the middle, ms",
    "the last, ms",
    "first page of `queue`, ms",
];

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let lines: Vec<[f64; 6]> = core_bench("explaining")?;
    let mut section = Section::new("Explanations");
    for [nodes, jobs, near, middle, last, queue] in &lines {
        if [*nodes, *jobs] != BAR_AT {
            continue;
        }
        let explain = near.max(*middle).max(*last);
        for (what, took) in
            [("`wrun explain`, the slowest place", explain), ("`wrun queue`", *queue)]
        {
            let what = format!("10,000 nodes, 1,000,000 jobs that wait: {what}");
            section.bar(&what, format!("{took:.2} ms"), "5 ms", took <= BAR);
        }
    }
    let cells = |[nodes, jobs, times @ ..]: &[f64; 6]| {
        let sizes = [nodes, jobs].map(|size| grouped(*size as u64)).into_iter();
        sizes.chain(times.iter().map(|ms| format!("{ms:.2}"))).collect()
    };
    section.table(&HEADINGS, lines.iter().map(cells).collect());
    section.note(
        "How long one question keeps the thread that schedules; each the median of 51. All nodes \
         are full, and every job that waits is of a group of its own, with a time limit that no \
         other has: the worst there is. An explanation plans what stands before the job, within a \
         bound. One command: `cargo xtask bench explain`.",
    );
    report.add(section);
    Ok(())
}
