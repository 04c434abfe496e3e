//! `wrun simulate`: the scheduler on a trace, in virtual time. Needs no cluster.

mod files;

use std::path::Path;

use wrun_protocol::policy::Policy;

use self::files::Files;
use super::{Context, Ended};
use crate::console::Console;
use crate::error::Error;
use crate::exit::Exit;
use crate::policyfile;
use crate::report::json::simulation::{SimulatedMean, SimulatedRun, Simulation};
use crate::report::simulation;
use crate::report::table::clean;
use crate::simulate::driver::{self, Run, Setup};
use crate::simulate::measure::Figures;
use crate::simulate::scenario;
use crate::simulate::trace::{Job, Node, Skipped, Trace, TraceError, read_nodes, read_trace};
use crate::syntax::simulate::Simulate;

/// Reads, simulates, writes what was asked for, and prints.
pub(crate) fn simulate(context: &Context, args: &Simulate) -> Ended {
    let console = context.console;
    let simulation = perform(console, args)?;
    if console.wants_json() {
        console.json(&simulation)?;
    } else {
        console.line(simulation::page(console, &simulation))?;
    }
    Ok(Exit::Success)
}

fn perform(console: Console, args: &Simulate) -> Result<Simulation, Error> {
    let mut trace = read_trace(&args.trace).map_err(|cause| unreadable(&args.trace, cause))?;
    tell_skipped(console, &args.trace, &trace.skipped);
    let nodes = nodes(console, args, &trace)?;
    scenario::usable(&mut trace, &nodes, args.fill.is_none()).map_err(unfit)?;
    let policy = args.policy.as_deref().map(policyfile::read).transpose()?;
    let mut files = Files::create(args)?;
    let (trace, nodes, policy) = (&trace, nodes.as_slice(), policy.as_ref());
    let mut theatre = Theatre { console, trace, nodes, policy, refused: 0 };
    let runs = match args.fill {
        Some(factor) => fill(&mut theatre, args, factor)?,
        None => sequences(&mut theatre, args, &mut files)?,
    };
    let refused = theatre.refused;
    let mut skipped = trace.skipped.clone();
    scenario::count_refused(&mut skipped, refused);
    files.finish()?;
    let sum = |of: fn(&Node) -> u64| nodes.iter().map(of).sum();
    Ok(Simulation {
        trace: args.trace.display().to_string(),
        policy: args.policy.as_ref().map(|path| path.display().to_string()),
        lines: trace.lines,
        skipped: skipped.by_reason.iter().map(|(why, count)| (why.to_string(), *count)).collect(),
        nodes: nodes.len(),
        cpu_milli: sum(|node| node.cpu_milli.into()),
        gpu_milli: sum(|node| u64::from(node.gpus) * 1000),
        mean: SimulatedMean::of(&runs),
        runs,
    })
}

/// Where runs are played.
struct Theatre<'a> {
    console: Console,
    trace: &'a Trace,
    nodes: &'a [Node],
    policy: Option<&'a Policy>,
    /// Jobs that the scheduler refused, over all runs.
    refused: u64,
}

impl Theatre<'_> {
    fn play(&mut self, jobs: &[Job]) -> Result<(Run, Figures), Error> {
        let setup =
            Setup { jobs, users: &self.trace.users, nodes: self.nodes, policy: self.policy };
        let run = driver::simulate(&setup)
            .map_err(|cause| Error::new(Exit::Internal, format!("cannot simulate: {cause}")))?;
        if self.refused == 0 {
            for (job, why) in &run.refusals {
                let name = jobs.get(*job).map_or("", |job| &job.name);
                self.console.note(format_args!("job {name} is refused: {why}"));
            }
        }
        self.refused += run.refused;
        let figures = Figures::of(&run.outcomes, &run.series, &run.capacity);
        Ok((run, figures))
    }

    fn row(&self, run: &Run, figures: &Figures) -> SimulatedRun {
        SimulatedRun::of(run, figures, &self.trace.users)
    }
}

