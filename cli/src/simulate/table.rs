//! A simulated schedule job by job, as a table for other programs.

use std::io::{self, Write};

use csv_core::{WriteResult, Writer};

use super::measure::Outcome;
use super::trace::Job;

const COLUMNS: &str = "sequence,job,user,submitted_s,started_s,ended_s,wait_s,run_s,limit_s,tasks,\
                       cpu_milli,gpu_milli,starts,bounded_slowdown";

/// Writes the line that names the columns.
pub(crate) fn write_header(to: &mut impl Write) -> io::Result<()> {
    writeln!(to, "{COLUMNS}")
}

/// Writes a line for each job that ended. Times are those of the trace; `sequence` is the
/// place in the trace of the first job that was simulated with it.
pub(crate) fn write_rows(
    to: &mut impl Write,
    sequence: usize,
    jobs: &[Job],
    users: &[Box<str>],
    outcomes: &[Outcome],
) -> io::Result<()> {
    let beginning = jobs.first().map_or(0, |job| job.submit_ms);
    for outcome in outcomes {
        let Some(job) = jobs.get(outcome.job) else { continue };
        let user = users.get(outcome.user as usize).map_or("", |user| user);
        write!(to, "{sequence},")?;
        write_text(to, &job.name)?;
        write!(to, ",")?;
        write_text(to, user)?;
        let times = [
            outcome.submitted + beginning,
            outcome.started + beginning,
            outcome.ended + beginning,
            outcome.wait(),
            outcome.run,
        ];
        times.into_iter().try_for_each(|ms| write!(to, ",{}", Seconds(ms)))?;
        match job.limit_ms {
            Some(limit) => write!(to, ",{}", Seconds(limit))?,
            None => write!(to, ",")?,
        }
        let Job { tasks, each, .. } = job;
        writeln!(
            to,
            ",{tasks},{},{},{},{:.3}",
            each.cpu_milli,
            each.gpu_milli,
            outcome.starts,
            outcome.bounded_slowdown()
        )?;
    }
    Ok(())
}

/// Milliseconds, written in seconds without zeros at the end.
struct Seconds(u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0 / 1000)?;
        match self.0 % 1000 {
            0 => Ok(()),
            rest => write!(f, ".{}", format!("{rest:03}").trim_end_matches('0')),
        }
    }
}

/// A field, quoted where it must be.
fn write_text(to: &mut impl Write, text: &str) -> io::Result<()> {
    // A new writer for each: it would put commas between fields of its own.
    let mut writer = Writer::new();
    let mut buffer = [0; 256];
    let mut rest = text.as_bytes();
    loop {
        let (result, read, written) = writer.field(rest, &mut buffer);
        to.write_all(buffer.get(..written).unwrap_or_default())?;
        rest = rest.get(read..).unwrap_or_default();
        if result == WriteResult::InputEmpty {
            break;
        }
    }
    let (_, written) = writer.finish(&mut buffer);
    to.write_all(buffer.get(..written).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::trace::Request;

    #[test]
    fn each_job_is_a_line_with_the_times_of_its_trace() {
        let job = |name: &str, submit_ms| Job {
            name: name.into(),
            submit_ms,
            run_ms: Some(2500),
            limit_ms: Some(3000),
            tasks: 4,
            each: Request { cpu_milli: 1000, ..Request::default() },
            class: None,
            partition: None,
            user: 1,
        };
        let outcome = Outcome {
            job: 1,
            user: 1,
            submitted: 1000,
            started: 31_000,
            ended: 33_500,
            run: 2500,
            starts: 1,
        };
        let mut text = Vec::new();
        write_header(&mut text).unwrap();
        let jobs = [job("a", 50_000), job("b,\"c\"", 51_000)];
        let users = ["x".into(), "the \"user\"".into()];
        write_rows(&mut text, 7, &jobs, &users, &[outcome]).unwrap();
        let text = String::from_utf8(text).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[1],
            "7,\"b,\"\"c\"\"\",\"the \"\"user\"\"\",51,81,83.5,30,2.5,3,4,1000,0,1,3.250"
        );
        let columns = lines[0].split(',').count();
        let plain = lines[1].replace("b,", "b");
        assert_eq!((lines.len(), plain.split(',').count()), (2, columns));
    }
}
