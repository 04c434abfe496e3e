//! The jobs of a group that can be placed, oldest first.
//!
//! Nearly always the oldest leaves and a newer one comes behind all others. The oldest stand
//! in a row of their own, so that the first is seen, taken and followed by the next at one
//! place in memory; the others stand in a tree, from which the row is filled many at a time.

use std::collections::{BTreeSet, VecDeque};

use wrun_protocol::JobId;

/// How many come into the row at a time. At most twice as many stand there.
const ROW: usize = 32;

/// A set of jobs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ready {
    /// The oldest in order; empty only if there are no others.
    row: VecDeque<JobId>,
    /// Those that are younger than all in the row.
    rest: BTreeSet<JobId>,
}

impl Ready {
    pub(crate) fn len(&self) -> usize {
        self.row.len() + self.rest.len()
    }

    pub(crate) fn first(&self) -> Option<JobId> {
        self.row.front().copied()
    }

    /// The one behind the first.
    pub(crate) fn second(&self) -> Option<JobId> {
        self.row.get(1).or_else(|| self.rest.first()).copied()
    }

    pub(crate) fn last(&self) -> Option<JobId> {
        self.rest.last().or(self.row.back()).copied()
    }

    /// Whether it would stand in the row.
    fn is_of_row(&self, job: JobId) -> bool {
        self.row.back().is_some_and(|last| job <= *last)
    }

    pub(crate) fn contains(&self, job: JobId) -> bool {
        if self.is_of_row(job) {
            self.first() == Some(job) || self.row.binary_search(&job).is_ok()
        } else {
            self.rest.contains(&job)
        }
    }

    /// Adds a job. Says whether it was not there.
    pub(crate) fn insert(&mut self, job: JobId) -> bool {
        if self.is_of_row(job) {
            let Err(place) = self.row.binary_search(&job) else { return false };
            self.row.insert(place, job);
            if self.row.len() > 2 * ROW {
                self.rest.extend(self.row.drain(ROW..));
            }
            return true;
        }
        if self.rest.is_empty() && self.row.len() < ROW {
            self.row.push_back(job);
            return true;
        }
        self.rest.insert(job)
    }

    /// Takes a job out. Says whether it was there.
    pub(crate) fn remove(&mut self, job: JobId) -> bool {
        if !self.is_of_row(job) {
            return self.rest.remove(&job);
        }
        if self.first() == Some(job) {
            self.row.pop_front();
        } else {
            let Ok(place) = self.row.binary_search(&job) else { return false };
            self.row.remove(place);
        }
        if self.row.is_empty() {
            let next = std::iter::from_fn(|| self.rest.pop_first());
            self.row.extend(next.take(ROW));
        }
        true
    }

    /// All of them, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = JobId> {
        self.row.iter().chain(&self.rest).copied()
    }

    /// Those that are older, oldest first.
    pub(crate) fn before(&self, job: JobId) -> impl Iterator<Item = JobId> {
        self.iter().take_while(move |other| *other < job)
    }

    /// Those that are younger, oldest first.
    pub(crate) fn after(&self, job: JobId) -> impl Iterator<Item = JobId> {
        self.from(JobId(job.0.saturating_add(1)))
    }

    /// Those that are not older, oldest first.
    pub(crate) fn from(&self, job: JobId) -> impl Iterator<Item = JobId> {
        let first = self.row.partition_point(|other| *other < job);
        self.row.range(first..).chain(self.rest.range(job..)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_what_a_set_has_whatever_comes_and_goes() {
        let (mut ready, mut model, mut random) = (Ready::default(), BTreeSet::new(), 5_u32);
        let mut draw = move |below: u32| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 8) % below
        };
        for step in 0..60_000_u32 {
            // It grows, then shrinks; mostly at its end and from its beginning.
            let comes = draw(16) < if step < 30_000 { 9 } else { 7 };
            let any = JobId(u64::from(draw(step / 4 + 10)));
            let job = match (comes, draw(4)) {
                (_, 0) => any,
                (true, _) => JobId(u64::from(step)),
                (false, _) => model.first().copied().unwrap_or(any),
            };
            if comes {
                assert_eq!(ready.insert(job), model.insert(job));
            } else {
                assert_eq!(ready.remove(job), model.remove(&job));
            }
            assert_eq!(ready.len(), model.len());
            assert_eq!(
                (ready.first(), ready.last()),
                (model.first().copied(), model.last().copied())
            );
            assert_eq!(ready.second(), model.iter().nth(1).copied());
            assert_eq!(ready.contains(any), model.contains(&any));
            assert!(ready.row.len() <= 2 * ROW && (!ready.row.is_empty() || ready.rest.is_empty()));
            if step.is_multiple_of(64) {
                assert!(ready.iter().eq(model.iter().copied()));
                assert!(ready.before(any).eq(model.range(..any).copied()));
                assert!(ready.from(any).eq(model.range(any..).copied()));
            }
        }
    }
}
