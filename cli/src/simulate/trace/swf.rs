//! The Standard Workload Format (version 2.2): a line of 18 numbers for each job, -1 for
//! what is not known, and comments that begin with `;` and say what the cluster was.

use super::{Format, Job, Reason, Request, Unusable, Users, milliseconds};

/// Fields of a line.
const FIELDS: usize = 18;

/// No field of a sane trace is larger; beyond it a number loses its fractions.
const MAX_VALUE: f64 = 1e12;

/// Places of the fields that are used, from 0.
mod field {
    pub(super) const JOB: usize = 0;
    pub(super) const SUBMIT: usize = 1;
    pub(super) const RUN_TIME: usize = 3;
    pub(super) const PROCESSORS: usize = 4;
    pub(super) const REQUESTED_PROCESSORS: usize = 7;
    pub(super) const REQUESTED_TIME: usize = 8;
    pub(super) const STATUS: usize = 10;
    pub(super) const USER: usize = 11;
    pub(super) const QUEUE: usize = 14;
    pub(super) const PARTITION: usize = 15;
}

/// What the header has said so far.
#[derive(Default)]
pub(super) struct Swf {
    max_processors: Option<u32>,
    max_nodes: Option<u32>,
}

impl Format for Swf {
    fn job(&mut self, line: &str, users: &mut Users) -> Result<Option<Job>, Unusable> {
        match line.trim_start().strip_prefix(';') {
            Some(comment) => {
                self.on_comment(comment);
                Ok(None)
            }
            None => job(&Fields::parse(line).map_err(Unusable::Malformed)?, users).map(Some),
        }
    }

    /// A header without processors is of a cluster whose nodes have one each.
    fn processors(&self) -> Option<u32> {
        self.max_processors.or(self.max_nodes)
    }
}

impl Swf {
    fn on_comment(&mut self, comment: &str) {
        let Some((key, value)) = comment.split_once(':') else { return };
        // Some headers explain the number behind it.
        let number = value.split_whitespace().next().and_then(|word| word.parse().ok());
        match key.trim() {
            "MaxProcs" => self.max_processors = number.filter(|number| *number > 0),
            "MaxNodes" => self.max_nodes = number.filter(|number| *number > 0),
            _ => {}
        }
    }
}

/// The numbers of a line.
struct Fields([f64; FIELDS]);

impl Fields {
    fn parse(line: &str) -> Result<Self, String> {
        let count = line.split_ascii_whitespace().count();
        if count != FIELDS {
            return Err(format!("it has {count} fields of {FIELDS}"));
        }
        let mut values = [0.0; FIELDS];
        let words = line.split_ascii_whitespace();
        for (place, (value, word)) in values.iter_mut().zip(words).enumerate() {
            *value = match word.parse::<f64>() {
                Ok(number) if number.is_finite() && number.abs() <= MAX_VALUE => number,
                _ => return Err(format!("field {} is no number that can be", place + 1)),
            };
        }
        Ok(Self(values))
    }

    /// `None` where it is not known.
    fn value(&self, place: usize) -> Option<f64> {
        self.0.get(place).copied().filter(|value| *value >= 0.0)
    }

    fn positive(&self, place: usize) -> Option<f64> {
        self.value(place).filter(|value| *value > 0.0)
    }
}

