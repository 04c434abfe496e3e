//! How good the schedules are: `wrun simulate` on public traces, beside the figures that are
//! known of them. The traces are not shipped: the variable `WRUN_TRACES` names their folder.

mod packing;
mod settings;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use harness::artefacts;

use crate::report::{Report, Section};
use settings::Balanced;

/// Where the traces are.
const FOLDER: &str = "WRUN_TRACES";

/// First jobs of the ten sequences that the reference figures are means of.
const TEN: [usize; 10] = [1981, 2756, 4299, 8850, 3316, 2714, 5228, 7762, 4022, 7085];
/// Jobs of a sequence, and of the trace.
const SEQUENCE: usize = 1024;
const TRACE: usize = 10_000;

/// Means over sequences of what `wrun simulate` tells of each.
#[derive(Clone, Copy)]
struct Mean {
    slowdown: f64,
    wait_s: f64,
    longest_wait_s: f64,
    utilisation: f64,
}

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        let mut section = Section::new("Schedules of public traces");
        section.note(format!(
            "Not measured in this run: set {FOLDER} to a folder with `lublin-1.swf` (from the \
             repository of RLScheduler, SC20) and the two `openb` tables of Alibaba's \
             cluster-trace-gpu-v2023."
        ));
        report.add(section);
        return Ok(());
    };
    let trace = folder.join("lublin-1.swf");
    let twenty: Vec<usize> = (0..20).map(|number| number * (TRACE - SEQUENCE) / 20).collect();
    known(report, &trace)?;
    shipped(report, &trace, &twenty)?;
    frontier(report, &trace, &twenty)?;
    packing::measure(report, &folder)
}

/// Backfilling as others know it: shows that the core's is the same.
fn known(report: &mut Report, trace: &Path) -> Result<()> {
    let mut section = Section::new("Backfilling: the known schedules of `lublin-1`");
    for (setting, reference) in settings::known() {
        let mean = simulate(trace, &setting.policy, &TEN)?;
        let what = format!("{}, mean bounded slowdown", setting.name);
        let off = (mean.slowdown / reference - 1.0).abs();
        let bar = format!("{reference} within 1 %");
        section.bar(&what, format!("{:.1}", mean.slowdown), &bar, off <= 0.01);
    }
    section.note(
        "10,000 jobs of the Lublin–Feitelson model (JPDC 2003) on 256 processors at a load of \
         1.06, as published with RLScheduler (SC20). Ten sequences of 1,024 jobs, each on an \
         empty cluster; run times are the estimates; the mean over sequences. Bounded slowdown: `max(1, (wait + run) / \
         max(run, 10 s))`. The bars are reference figures of a separate textbook \
         implementation, where the queue is sorted again at every event. The paper's own table \
         commits to a blocked head: FCFS 235.8, WFP3 133.9, UNICEP 307.2, SJF 73.3, F1 75.1, \
         its learned policy 58.6.",
    );
    section.note(one_command());
    report.add(section);
    Ok(())
}

/// The policy that keeps both the slowdown and the longest wait low, beside the known ones.
fn shipped(report: &mut Report, trace: &Path, twenty: &[usize]) -> Result<()> {
    let mut section = Section::new("Order `balanced`: small work soon, no work late");
    let balanced = Balanced::FROZEN.setting("`balanced`, as frozen");
    let known = settings::known().into_iter().map(|(setting, _)| setting);
    let mut table = Vec::new();
    for setting in known.chain(settings::bounded()).chain([balanced.clone()]) {
        let ten = simulate(trace, &setting.policy, &TEN)?;
        let other = simulate(trace, &setting.policy, twenty)?;
        if setting.name == balanced.name {
            section.bar(
                "longest wait of a sequence, mean of the ten",
                format!("{:.0} s", ten.longest_wait_s),
                "350,000 s",
                ten.longest_wait_s <= 350_000.0,
            );
            section.bar(
                "mean bounded slowdown of the ten",
                format!("{:.2}", ten.slowdown),
                "50",
                ten.slowdown <= 50.0,
            );
            let unseen = format!("{:.0} s at {:.2}", other.longest_wait_s, other.slowdown);
            section.row("the same on twenty other starting points", unseen);
        }
        table.push(line(&setting.name, ten, other));
    }
    section.table(&HEADINGS, table);
    section.note(format!(
        "The settings, for a cluster of any size:\n\n```toml\n{}```\n\nThey were chosen on the \
         ten sequences together with twenty made of whole days of the trace in random order, by \
         the figures of a setting and of its neighbours, and frozen before they were run on the \
         twenty other starting points, which are spread evenly over the trace.",
        balanced.policy
    ));
    section.note(one_command());
    report.add(section);
    Ok(())
}

