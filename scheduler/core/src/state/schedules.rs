//! Jobs that come again and again: when each schedule is due next, and what became of the
//! last times it was.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use wrun_protocol::schedule::Schedule;
use wrun_protocol::wire::schedule::{LeftOut, WhyLeftOut};
use wrun_protocol::wire::worker::ComponentKind;
use wrun_protocol::{JobId, SubmitId, TenantName, Timestamp};

/// A schedule's tenant and name.
pub(crate) type Key = (TenantName, String);

/// Every schedule.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Schedules {
    /// How many there ever were. The number of each goes into the ids of its submissions,
    /// so that none is given twice.
    added: u32,
    by_key: BTreeMap<Key, Entry>,
    /// When each is due next. Derived.
    #[serde(skip)]
    due: BTreeSet<(Timestamp, Key)>,
    /// Whose run a live job is. Derived.
    #[serde(skip)]
    of_job: BTreeMap<JobId, Key>,
}

/// One of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    number: u32,
    pub(crate) schedule: Schedule,
    pub(crate) kind: ComponentKind,
    pub(crate) paused: bool,
    /// `None` while paused, and after its end.
    pub(crate) next: Option<Timestamp>,
    /// Its runs that have not ended.
    pub(crate) live: BTreeSet<JobId>,
    /// When it was due last and submitted a job, and that job.
    pub(crate) last: Option<(Timestamp, JobId)>,
    pub(crate) left_out: Option<LeftOut>,
}

impl Entry {
    /// Of the submission for that time: the same whoever makes it, before and after a
    /// restart.
    pub(crate) fn submit_id(&self, due: Timestamp) -> SubmitId {
        let mut id = [0; 16];
        let parts = [b"cron".as_slice(), &self.number.to_be_bytes(), &due.0.to_be_bytes()];
        id.iter_mut().zip(parts.concat()).for_each(|(byte, part)| *byte = part);
        SubmitId(id)
    }

    fn first_after(&self, at: Timestamp) -> Option<Timestamp> {
        let next = self.schedule.cron.next_after(at)?;
        let over = self.schedule.until.is_some_and(|until| next > until);
        (!over && !self.paused).then_some(next)
    }
}

impl Schedules {
    /// Whether there never was any.
    pub(crate) fn is_empty(&self) -> bool {
        self.added == 0
    }

    pub(crate) fn find(&self, key: &Key) -> Option<&Entry> {
        self.by_key.get(key)
    }

    /// How many a tenant has.
    pub(crate) fn count(&self, tenant: &TenantName) -> usize {
        let first = (tenant.clone(), String::new());
        self.by_key.range(first..).take_while(|((of, _), _)| of == tenant).count()
    }

    /// Those after `key` in order of tenant and name.
    pub(crate) fn after(&self, key: Option<&Key>) -> impl Iterator<Item = (&Key, &Entry)> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.by_key.range((key.map_or(Unbounded, Excluded), Unbounded))
    }

    /// The one that is due first, and when.
    pub(crate) fn first_due(&self) -> Option<&(Timestamp, Key)> {
        self.due.first()
    }

    pub(super) fn add(
        &mut self,
        at: Timestamp,
        tenant: &TenantName,
        kind: ComponentKind,
        schedule: &Schedule,
    ) {
        let key = (tenant.clone(), schedule.name.clone());
        self.remove(&key);
        let entry = Entry {
            number: self.added,
            schedule: schedule.clone(),
            kind,
            paused: false,
            next: None,
            live: BTreeSet::new(),
            last: None,
            left_out: None,
        };
        self.added = self.added.saturating_add(1);
        self.by_key.insert(key.clone(), entry);
        self.go_on(&key, at);
    }

    pub(super) fn remove(&mut self, key: &Key) {
        let Some(entry) = self.by_key.remove(key) else { return };
        if let Some(next) = entry.next {
            self.due.remove(&(next, key.clone()));
        }
        entry.live.iter().for_each(|job| _ = self.of_job.remove(job));
    }

    pub(super) fn pause(&mut self, key: &Key, at: Timestamp, paused: bool) {
        if let Some(entry) = self.by_key.get_mut(key) {
            entry.paused = paused;
            self.go_on(key, at);
        }
    }

    /// It was due then; the job of a run is `live` unless it has ended already.
    pub(super) fn was_due(
        &mut self,
        key: &Key,
        due: Timestamp,
        run: &Result<JobId, WhyLeftOut>,
        live: bool,
    ) {
        let Some(entry) = self.by_key.get_mut(key) else { return };
        match run {
            Ok(job) => {
                entry.last = Some((due, *job));
                if live {
                    entry.live.insert(*job);
                    self.of_job.insert(*job, key.clone());
                }
            }
            Err(why) => entry.left_out = Some(LeftOut { due, why: why.clone() }),
        }
        self.go_on(key, due);
    }

    /// A job has ended, whosever it was.
    pub(super) fn on_job_ended(&mut self, job: JobId) {
        if let Some(key) = self.of_job.remove(&job)
            && let Some(entry) = self.by_key.get_mut(&key)
        {
            entry.live.remove(&job);
        }
    }

    /// It is due next at the first time after `at`.
    fn go_on(&mut self, key: &Key, at: Timestamp) {
        let Some(entry) = self.by_key.get_mut(key) else { return };
        let next = entry.first_after(at);
        if let Some(before) = std::mem::replace(&mut entry.next, next) {
            self.due.remove(&(before, key.clone()));
        }
        self.due.extend(next.map(|next| (next, key.clone())));
    }

    /// What is derived, after a restart from a snapshot.
    pub(super) fn derive(&mut self) {
        for (key, entry) in &self.by_key {
            self.due.extend(entry.next.map(|next| (next, key.clone())));
            self.of_job.extend(entry.live.iter().map(|job| (*job, key.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_submissions_of_schedules_have_one_id() {
        let entry = |number| Entry {
            number,
            schedule: Schedule {
                name: "nightly".to_owned(),
                cron: "@daily".parse().unwrap(),
                overlap: Default::default(),
                missed: Default::default(),
                until: None,
                spec: wrun_protocol::job::EncodedSpec::from_slice(&[]),
            },
            kind: ComponentKind::Command,
            paused: false,
            next: None,
            live: BTreeSet::new(),
            last: None,
            left_out: None,
        };
        let ids = [(0, 0), (0, 1), (1, 0), (1 << 24, 1 << 40)];
        let ids = ids.map(|(number, due)| entry(number).submit_id(Timestamp(due)));
        assert_eq!(BTreeSet::from(ids).len(), 4);
        assert_eq!(&ids[3].0, b"cron\x01\0\0\0\0\0\x01\0\0\0\0\0");
    }
}
