//! Traces: what was submitted to a cluster once, and when, and the nodes it had.
//!
//! Readers stream and never fail for a bad line: a line that cannot be used is counted by
//! its reason, and the first malformed ones are kept with their numbers. Nothing here
//! knows of the scheduler.

mod csv;
mod lines;
mod nodes;
mod pods;
mod swf;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use lines::Line;

pub(crate) use nodes::{Node, read_nodes};

/// Most jobs of a trace that are kept: some 500 MB.
const MAX_JOBS: usize = 4_000_000;

/// Malformed lines that are shown one by one.
const MAX_SHOWN: usize = 5;

/// One job as it was submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    /// Its number or name in the trace.
    pub(crate) name: Box<str>,
    /// Milliseconds since the trace's beginning.
    pub(crate) submit_ms: u64,
    /// How long each task runs; `None` where the trace does not say.
    pub(crate) run_ms: Option<u64>,
    /// How long its owner said that it would need at most.
    pub(crate) limit_ms: Option<u64>,
    /// Tasks that run side by side, one a processor.
    pub(crate) tasks: u32,
    /// What each task takes.
    pub(crate) each: Request,
    /// The class of service that its cluster gave it, if it tells.
    pub(crate) class: Option<Box<str>>,
    /// The partition in which it ran, if it tells.
    pub(crate) partition: Option<Box<str>>,
    /// Whose it is: an index into [`Trace::users`].
    pub(crate) user: u32,
}

/// What a task takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Request {
    /// Thousandths of a processor.
    pub(crate) cpu_milli: u32,
    /// Bytes.
    pub(crate) memory: u64,
    /// Thousandths of a card: a share of one below 1000, else whole cards.
    pub(crate) gpu_milli: u32,
    /// Models of card that serve; empty: any.
    pub(crate) gpu_models: Vec<Box<str>>,
}

/// What a file told.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Trace {
    /// Jobs in the order of their submission.
    pub(crate) jobs: Vec<Job>,
    /// Users by their names in the trace.
    pub(crate) users: Vec<Box<str>>,
    /// How many processors the header says that the cluster had.
    pub(crate) processors: Option<u32>,
    /// Lines that should each have been a job.
    pub(crate) lines: u64,
    /// Those that are none.
    pub(crate) skipped: Skipped,
}

/// Lines and jobs that are left out, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Skipped {
    /// How many there are of each.
    pub(crate) by_reason: BTreeMap<Reason, u64>,
    /// The first malformed lines, each with its number and what is wrong.
    pub(crate) shown: Vec<(u64, String)>,
}

/// Why a line or a job is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// The line is not what the format says.
    Malformed,
    /// A part of a job whose sum is another line.
    Partial,
    /// It was cancelled before it started.
    NeverRan,
    /// It does not say how long it ran.
    NoRunTime,
    /// It does not say what it needed.
    NoProcessors,
    /// The cluster could not hold it, were it empty.
    TooLarge,
    /// The scheduler would not take it.
    Refused,
}

/// Why a line is not a job.
pub(crate) enum Unusable {
    /// It is not what the format says; what is wrong.
    Malformed(String),
    /// It is well formed.
    Other(Reason),
}

/// Why a file is not a trace.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TraceError {
    /// It cannot be opened.
    #[error("cannot open")]
    Open(#[source] io::Error),
    /// It cannot be read to its end.
    #[error("cannot read on after line {line}: {source}")]
    Read {
        /// The last line that could be read.
        line: u64,
        /// Why.
        source: io::Error,
    },
    /// It is a table without columns that are needed.
    #[error("the first line names no column {}", missing.join(", "))]
    Columns {
        /// Those that are missing.
        missing: Vec<&'static str>,
    },
    /// It would not fit into memory.
    #[error("it has over {MAX_JOBS} jobs")]
    TooManyJobs,
    /// It has more nodes than one cluster may have.
    #[error("it has over {} nodes", nodes::MAX_NODES)]
    TooManyNodes,
    /// Not one line is usable.
    #[error("no line of it is a {what}{}", first_problem(skipped))]
    Empty {
        /// What lines should be.
        what: &'static str,
        /// Why they are none.
        skipped: Skipped,
    },
}

