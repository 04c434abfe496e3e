//! What `wrun simulate` prints.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::simulate::driver::Run;
use crate::simulate::measure::{self, Figures, Shares, Spread};

/// A simulation: what was simulated, and a run for each sequence or seed.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Simulation {
    /// The trace's file.
    pub(crate) trace: String,
    /// The policy's file; `null` is that of a new cluster.
    pub(crate) policy: Option<String>,
    /// Lines of the trace that should each have been a job.
    pub(crate) lines: u64,
    /// Lines and jobs that were left out, by reason.
    pub(crate) skipped: BTreeMap<String, u64>,
    /// Nodes of the simulated cluster.
    pub(crate) nodes: usize,
    /// What they have together, in thousandths of processors.
    pub(crate) cpu_milli: u64,
    /// And in thousandths of cards.
    pub(crate) gpu_milli: u64,
    pub(crate) runs: Vec<SimulatedRun>,
    /// Of several runs, the mean of each figure over them.
    pub(crate) mean: Option<SimulatedMean>,
}

/// One run, on an empty cluster.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SimulatedRun {
    /// Place of the first job in the trace, counted from 0.
    pub(crate) first: Option<usize>,
    /// What jobs were drawn with.
    pub(crate) seed: Option<u64>,
    /// Jobs that were submitted and not refused.
    pub(crate) jobs: usize,
    /// Of these, jobs that had not ended when nothing more could happen.
    pub(crate) unended: usize,
    /// Of these, jobs that never started.
    pub(crate) unstarted: usize,
    /// In seconds.
    pub(crate) wait_s: Distribution,
    pub(crate) bounded_slowdown: Distribution,
    /// From the first submission to the last end, in seconds.
    pub(crate) makespan_s: f64,
    /// Over the makespan.
    pub(crate) utilisation: ShareOf,
    /// At the end.
    pub(crate) allocated: ShareOf,
    /// How users fared against each other.
    pub(crate) fairness: Option<UserFairness>,
    /// How often running jobs were stopped or frozen before their end.
    pub(crate) preemptions: u64,
    /// What the scheduler was told.
    pub(crate) events: u64,
    /// Runs of tasks that it placed.
    pub(crate) placements: u64,
    /// How long it took over that, in milliseconds of real time.
    pub(crate) scheduler_ms: f64,
}

/// A distribution over jobs.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Distribution {
    pub(crate) mean: f64,
    pub(crate) median: f64,
    pub(crate) p90: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

/// Parts of what the cluster has, from 0 to 1.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ShareOf {
    pub(crate) cpu: Option<f64>,
    /// Not counted unless nodes say how much they have.
    pub(crate) memory: Option<f64>,
    pub(crate) gpu: Option<f64>,
}

/// Over the mean bounded slowdown of each user.
#[derive(Serialize, JsonSchema)]
pub(crate) struct UserFairness {
    pub(crate) users: usize,
    /// Jain's index: 1 where all fared alike.
    pub(crate) jain_index: f64,
    /// Who fared worst.
    pub(crate) worst_user: String,
    pub(crate) worst_slowdown: f64,
}

/// Means over runs.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SimulatedMean {
    /// Of the runs' mean bounded slowdowns.
    pub(crate) bounded_slowdown: f64,
    /// Of the runs' mean waits, in seconds.
    pub(crate) wait_s: f64,
    /// Of the runs' longest waits, in seconds.
    pub(crate) max_wait_s: f64,
    pub(crate) utilisation: ShareOf,
    pub(crate) allocated: ShareOf,
}

impl SimulatedRun {
    /// Of a run and what came of it.
    pub(crate) fn of(run: &Run, figures: &Figures, users: &[Box<str>]) -> Self {
        let fairness = figures.fairness.map(|fairness| UserFairness {
            users: fairness.users,
            jain_index: fairness.jain,
            worst_user: users.get(fairness.worst as usize).map_or("", |user| user).to_owned(),
            worst_slowdown: fairness.worst_slowdown,
        });
        Self {
            first: None,
            seed: None,
            jobs: figures.jobs + run.unended,
            unended: run.unended,
            unstarted: run.unstarted,
            wait_s: figures.wait.into(),
            bounded_slowdown: figures.bounded_slowdown.into(),
            makespan_s: figures.makespan,
            utilisation: figures.utilisation.into(),
            allocated: run.capacity.shares(&run.held).into(),
            fairness,
            preemptions: run.preemptions,
            events: run.events,
            placements: run.placements,
            scheduler_ms: run.core_time.as_secs_f64() * 1000.0,
        }
    }
}

impl SimulatedMean {
    /// Over several runs; `None` of one.
    pub(crate) fn of(runs: &[SimulatedRun]) -> Option<Self> {
        let mean = |figure: fn(&SimulatedRun) -> f64| measure::mean(runs.iter().map(figure));
        (runs.len() > 1).then(|| Self {
            bounded_slowdown: mean(|run| run.bounded_slowdown.mean),
            wait_s: mean(|run| run.wait_s.mean),
            max_wait_s: mean(|run| run.wait_s.max),
            utilisation: ShareOf::mean(runs, |run| &run.utilisation),
            allocated: ShareOf::mean(runs, |run| &run.allocated),
        })
    }
}

impl ShareOf {
    /// The cluster is the same in every run: all of them have a share of a kind, or none.
    fn mean(runs: &[SimulatedRun], shares: fn(&SimulatedRun) -> &Self) -> Self {
        let mean = |share: fn(&Self) -> Option<f64>| {
            let values: Option<Vec<f64>> = runs.iter().map(|run| share(shares(run))).collect();
            values.map(|values| measure::mean(values.into_iter()))
        };
        Self { cpu: mean(|of| of.cpu), memory: mean(|of| of.memory), gpu: mean(|of| of.gpu) }
    }
}

impl From<Spread> for Distribution {
    fn from(spread: Spread) -> Self {
        let Spread { mean, median, p90, p95, p99, max } = spread;
        Self { mean, median, p90, p95, p99, max }
    }
}

impl From<Shares> for ShareOf {
    fn from(shares: Shares) -> Self {
        let Shares { cpu, memory, gpu } = shares;
        Self { cpu, memory, gpu }
    }
}
