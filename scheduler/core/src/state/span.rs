//! Runs of tasks with something in common, kept as ranges and never as single tasks.
//!
//! Two runs that touch and agree are one run: equal contents have one representation,
//! whatever order they came in, so that a recovered state equals the live one.

use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wrun_protocol::wire::worker::Assignment;
use wrun_protocol::{IndexRange, JobId, TaskId};

use super::runs::Runs;

/// What a run has in common besides being consecutive tasks of one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span<T> {
    count: u32,
    attempt: u32,
    tag: T,
}

/// A set of tasks, each with an attempt number and a tag.
#[derive(Clone, Debug)]
pub(crate) struct Spans<T> {
    /// By their first task.
    runs: Runs<Span<T>>,
    /// Tasks in all runs together.
    count: u32,
}

impl<T> Default for Spans<T> {
    fn default() -> Self {
        Self { runs: Runs::default(), count: 0 }
    }
}

impl<T: Copy + Eq + Serialize> Serialize for Spans<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut runs = serializer.serialize_seq(Some(self.runs()))?;
        self.iter().try_for_each(|run| runs.serialize_element(&run))?;
        runs.end()
    }
}

impl<'de, T: Copy + Eq + Deserialize<'de>> Deserialize<'de> for Spans<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let runs = Vec::<(Assignment, T)>::deserialize(deserializer)?;
        let mut spans = Self::default();
        runs.into_iter().for_each(|(run, tag)| spans.insert(run, tag));
        Ok(spans)
    }
}

impl<T: Copy + Eq> Spans<T> {
    /// Adds tasks, none of which is in the set.
    pub(crate) fn insert(&mut self, tasks: Assignment, tag: T) {
        let IndexRange { mut first, mut count } = tasks.tasks;
        self.count = self.count.saturating_add(count);
        let attempt = tasks.attempt;
        let joins = |span: &Span<T>| span.attempt == attempt && span.tag == tag;
        if first > 0
            && let Some((start, span)) =
                self.runs.before(tasks.job.task(first)).filter(|(start, span)| {
                    start.job == tasks.job && start.index + span.count == first && joins(span)
                })
        {
            first = start.index;
            count += span.count;
        }
        let end = tasks.job.task(tasks.tasks.end());
        if self.runs.get(end).as_ref().is_some_and(joins)
            && let Some(next) = self.runs.remove(end)
        {
            count += next.count;
        }
        self.runs.insert(tasks.job.task(first), Span { count, attempt, tag });
    }

    /// The first run that has tasks at or after `from` and before `end`, cut to them.
    fn next(&self, job: JobId, from: u32, end: u32) -> Option<(TaskId, Span<T>)> {
        // Mostly a whole run is asked for.
        let at = job.task(from);
        if let Some(span) = self.runs.get(at) {
            return Some((at, span));
        }
        let before = self.runs.before(at);
        before
            .filter(|(start, span)| start.job == job && from < start.index + span.count)
            .or_else(|| self.runs.from(at).next().filter(|(start, _)| *start < job.task(end)))
    }

    /// Looks where its tasks are.
    pub(super) fn touch(&self) {
        self.runs.touch();
    }

    /// Calls `found` for every run of the set within `tasks` that has their attempt.
    pub(crate) fn overlaps(&self, tasks: Assignment, mut found: impl FnMut(Assignment, T)) {
        let (mut at, end) = (tasks.tasks.first, tasks.tasks.end());
        while at < end {
            let Some((start, span)) = self.next(tasks.job, at, end) else { break };
            let from = at.max(start.index);
            at = end.min(start.index + span.count);
            if span.attempt == tasks.attempt {
                found(part(tasks, from, at), span.tag);
            }
        }
    }

    /// Removes what of `tasks` is in the set with their attempt; calls `taken` for each run.
    pub(crate) fn take(&mut self, tasks: Assignment, mut taken: impl FnMut(Assignment, T)) {
        let (mut at, end) = (tasks.tasks.first, tasks.tasks.end());
        while at < end {
            let Some((start, span)) = self.next(tasks.job, at, end) else { break };
            let (from, span_end) = (at.max(start.index), start.index + span.count);
            at = end.min(span_end);
            if span.attempt != tasks.attempt {
                continue;
            }
            if start.index < from {
                let count = from - start.index;
                self.runs.insert(start, Span { count, ..span });
            } else {
                self.runs.remove(start);
            }
            if at < span_end {
                self.runs.insert(tasks.job.task(at), Span { count: span_end - at, ..span });
            }
            self.count = self.count.saturating_sub(at - from);
            taken(part(tasks, from, at), span.tag);
        }
    }

    /// Removes what of `tasks` is in the set, whatever the attempt; calls `taken` for each run.
    pub(crate) fn take_all(
        &mut self,
        job: JobId,
        tasks: IndexRange,
        mut taken: impl FnMut(Assignment, T),
    ) {
        for (run, _) in self.within(job, tasks) {
            self.take(run, &mut taken);
        }
    }