fn first_problem(skipped: &Skipped) -> String {
    match skipped.shown.first() {
        Some((line, problem)) => format!("; line {line}: {problem}"),
        None => String::new(),
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "malformed",
            Self::Partial => "part of another job",
            Self::NeverRan => "cancelled before it ran",
            Self::NoRunTime => "no run time",
            Self::NoProcessors => "no processors",
            Self::TooLarge => "larger than the cluster",
            Self::Refused => "refused by the scheduler",
        })
    }
}

impl Skipped {
    /// Counts one more.
    pub(crate) fn add(&mut self, reason: Reason) {
        *self.by_reason.entry(reason).or_default() += 1;
    }

    /// Counts a malformed line, and keeps it if it is one of the first.
    pub(crate) fn add_malformed(&mut self, line: u64, problem: impl Into<String>) {
        self.add(Reason::Malformed);
        if self.shown.len() < MAX_SHOWN {
            self.shown.push((line, problem.into()));
        }
    }

    /// How many malformed lines there are.
    pub(crate) fn malformed(&self) -> u64 {
        self.by_reason.get(&Reason::Malformed).copied().unwrap_or_default()
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn sum(&self) -> u64 {
        self.by_reason.values().sum()
    }
}

/// Users by name, numbered as they come.
#[derive(Default)]
struct Users {
    names: Vec<Box<str>>,
    numbers: HashMap<Box<str>, u32>,
}

impl Users {
    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.push(name.into());
        self.numbers.insert(name.into(), number);
        number
    }
}

/// A format's way to make jobs of lines.
trait Format {
    /// One line that is neither blank nor the first of a table.
    fn job(&mut self, line: &str, users: &mut Users) -> Result<Option<Job>, Unusable>;

    /// How many processors the header says that the cluster had.
    fn processors(&self) -> Option<u32> {
        None
    }
}

/// Reads a trace: Standard Workload Format, or a table of pods whose first line names
/// its columns. Either may be compressed with gzip.
pub(crate) fn read_trace(path: &Path) -> Result<Trace, TraceError> {
    read_jobs(File::open(path).map_err(TraceError::Open)?)
}

fn read_jobs(input: impl Read) -> Result<Trace, TraceError> {
    let mut lines = lines::lines(input).map_err(|source| TraceError::Read { line: 0, source })?;
    let mut trace = Trace::default();
    let mut users = Users::default();
    let mut format: Option<Box<dyn Format>> = None;
    loop {
        let number = lines.number() + 1;
        let line =
            match lines.next().map_err(|source| TraceError::Read { line: number - 1, source })? {
                None => break,
                Some(Line::Text(text)) if text.trim().is_empty() => continue,
                Some(Line::Text(text)) => text,
                Some(Line::Unreadable(why)) => {
                    trace.lines += 1;
                    trace.skipped.add_malformed(number, why);
                    continue;
                }
            };
        let reader = match &mut format {
            Some(reader) => reader,
            // A comma stands in no line of the other format but in comments.
            None if line.contains(',') && !line.trim_start().starts_with(';') => {
                format = Some(Box::new(pods::Pods::new(line)?));
                continue;
            }
            None => format.insert(Box::new(swf::Swf::default())),
        };
        match reader.job(line, &mut users) {
            Ok(None) => continue,
            Ok(Some(_)) if trace.jobs.len() >= MAX_JOBS => return Err(TraceError::TooManyJobs),
            Ok(Some(job)) => trace.jobs.push(job),
            Err(Unusable::Malformed(problem)) => trace.skipped.add_malformed(number, problem),
            Err(Unusable::Other(reason)) => trace.skipped.add(reason),
        }
        trace.lines += 1;
    }
    if trace.jobs.is_empty() {
        return Err(TraceError::Empty { what: "job", skipped: trace.skipped });
    }
    trace.processors = format.and_then(|format| format.processors());
    trace.users = users.names;
    // Traces are sorted as a rule; what was submitted together stays in its order.
    trace.jobs.sort_by_key(|job| job.submit_ms);
    Ok(trace)
}

