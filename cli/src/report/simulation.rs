//! What `wrun simulate` shows to people.

use std::time::Duration;

use super::human;
use super::json::simulation::{Distribution, ShareOf, SimulatedMean, SimulatedRun, Simulation};
use super::table::{Listing, clean};
use crate::console::Console;
use crate::simulate::measure::Capacity;

/// The page of one run, or a table of several.
pub(crate) fn page(console: Console, simulation: &Simulation) -> String {
    let mut parts = vec![head(simulation)];
    match (simulation.runs.as_slice(), &simulation.mean) {
        ([run], _) if run.seed.is_none() => {
            parts.push(distributions(console, run));
            parts.push(body(run));
        }
        (runs, mean) => parts.push(several(console, runs, mean.as_ref())),
    }
    parts.push(work(&simulation.runs));
    parts.join("\n\n")
}

fn lines(rows: &[(&str, String)]) -> String {
    let lines: Vec<String> =
        rows.iter().map(|(name, value)| format!("{name:<13}{}", clean(value))).collect();
    lines.join("\n")
}

fn head(simulation: &Simulation) -> String {
    let mut rows = vec![("trace", simulation.trace.clone())];
    let skipped: u64 = simulation.skipped.values().sum();
    if skipped > 0 {
        let reasons: Vec<String> = simulation
            .skipped
            .iter()
            .map(|(reason, count)| format!("{} {reason}", human::grouped(*count)))
            .collect();
        rows.push((
            "left out",
            format!(
                "{} of {} lines: {}",
                human::grouped(skipped),
                human::grouped(simulation.lines),
                reasons.join(", ")
            ),
        ));
    }
    let Simulation { nodes, cpu_milli, gpu_milli, .. } = simulation;
    rows.push(("cluster", cluster(*nodes as u64, *cpu_milli, *gpu_milli)));
    let of_new = || "that of a new cluster".to_owned();
    rows.push(("policy", simulation.policy.clone().unwrap_or_else(of_new)));
    if let [run] = simulation.runs.as_slice() {
        let jobs = human::grouped(run.jobs as u64);
        let makespan = human::took(seconds(run.makespan_s));
        rows.push(("jobs", format!("{jobs} in {makespan} of virtual time")));
    }
    lines(&rows)
}

/// What stands over a picture.
pub(crate) fn subtitle(jobs: usize, nodes: usize, capacity: &Capacity) -> String {
    format!(
        "{} jobs on {}",
        human::grouped(jobs as u64),
        cluster(nodes as u64, capacity.cpu as u64, capacity.gpu as u64)
    )
}

fn cluster(nodes: u64, cpu_milli: u64, gpu_milli: u64) -> String {
    let mut text = format!(
        "{} node{}, {} processors",
        human::grouped(nodes),
        if nodes == 1 { "" } else { "s" },
        thousandths(cpu_milli)
    );
    if gpu_milli > 0 {
        text.push_str(&format!(", {} GPUs", thousandths(gpu_milli)));
    }
    text
}

/// A number of thousandths, whole where it is whole.
fn thousandths(milli: u64) -> String {
    match milli % 1000 {
        0 => human::grouped(milli / 1000),
        rest => {
            let digits = format!("{rest:03}");
            format!("{}.{}", human::grouped(milli / 1000), digits.trim_end_matches('0'))
        }
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

fn distributions(console: Console, run: &SimulatedRun) -> String {
    let columns = ["", ">MEAN", ">MEDIAN", ">90 %", ">95 %", ">99 %", ">LONGEST"];
    let mut listing = Listing::new(console, &columns);
    let mut row = |name: &str, of: &Distribution, show: fn(f64) -> String| {
        let values = [of.mean, of.median, of.p90, of.p95, of.p99, of.max].map(show);
        listing.row([name.to_owned()].into_iter().chain(values));
    };
    row("wait", &run.wait_s, |value| match value {
        0.0 => "0s".to_owned(),
        value => human::took(seconds(value)),
    });
    row("bounded slowdown", &run.bounded_slowdown, |value| format!("{value:.1}"));
    listing.text()
}

fn body(run: &SimulatedRun) -> String {
    let mut rows = vec![("utilisation", shares(&run.utilisation))];
    if let Some(fairness) = &run.fairness {
        let said = match fairness.users {
            1 => "1 user".to_owned(),
            users => format!(
                "{users} users, Jain's index {:.3}; worst off is {} with a mean bounded slowdown of {:.1}",
                fairness.jain_index, fairness.worst_user, fairness.worst_slowdown
            ),
        };
        rows.push(("fairness", said));
    }
    rows.push(("pre-emptions", human::grouped(run.preemptions)));
    if run.unended > 0 {
        rows.push(("unended", format!("{} jobs", human::grouped(run.unended as u64))));
    }
    lines(&rows)
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0))
}