fn job(fields: &Fields, users: &mut Users) -> Result<Job, Unusable> {
    let status = fields.value(field::STATUS);
    // Of a job that was stopped and went on, 2, 3 and 4 are its parts, and its sum is 0 or 1.
    if status.is_some_and(|status| (2.0..=4.0).contains(&status)) {
        return Err(Unusable::Other(Reason::Partial));
    }
    let submit = fields.value(field::SUBMIT).ok_or_else(|| {
        Unusable::Malformed("field 2, when it was submitted, is negative".to_owned())
    })?;
    let cancelled = status == Some(5.0);
    let run = fields.value(field::RUN_TIME);
    if cancelled && run.is_none_or(|run| run == 0.0) {
        return Err(Unusable::Other(Reason::NeverRan));
    }
    let run = run.ok_or(Unusable::Other(Reason::NoRunTime))?;
    let tasks = fields
        .positive(field::REQUESTED_PROCESSORS)
        .or_else(|| fields.positive(field::PROCESSORS))
        .ok_or(Unusable::Other(Reason::NoProcessors))?;
    let user = match fields.value(field::USER) {
        Some(number) => users.number(&format!("{number}")),
        None => users.number("unknown"),
    };
    Ok(Job {
        name: format!("{}", fields.0[field::JOB]).into(),
        submit_ms: milliseconds(submit),
        run_ms: Some(milliseconds(run)),
        limit_ms: fields.positive(field::REQUESTED_TIME).map(milliseconds),
        tasks: tasks as u32,
        each: Request { cpu_milli: 1000, ..Request::default() },
        class: fields.value(field::QUEUE).map(|queue| format!("queue-{queue}").into()),
        partition: fields.value(field::PARTITION).map(|part| format!("partition-{part}").into()),
        user,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Job, String> {
        match Swf::default().job(line, &mut Users::default()) {
            Ok(job) => Ok(job.unwrap()),
            Err(Unusable::Malformed(problem)) => Err(problem),
            Err(Unusable::Other(reason)) => Err(reason.to_string()),
        }
    }

    #[test]
    fn a_line_is_a_job() {
        let job = read("7 120 3 60.5 4 -1 -1 8 300 -1 1 42 1 2 3 5 -1 -1").unwrap();
        assert_eq!((&*job.name, job.submit_ms, job.tasks), ("7", 120_000, 8));
        assert_eq!((job.run_ms, job.limit_ms), (Some(60_500), Some(300_000)));
        assert_eq!(
            (job.class, job.partition),
            (Some("queue-3".into()), Some("partition-5".into()))
        );
    }

    #[test]
    fn what_is_not_known_is_taken_from_what_is() {
        let job = read("7 0 -1 60 4 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1").unwrap();
        assert_eq!((job.tasks, job.limit_ms), (4, None), "the processors that it had");
    }

    #[test]
    fn lines_that_are_no_job_say_why() {
        for (line, why) in [
            ("7 0 -1 60 4", "it has 5 fields of 18"),
            ("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19", "it has 19 fields of 18"),
            (
                "7 0 -1 x 4 -1 -1 -1 -1 -1 1 -1 -1 -1 -1 -1 -1 -1",
                "field 4 is no number that can be",
            ),
            (
                "7 0 -1 NaN 4 -1 -1 -1 -1 -1 1 -1 -1 -1 -1 -1 -1 -1",
                "field 4 is no number that can be",
            ),
            (
                "7 -5 -1 60 4 -1 -1 -1 -1 -1 1 -1 -1 -1 -1 -1 -1 -1",
                "field 2, when it was submitted, is negative",
            ),
            ("7 0 -1 -1 4 -1 -1 -1 -1 -1 1 -1 -1 -1 -1 -1 -1 -1", "no run time"),
            ("7 0 -1 60 -1 -1 -1 0 -1 -1 1 -1 -1 -1 -1 -1 -1 -1", "no processors"),
            ("7 0 -1 0 4 -1 -1 -1 -1 -1 5 -1 -1 -1 -1 -1 -1 -1", "cancelled before it ran"),
            ("7 0 -1 60 4 -1 -1 -1 -1 -1 3 -1 -1 -1 -1 -1 -1 -1", "part of another job"),
        ] {
            assert_eq!(read(line), Err(why.to_owned()), "{line}");
        }
    }

    #[test]
    fn a_job_that_ended_at_once_or_was_killed_is_one() {
        assert_eq!(
            read("7 0 -1 0 4 -1 -1 -1 -1 -1 1 -1 -1 -1 -1 -1 -1 -1").unwrap().run_ms,
            Some(0)
        );
        assert!(read("7 0 -1 60 4 -1 -1 -1 -1 -1 5 -1 -1 -1 -1 -1 -1 -1").is_ok());
    }

    #[test]
    fn the_header_says_how_large_the_cluster_was() {
        let mut swf = Swf::default();
        let mut said = |comment: &str| {
            assert!(matches!(swf.job(comment, &mut Users::default()), Ok(None)));
            swf.processors()
        };
        assert_eq!(said("; Version: 2.2"), None);
        assert_eq!(said(";   MaxNodes: 128 (two processors each)"), Some(128));
        assert_eq!(said("; MaxProcs: 256"), Some(256));
        assert_eq!(said("; Note"), Some(256));
        assert_eq!(said("; MaxProcs: -1"), Some(128), "-1 is not known");
    }
}
