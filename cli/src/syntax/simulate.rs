//! The command that runs the scheduler on a trace.

use std::path::PathBuf;

use clap::Args;

use crate::simulate::plot;
use crate::value::{BadValue, Cpu, Whole};

/// How many processors one simulated node may have.
type Processors = Whole<1, { u32::MAX / 1000 }>;

/// Runs the scheduler on a trace, in virtual time: to choose a policy before changing a cluster
///
/// It is the scheduler that `wrun server` runs. TRACE is in the Standard Workload Format
/// (version 2.2), where a job of N processors becomes a gang of N tasks; or a table of pods
/// as comma-separated values whose first line names the columns: cpu_milli, and any of name,
/// memory_mib, num_gpu, gpu_milli, gpu_spec, qos, user, creation_time, scheduled_time,
/// deletion_time. Either may be compressed with gzip. A malformed line is reported with its
/// number and left out.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Simulate {
    /// The trace
    #[arg(value_name = "TRACE")]
    pub(crate) trace: PathBuf,

    /// One node with N processors [default: as many as the trace's header says]
    #[arg(long, value_name = "N", help_heading = "Cluster")]
    pub(crate) processors: Option<Processors>,

    /// N nodes that are alike
    #[arg(long, value_name = "N", help_heading = "Cluster")]
    #[arg(requires = "cpu", conflicts_with_all = ["processors", "cluster"])]
    pub(crate) nodes: Option<Whole<1, 100_000>>,

    /// Processors of each of them
    #[arg(long, value_name = "CORES", requires = "nodes", help_heading = "Cluster")]
    pub(crate) cpu: Option<Cpu>,

    /// A table of nodes: cpu_milli, and any of sn or name, memory_mib, gpu, model
    #[arg(long, value_name = "FILE", conflicts_with = "processors", help_heading = "Cluster")]
    pub(crate) cluster: Option<PathBuf>,

    /// The policy, as `wrun policy set` takes it [default: that of a new cluster]
    #[arg(long, short, value_name = "FILE", help_heading = "Cluster")]
    pub(crate) policy: Option<PathBuf>,

    /// Simulate from this job on, counted from 0
    #[arg(long, value_name = "JOB", default_value_t = 0, help_heading = "Jobs")]
    pub(crate) first: usize,

    /// Simulate so many jobs [default: all that follow]
    #[arg(long, value_name = "N", help_heading = "Jobs")]
    pub(crate) jobs: Option<Whole<1, { u32::MAX }>>,

    /// Simulate --jobs N jobs from each of these on, each time on an empty cluster, and
    /// print the mean
    #[arg(long, value_name = "JOB,…", value_delimiter = ',', help_heading = "Jobs")]
    #[arg(requires = "jobs", conflicts_with_all = ["first", "fill", "plot"])]
    pub(crate) sequences: Vec<usize>,

    /// Draw jobs at random until they ask for FACTOR times the cluster's GPUs; none ends.
    /// Prints the share of the GPUs that they get
    #[arg(long, value_name = "FACTOR", value_parser = factor, help_heading = "Jobs")]
    #[arg(conflicts_with_all = ["first", "jobs", "plot", "jobs_csv"])]
    pub(crate) fill: Option<f64>,

    /// Draw N times, each time differently, and print the mean [default: 1]
    #[arg(long, value_name = "N", requires = "fill", help_heading = "Jobs")]
    pub(crate) seeds: Option<Whole<1, 10_000>>,

    /// Write a line for each job: when it was submitted, started and ended
    #[arg(long, value_name = "FILE", help_heading = "Results")]
    pub(crate) jobs_csv: Option<PathBuf>,

    /// Draw what is in use and how many jobs wait, over time, as .svg or .png
    #[arg(long, value_name = "FILE", value_parser = picture, help_heading = "Results")]
    pub(crate) plot: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  wrun simulate lublin-1.swf --plot schedule.svg --jobs-csv jobs.csv
  wrun simulate lublin-1.swf --policy easy.toml --jobs 1024 --sequences 1981,2756,4299
  wrun simulate pods.csv --cluster nodes.csv --fill 1.3 --seeds 10";

fn factor(text: &str) -> Result<f64, BadValue> {
    match text.parse::<f64>() {
        Ok(factor) if factor > 0.0 && factor <= 100.0 => Ok(factor),
        _ => Err(BadValue(format!("`{text}`: write a number above 0 and at most 100, like 1.3"))),
    }
}

fn picture(text: &str) -> Result<PathBuf, BadValue> {
    let path = PathBuf::from(text);
    match plot::Format::of(&path) {
        Some(_) => Ok(path),
        None => Err(BadValue(format!("`{text}`: let the file's name end in .svg or .png"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_positive_and_sane() {
        assert_eq!(factor("1.3"), Ok(1.3));
        for text in ["0", "-1", "nan", "inf", "101", "x", ""] {
            assert!(factor(text).is_err(), "{text}");
        }
    }

    #[test]
    fn pictures_are_svg_or_png() {
        assert!(picture("a/b.svg").is_ok() && picture("b.PNG").is_ok());
        assert!(picture("b.pdf").is_err() && picture("b").is_err());
    }
}