    /// What of `tasks` is in the set, whatever the attempt.
    pub(crate) fn within(&self, job: JobId, tasks: IndexRange) -> Vec<(Assignment, T)> {
        let mut found = Vec::new();
        let (mut at, end) = (tasks.first, tasks.end());
        while at < end {
            let Some((start, span)) = self.next(job, at, end) else { break };
            let from = at.max(start.index);
            at = end.min(start.index + span.count);
            let tasks = IndexRange { first: from, count: at - from };
            found.push((Assignment { job, attempt: span.attempt, tasks }, span.tag));
        }
        found
    }

    /// How many tasks are in it.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// How many runs there are.
    pub(crate) fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Attempt and tag of one task.
    pub(crate) fn get(&self, task: TaskId) -> Option<(u32, T)> {
        self.next(task.job, task.index, task.index.saturating_add(1))
            .map(|(_, span)| (span.attempt, span.tag))
    }

    /// The lowest run, at most `limit` tasks of it.
    pub(crate) fn first(&self, limit: u32) -> Option<Assignment> {
        self.runs.iter().next().map(|(start, span)| Assignment {
            job: start.job,
            attempt: span.attempt,
            tasks: IndexRange { first: start.index, count: span.count.min(limit) },
        })
    }

    /// Every run in order of job and index; from either end.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (Assignment, T)> {
        self.runs.iter().map(|(start, span)| {
            let tasks = IndexRange { first: start.index, count: span.count };
            (Assignment { job: start.job, attempt: span.attempt, tasks }, span.tag)
        })
    }

    /// The runs of one job that have tasks at or after `from`, in order.
    pub(crate) fn from(&self, job: JobId, from: u32) -> impl Iterator<Item = (Assignment, T)> {
        let begin = self.next(job, from, from.saturating_add(1)).map_or(from, |(at, _)| at.index);
        let of_job = self.runs.from(job.task(begin)).take_while(move |(at, _)| at.job == job);
        of_job.map(|(start, span)| {
            let tasks = IndexRange { first: start.index, count: span.count };
            (Assignment { job: start.job, attempt: span.attempt, tasks }, span.tag)
        })
    }
}

fn part(tasks: Assignment, from: u32, to: u32) -> Assignment {
    Assignment { tasks: IndexRange { first: from, count: to - from }, ..tasks }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn run(first: u32, count: u32, attempt: u32) -> Assignment {
        Assignment { job: JobId(7), attempt, tasks: IndexRange { first, count } }
    }

    fn runs(spans: &Spans<char>) -> Vec<(u32, u32, u32, char)> {
        spans
            .iter()
            .map(|(run, tag)| (run.tasks.first, run.tasks.count, run.attempt, tag))
            .collect()
    }

    #[test]
    fn runs_that_touch_and_agree_become_one() {
        let mut spans = Spans::default();
        spans.insert(run(0, 2, 1), 'a');
        spans.insert(run(4, 2, 1), 'a');
        spans.insert(run(2, 2, 1), 'a');
        spans.insert(run(6, 2, 2), 'a');
        spans.insert(run(8, 2, 2), 'b');
        assert_eq!(runs(&spans), [(0, 6, 1, 'a'), (6, 2, 2, 'a'), (8, 2, 2, 'b')]);
    }

    #[test]
    fn taking_splits_runs_and_leaves_other_attempts() {
        let mut spans = Spans::default();
        spans.insert(run(0, 10, 1), 'a');
        spans.insert(run(10, 5, 2), 'a');
        let mut taken = Vec::new();
        spans.take(run(3, 100, 1), |run, _| taken.push((run.tasks.first, run.tasks.count)));
        assert_eq!(taken, [(3, 7)]);
        assert_eq!(runs(&spans), [(0, 3, 1, 'a'), (10, 5, 2, 'a')]);
        spans.take(run(12, 1, 2), |_, _| ());
        assert_eq!(runs(&spans), [(0, 3, 1, 'a'), (10, 2, 2, 'a'), (13, 2, 2, 'a')]);
    }

    #[test]
    fn behaves_as_a_map_of_single_tasks_would() {
        let mut random = 12345u64;
        let mut draw = |below: u32| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            ((random >> 33) as u32) % below
        };
        let mut spans = Spans::default();
        let mut model = BTreeMap::new();
        for _ in 0..20_000 {
            let wanted = run(draw(60), 1 + draw(12), 1 + draw(3));
            if draw(2) == 0 {
                if wanted.tasks.indices().all(|index| !model.contains_key(&index)) {
                    let tag = if draw(2) == 0 { 'a' } else { 'b' };
                    spans.insert(wanted, tag);
                    model.extend(wanted.tasks.indices().map(|i| (i, (wanted.attempt, tag))));
                }
            } else {
                let mut count = 0;
                spans.take(wanted, |run, _| count += run.tasks.count);
                let before = model.len();
                model.retain(|index, (attempt, _)| {
                    !(wanted.tasks.contains(*index) && *attempt == wanted.attempt)
                });
                assert_eq!(count as usize, before - model.len());
            }
            for index in 0..80 {
                assert_eq!(spans.get(JobId(7).task(index)), model.get(&index).copied());
            }
        }
    }
}