fn shares(of: &ShareOf) -> String {
    let parts = [("CPU", of.cpu), ("memory", of.memory), ("GPU", of.gpu)];
    let said: Vec<String> = parts
        .into_iter()
        .filter(|(_, share)| share.is_some())
        .map(|(name, share)| format!("{name} {}", percent(share)))
        .collect();
    said.join(", ")
}

fn several(console: Console, runs: &[SimulatedRun], mean: Option<&SimulatedMean>) -> String {
    if runs.iter().any(|run| run.seed.is_some()) {
        return fillings(console, runs, mean);
    }
    let columns = [">FIRST", ">JOBS", ">SLOWDOWN", ">MEAN WAIT", ">LONGEST WAIT", ">CPU", ">GPU"];
    let has_gpu = runs.iter().any(|run| run.utilisation.gpu.is_some());
    let shown = if has_gpu { columns.len() } else { columns.len() - 1 };
    let mut listing = Listing::new(console, columns.get(..shown).unwrap_or(&columns));
    let figures = |slowdown: f64, wait: f64, longest: f64, of: &ShareOf| {
        [
            format!("{slowdown:.1}"),
            format!("{} s", human::grouped(wait.round() as u64)),
            format!("{} s", human::grouped(longest.round() as u64)),
            percent(of.cpu),
            percent(of.gpu),
        ]
    };
    for run in runs {
        let first = run.first.map_or_else(String::new, |first| first.to_string());
        let (wait, of) = (&run.wait_s, &run.utilisation);
        let cells = figures(run.bounded_slowdown.mean, wait.mean, wait.max, of);
        listing.row([first, run.jobs.to_string()].into_iter().chain(cells).take(shown));
    }
    if let Some(mean) = mean {
        let cells = figures(mean.bounded_slowdown, mean.wait_s, mean.max_wait_s, &mean.utilisation);
        listing.row(["mean".to_owned(), String::new()].into_iter().chain(cells).take(shown));
    }
    listing.text()
}

fn fillings(console: Console, runs: &[SimulatedRun], mean: Option<&SimulatedMean>) -> String {
    let columns = [">SEED", ">JOBS", ">WAITING", ">GPU", ">CPU", ">MEMORY"];
    let mut listing = Listing::new(console, &columns);
    let cells = |of: &ShareOf| [of.gpu, of.cpu, of.memory].map(percent);
    for run in runs {
        let seed = run.seed.map_or_else(String::new, |seed| seed.to_string());
        let counts = [seed, run.jobs.to_string(), run.unstarted.to_string()];
        listing.row(counts.into_iter().chain(cells(&run.allocated)));
    }
    if let Some(mean) = mean {
        let blank = ["mean".to_owned(), String::new(), String::new()];
        listing.row(blank.into_iter().chain(cells(&mean.allocated)));
    }
    listing.text()
}

/// What it cost to simulate.
fn work(runs: &[SimulatedRun]) -> String {
    let events: u64 = runs.iter().map(|run| run.events).sum();
    let placements: u64 = runs.iter().map(|run| run.placements).sum();
    let took = runs.iter().map(|run| run.scheduler_ms).sum::<f64>() / 1000.0;
    let rate = if took > 0.0 { placements as f64 / took } else { 0.0 };
    lines(&[(
        "scheduler",
        format!(
            "{} events, {} placements in {}: {} placements a second",
            human::grouped(events),
            human::grouped(placements),
            human::took(seconds(took)),
            human::grouped(rate as u64)
        ),
    )])
}
