//! Placement alone: the core with simulated nodes, one thread, no network and no journal.
//! The program that measures is a benchmark of the core's own
//! (`scheduler/core/benches/placement.rs`), so that who works on the core needs nothing else.

use anyhow::{Context, Result};

use crate::core_bench::{core_bench, grouped};
use crate::report::{Report, Section};

/// Decisions a second that the project has set itself, at so many nodes, shapes and jobs.
const BAR: f64 = 500_000.0;
const BAR_AT: [u64; 3] = [10_000, 1_000, 1_000_000];

const HEADINGS: [&str; 6] =
    ["nodes", "shapes", "jobs in the queue", "filling, /s", "full, /s", "full, one by one, /s"];

/// A line that the program prints.
struct Line {
    /// Nodes, shapes, and jobs in the queue.
    size: [u64; 3],
    /// Decisions a second.
    fill: f64,
    steady: f64,
    single: f64,
}

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let lines = lines()?;
    let mut section = Section::new("Placement alone");
    for line in lines.iter().filter(|line| line.size == BAR_AT) {
        for (how, rate) in [("filling", line.fill), ("full", line.steady)] {
            let what = format!("10,000 nodes, 1,000 shapes, 1,000,000 jobs in the queue: {how}");
            let figure = format!("{} /s", grouped(rate as u64));
            section.bar(&what, figure, "500,000 /s", rate >= BAR);
        }
    }
    let rates = |line: &Line| [line.fill, line.steady, line.single].map(|rate| rate as u64);
    let cells = |line: &Line| line.size.into_iter().chain(rates(line)).map(grouped).collect();
    section.table(&HEADINGS, lines.iter().map(cells).collect());
    section.note(growth(&lines)?);
    section.note(
        "A decision is one task of a job of its own, with its facts and its messages to the \
         worker. *Filling*: all jobs wait, then every node connects. *Full*: 256 tasks end in a \
         millisecond, each on another node, and others are placed; the time includes taking in \
         the ends, and as many jobs come as are placed, untimed. *One by one*: the same, but each \
         end is dealt with before the next comes. Nodes are of eight kinds, by size, memory and \
         architecture; shapes differ in CPU, memory and the architecture wanted. Time is that of \
         the one thread on a processor. kube-scheduler's maintainers publish 700 to 1,100 \
         placements a second, which go through its API server and etcd; these do \
         not leave the core. One command: `cargo xtask bench placement`.",
    );
    report.add(section);
    Ok(())
}

/// How the cost of a decision grows.
fn growth(lines: &[Line]) -> Result<String> {
    let at = |size: [u64; 3]| {
        let line = lines.iter().find(|line| line.size == size);
        line.map(|line| 1e6 / line.steady).with_context(|| format!("nothing about {size:?}"))
    };
    let [nodes, shapes, queue] = BAR_AT;
    let here = at(BAR_AT)?;
    let more = |size| at(size).map(|there| (here, there));
    let by_nodes = more([nodes / 10, shapes, queue])?;
    let by_shapes = more([nodes, 1, queue])?;
    let by_queue = more([nodes, shapes, queue / 100])?;
    let text = |(here, there): (f64, f64)| format!("{there:.1} µs there, {here:.1} µs here");
    Ok(format!(
        "What one decision costs on a full cluster: with a tenth of the nodes {}; with one shape \
         in place of a thousand {}; with a hundredth of the queue {}.",
        text(by_nodes),
        text(by_shapes),
        text(by_queue)
    ))
}

fn lines() -> Result<Vec<Line>> {
    let of = |[nodes, shapes, jobs, fill, steady, single]: [f64; 6]| Line {
        size: [nodes as u64, shapes as u64, jobs as u64],
        fill,
        steady,
        single,
    };
    Ok(core_bench("placement")?.into_iter().map(of).collect())
}
