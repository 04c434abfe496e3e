//! GPU packing: pods that ask for parts of cards arrive until they ask for more than there
//! is, and what is allocated then counts.

use std::path::Path;

use anyhow::{Context, Result};

use super::wrun_simulate;
use crate::report::{Report, Section};

/// What others reach on the same trace (FGD, USENIX ATC '23, table of `default`), in percent.
const OTHERS: [(&str, f64); 6] = [
    ("random fit", 87.5),
    ("dot-product", 90.9),
    ("GPU clustering", 91.9),
    ("GPU packing", 92.0),
    ("best fit", 93.1),
    ("FGD", 95.4),
];

pub(super) fn measure(report: &mut Report, folder: &Path) -> Result<()> {
    let nodes = folder.join("openb_node_list_gpu_node.csv");
    let nodes = nodes.to_str().context("a path that is text")?;
    let pods = folder.join("openb_pod_list_default.csv");
    let flags = ["--cluster", nodes, "--fill", "1.3", "--seeds", "10"];
    let said = wrun_simulate(&pods, "", &flags)?;
    let mean = said.pointer("/mean/allocated/gpu").and_then(serde_json::Value::as_f64);
    let percent = 100.0 * mean.context("`wrun simulate` tells nothing of cards")?;
    let runs = said.pointer("/runs").and_then(serde_json::Value::as_array);
    let (mut least, mut most) = (f64::MAX, 0.0_f64);
    for run in runs.into_iter().flatten() {
        let gpu = run.pointer("/allocated/gpu").and_then(serde_json::Value::as_f64);
        let gpu = 100.0 * gpu.context("a run tells nothing of cards")?;
        (least, most) = (least.min(gpu), most.max(gpu));
    }
    let mut section = Section::new("GPU packing: the `openb` trace");
    section.bar(
        "cards allocated when 130 % are asked for, mean of ten seeds",
        format!("{percent:.2} %"),
        "95.4 %",
        percent >= 95.4,
    );
    section.row("least and most of the ten", format!("{least:.2} % and {most:.2} %"));
    for (name, percent) in OTHERS {
        section.row(format!("{name}, as published"), format!("{percent} %"));
    }
    section.note(
        "1,213 nodes with 6,212 cards and 8,152 pods of Alibaba's cluster-trace-gpu-v2023, many \
         of which ask for a part of a card. Pods arrive in random order, drawn with replacement, \
         until they ask for 130 % of the cluster's cards; nothing departs. The published figures \
         are those of FGD (USENIX ATC '23) for the table `default`.",
    );
    section.note("One command: `WRUN_TRACES=FOLDER cargo xtask bench traces`.");
    report.add(section);
    Ok(())
}