/// Runs each sequence of jobs, or the one that there is.
fn sequences(
    theatre: &mut Theatre<'_>,
    args: &Simulate,
    files: &mut Files<'_>,
) -> Result<Vec<SimulatedRun>, Error> {
    let firsts = if args.sequences.is_empty() { &[args.first][..] } else { &args.sequences };
    let count = args.jobs.map(|jobs| jobs.0 as usize);
    let windows = firsts.iter().map(|first| {
        scenario::window(&theatre.trace.jobs, *first, count).map(|jobs| (*first, jobs))
    });
    // What is wrong with the last one is told before the first one is run.
    let windows: Vec<(usize, &[Job])> = windows.collect::<Result<_, _>>().map_err(unfit)?;
    let mut runs = Vec::new();
    for (first, jobs) in windows {
        let (run, figures) = theatre.play(jobs)?;
        files.write_jobs(first, jobs, &theatre.trace.users, &run)?;
        files.write_plot(args, jobs.len(), theatre.nodes.len(), &run)?;
        runs.push(SimulatedRun { first: Some(first), ..theatre.row(&run, &figures) });
    }
    Ok(runs)
}

/// Fills the cluster with jobs drawn at random, once for each seed from 1 on.
fn fill(
    theatre: &mut Theatre<'_>,
    args: &Simulate,
    factor: f64,
) -> Result<Vec<SimulatedRun>, Error> {
    let seeds = args.seeds.map_or(1, |seeds| u64::from(seeds.0));
    let mut runs = Vec::new();
    for seed in 1..=seeds {
        let jobs =
            scenario::fill(&theatre.trace.jobs, theatre.nodes, factor, seed).map_err(unfit)?;
        let (run, figures) = theatre.play(&jobs)?;
        runs.push(SimulatedRun { seed: Some(seed), ..theatre.row(&run, &figures) });
    }
    Ok(runs)
}

/// The cluster that the command line asks for, or else the trace's own.
fn nodes(console: Console, args: &Simulate, trace: &Trace) -> Result<Vec<Node>, Error> {
    if let Some(path) = &args.cluster {
        let (nodes, skipped) = read_nodes(path).map_err(|cause| unreadable(path, cause))?;
        tell_skipped(console, path, &skipped);
        return Ok(nodes);
    }
    if let (Some(count), Some(cpu)) = (args.nodes, args.cpu) {
        let node = |number| scenario::plain_node(format!("node-{number}"), cpu.milli);
        return Ok((1..=count.0).map(node).collect());
    }
    let processors = args.processors.map(|processors| processors.0).or(trace.processors);
    let milli = processors.and_then(|processors| processors.checked_mul(1000));
    match milli {
        Some(milli) => Ok(vec![scenario::plain_node("node-1".to_owned(), milli)]),
        None => Err(Error::new(
            Exit::InvalidInput,
            format!("`{}` does not say how large its cluster was", args.trace.display()),
        )
        .todo("say it with --processors, with --nodes and --cpu, or with --cluster")),
    }
}

/// The first malformed lines, and how many more there are.
fn tell_skipped(console: Console, path: &Path, skipped: &Skipped) {
    for (line, problem) in &skipped.shown {
        console.note(format_args!("{}:{line}: {}", path.display(), clean(problem)));
    }
    let malformed = skipped.malformed();
    let more = malformed - skipped.shown.len() as u64;
    if more > 0 {
        console.note(format_args!("{}: {more} more malformed lines", path.display()));
    }
}

fn unreadable(path: &Path, cause: TraceError) -> Error {
    let text = format!("`{}` is no trace: {cause}", path.display());
    match cause {
        TraceError::Open(cause) => Error::file("read", path, &cause),
        TraceError::Read { source, .. } if source.kind() == std::io::ErrorKind::IsADirectory => {
            Error::file("read", path, &source)
        }
        TraceError::Read { .. } => Error::new(Exit::InvalidInput, text)
            .todo("check that the file is whole, and text or gzip"),
        TraceError::TooManyJobs | TraceError::TooManyNodes => {
            Error::new(Exit::InvalidInput, text).todo("cut it into parts")
        }
        TraceError::Columns { .. } | TraceError::Empty { .. } => {
            Error::new(Exit::InvalidInput, text)
                .todo("see `wrun simulate --help` for what it can read")
        }
    }
}

fn unfit(cause: scenario::ScenarioError) -> Error {
    Error::new(Exit::InvalidInput, cause)
}

#[cfg(test)]
mod tests;