/// A number of seconds, which may have a fraction, in milliseconds.
fn milliseconds(seconds: f64) -> u64 {
    // Saturates, and what is no number becomes zero.
    (seconds * 1000.0).round() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_format_is_told_by_the_first_line() {
        let swf = read_jobs(
            &b"; MaxProcs: 8, or so\n1 0 -1 5 2 -1 -1 2 9 -1 1 7 -1 -1 -1 -1 -1 -1\n"[..],
        );
        assert_eq!(swf.unwrap().jobs[0].tasks, 2);
        let pods = read_jobs(&b"name,cpu_milli\na,500\n"[..]).unwrap();
        assert_eq!(pods.jobs[0].each.cpu_milli, 500);
    }

    #[test]
    fn a_file_without_a_job_is_no_trace_and_says_why() {
        let error = read_jobs(&b"\n\nhello world\n"[..]).unwrap_err().to_string();
        assert_eq!(error, "no line of it is a job; line 3: it has 2 fields of 18");
        assert_eq!(read_jobs(&b""[..]).unwrap_err().to_string(), "no line of it is a job");
    }

    #[test]
    fn jobs_come_in_the_order_of_their_submission() {
        let line = |name: &str, at: u32| {
            format!("{name} {at} -1 5 1 -1 -1 -1 -1 -1 1 -1 -1 -1 -1 -1 -1 -1\n")
        };
        let text = [line("1", 5), line("2", 0), line("3", 5)].concat();
        let trace = read_jobs(text.as_bytes()).unwrap();
        let names: Vec<&str> = trace.jobs.iter().map(|job| &*job.name).collect();
        assert_eq!(names, ["2", "1", "3"]);
    }

    #[test]
    fn the_first_malformed_lines_are_kept_and_all_are_counted() {
        let text =
            format!("{}1 0 -1 5 1 -1 -1 -1 -1 -1 1 -1 -1 -1 -1 -1 -1 -1\n", "bad\n".repeat(9));
        let trace = read_jobs(text.as_bytes()).unwrap();
        assert_eq!((trace.lines, trace.skipped.sum()), (10, 9));
        let numbers: Vec<u64> = trace.skipped.shown.iter().map(|(line, _)| *line).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let _ = read_jobs(&bytes[..]);
        }

        #[test]
        fn any_fields_are_read_without_a_panic_and_every_line_is_accounted_for(
            rows in prop::collection::vec(prop::collection::vec("-1|0|[0-9]{1,25}|[0-9]\\.[0-9]|nan|inf|x", 17..20), 1..20),
        ) {
            let text: Vec<String> = rows.iter().map(|row| row.join(" ")).collect();
            match read_jobs(text.join("\n").as_bytes()) {
                Ok(trace) => {
                    prop_assert_eq!(trace.lines, rows.len() as u64);
                    prop_assert_eq!(trace.jobs.len() as u64 + trace.skipped.sum(), trace.lines);
                }
                Err(TraceError::Empty { skipped, .. }) => {
                    prop_assert_eq!(skipped.sum(), rows.len() as u64);
                }
                Err(other) => panic!("{other}"),
            }
        }

        #[test]
        fn any_table_is_read_without_a_panic(
            rows in prop::collection::vec(prop::collection::vec("[0-9]{0,12}|\"[0-9]|V100\\|T4|x,y", 1..12), 1..20),
        ) {
            let text: Vec<String> = rows.iter().map(|row| row.join(",")).collect();
            let text = format!("name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,creation_time,deletion_time,scheduled_time\n{}", text.join("\n"));
            let _ = read_jobs(text.as_bytes());
        }
    }
}