/// What each setting is worth, one changed at a time.
fn frontier(report: &mut Report, trace: &Path, twenty: &[usize]) -> Result<()> {
    let mut section = Section::new("Order `balanced`: the frontier over its settings");
    let mut table = Vec::new();
    for setting in settings::frontier() {
        let ten = simulate(trace, &setting.policy, &TEN)?;
        let other = simulate(trace, &setting.policy, twenty)?;
        table.push(line(&setting.name, ten, other));
    }
    section.table(&HEADINGS, table);
    section.note(
        "One setting changed at a time, the others as frozen. The figures of the twenty were \
         used for no choice. `full_area` is the knob between slowdown and longest wait; \
         `patience` is a guarantee, and nearly flat above 120 h.",
    );
    section.note(one_command());
    report.add(section);
    Ok(())
}

const HEADINGS: [&str; 9] = [
    "setting",
    "ten: slowdown",
    "longest wait, s",
    "mean wait, s",
    "utilisation",
    "twenty: slowdown",
    "longest wait, s",
    "mean wait, s",
    "utilisation",
];

fn line(name: &str, ten: Mean, twenty: Mean) -> Vec<String> {
    let cells = |mean: Mean| {
        [
            format!("{:.2}", mean.slowdown),
            format!("{:.0}", mean.longest_wait_s),
            format!("{:.0}", mean.wait_s),
            format!("{:.3}", mean.utilisation),
        ]
    };
    [name.to_owned()].into_iter().chain(cells(ten)).chain(cells(twenty)).collect()
}

fn one_command() -> String {
    format!("One command: `{FOLDER}=FOLDER cargo xtask bench traces`.")
}

/// Runs `wrun simulate` under that policy on sequences that begin there.
fn simulate(trace: &Path, policy: &str, firsts: &[usize]) -> Result<Mean> {
    let firsts: Vec<String> = firsts.iter().map(usize::to_string).collect();
    let jobs = SEQUENCE.to_string();
    let said = wrun_simulate(trace, policy, &["--sequences", &firsts.join(","), "--jobs", &jobs])?;
    let figure = |pointer: &str| {
        let value = said.pointer(pointer).and_then(serde_json::Value::as_f64);
        value.with_context(|| format!("`wrun simulate` tells no {pointer}"))
    };
    Ok(Mean {
        slowdown: figure("/mean/bounded_slowdown")?,
        wait_s: figure("/mean/wait_s")?,
        longest_wait_s: figure("/mean/max_wait_s")?,
        utilisation: figure("/mean/utilisation/cpu")?,
    })
}

/// What `wrun simulate --json` prints. A job that did not end, or a line that was left out,
/// would make the figures another trace's.
fn wrun_simulate(trace: &Path, policy: &str, flags: &[&str]) -> Result<serde_json::Value> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("policy.toml");
    std::fs::write(&file, policy)?;
    let mut wrun = Command::new(artefacts::wrun());
    wrun.arg("simulate").arg(trace).arg("--policy").arg(&file).args(flags).arg("--json");
    let output = wrun.output().context("wrun simulate")?;
    if !output.status.success() {
        bail!("wrun simulate: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
