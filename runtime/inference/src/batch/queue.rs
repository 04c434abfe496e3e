//! Which requests of a model run next, and which together. A pure state machine: it has no
//! clock, no thread and no tensors; time is an argument, and what it decides is polled.
//!
//! A free place and a request make a run. It starts at once where the model is idle, and is
//! held for company, for the model's delay at most, where others show that there may be some.
//! Tenants take turns by deficit round-robin, charged by what their requests weigh; of one
//! tenant the nearest deadline goes first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use wrun_protocol::TenantName;

use super::turns::Turns;

/// How a queue works.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Most rows in a run.
    pub(crate) max_batch: u32,
    /// How long a request is held for company.
    pub(crate) max_delay: Duration,
    /// Runs at once.
    pub(crate) places: usize,
    /// Most requests that wait.
    pub(crate) waiting: usize,
    /// Of these, most of one tenant.
    pub(crate) waiting_per_tenant: usize,
}

/// What is queued. `K` says with which others it may run; `T` is carried along.
#[derive(Debug)]
pub(crate) struct Request<K, T> {
    pub(crate) tenant: TenantName,
    /// The tenant's share, against those of others.
    pub(crate) weight: u32,
    /// Runs with requests of the same key; `None`: alone.
    pub(crate) key: Option<K>,
    /// What it fills of a run.
    pub(crate) rows: u32,
    /// What it costs its tenant.
    pub(crate) cost: u64,
    pub(crate) deadline: Instant,
    pub(crate) payload: T,
}

/// A request, in the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RequestId(u64);

/// A run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RunId(u64);

/// Why a request is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The queue is full.
    Full,
    /// The tenant's part of it is.
    TenantFull,
}

/// What is to be told to others.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// The deadline is over: answer so. It will not be run, or its result is not wanted.
    Expired { request: RequestId, started: bool },
    /// Nobody wants the results of this run any more. It holds its place until it is over.
    Abandoned { run: RunId },
}

/// Requests to be run together. It holds a place until [`Queue::ended`].
#[derive(Debug)]
pub(crate) struct Started<T> {
    pub(crate) run: RunId,
    pub(crate) requests: Vec<(RequestId, T)>,
}

struct Waiting<K> {
    tenant: TenantName,
    key: Option<K>,
    rows: u32,
    deadline: Instant,
    /// Until when it is held for company at most.
    due: Instant,
}

struct Run {
    rows: u64,
    /// Its requests that are still wanted.
    wanted: BTreeMap<RequestId, Instant>,
}

/// The queue of one model.
pub(crate) struct Queue<K, T> {
    settings: Settings,
    turns: Turns<K, T>,
    waiting: BTreeMap<RequestId, Waiting<K>>,
    due: BTreeSet<(Instant, RequestId)>,
    deadlines: BTreeSet<(Instant, RequestId)>,
    /// Rows that wait, by key.
    rows: BTreeMap<Option<K>, u64>,
    runs: BTreeMap<RunId, Run>,
    started: BTreeMap<RequestId, RunId>,
    abandoned: Vec<RunId>,
    /// When the last run was over, and the rows it had.
    last: Option<(Instant, u64)>,
    next: u64,
}

impl<K: Ord + Clone, T> Queue<K, T> {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            turns: Turns::default(),
            waiting: BTreeMap::new(),
            due: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            rows: BTreeMap::new(),
            runs: BTreeMap::new(),
            started: BTreeMap::new(),
            abandoned: Vec::new(),
            last: None,
            next: 0,
        }
    }

    /// How many requests wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The tenant who is looked at first when a run is put together.
    pub(crate) fn next_tenant(&self) -> Option<TenantName> {
        self.turns.first().cloned()
    }

    /// How many requests run whose results are wanted.
    pub(crate) fn running(&self) -> usize {
        self.started.len()
    }

    /// Takes a request. One that is refused is given back, with the reason.
    pub(crate) fn push(
        &mut self,
        now: Instant,
        request: Request<K, T>,
    ) -> Result<RequestId, (Refused, T)> {
        let Settings { max_delay, waiting, waiting_per_tenant, .. } = self.settings;
        if self.waiting.len() >= waiting {
            return Err((Refused::Full, request.payload));
        }
        if self.turns.waiting(&request.tenant) >= waiting_per_tenant {
            return Err((Refused::TenantFull, request.payload));
        }
        self.next += 1;
        let id = RequestId(self.next);
        let Request { tenant, key, rows, deadline, .. } = &request;
        // Who has little time is not held until it is used up.
        let latest = deadline.checked_sub(max_delay).unwrap_or(now).max(now);
        let due = (now + max_delay).min(latest);
        *self.rows.entry(key.clone()).or_default() += u64::from(*rows);
        self.due.insert((due, id));
        self.deadlines.insert((*deadline, id));
        let place = Waiting {
            tenant: tenant.clone(),
            key: key.clone(),
            rows: *rows,
            deadline: *deadline,
            due,
        };
        self.waiting.insert(id, place);
        self.turns.push(id, request);
        Ok(id)
    }

    /// Forgets a request whose caller has gone.
    pub(crate) fn cancel(&mut self, id: RequestId) {
        if self.forget_waiting(id).is_none() {
            self.forget_started(id);
        }
    }

    /// A run is over. Gives those of its requests that are still to be answered.
    pub(crate) fn ended(&mut self, now: Instant, run: RunId) -> Vec<RequestId> {
        let Some(Run { rows, wanted }) = self.runs.remove(&run) else { return Vec::new() };
        self.last = Some((now, rows));
        for (request, deadline) in &wanted {
            self.started.remove(request);
            self.deadlines.remove(&(*deadline, *request));
        }
        wanted.into_keys().collect()
    }

    /// Forgets everything that waits or runs, and gives what is to be answered.
    pub(crate) fn clear(&mut self) -> Vec<RequestId> {
        let waiting: Vec<_> = self.waiting.keys().copied().collect();
        let started: Vec<_> = self.started.keys().copied().collect();
        let all = [waiting, started].concat();
        all.iter().for_each(|request| self.cancel(*request));
        all
    }

    /// The next thing to be told, if there is any at this time.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Output> {
        if let Some(&(deadline, request)) = self.deadlines.first()
            && deadline <= now
        {
            let started = self.forget_waiting(request).is_none();
            if started {
                self.forget_started(request);
            }
            return Some(Output::Expired { request, started });
        }
        self.abandoned.pop().map(|run| Output::Abandoned { run })
    }

    /// Whether a run can start at this time.
    pub(crate) fn is_ready(&self, now: Instant) -> bool {
        self.ready_at().is_some_and(|at| at.is_none_or(|at| at <= now))
    }

    /// Starts a run, if one can: with whoever's turn it is, and those who may run with it.
    pub(crate) fn start(&mut self, now: Instant) -> Option<Started<T>> {
        if !self.is_ready(now) {
            return None;
        }
        let max_batch = self.settings.max_batch;
        let (first, payload) = self.turns.next()?;
        let Waiting { key, rows, deadline, .. } = self.unlist(first)?;
        let mut requests = vec![(first, payload)];
        let mut wanted = BTreeMap::from([(first, deadline)]);
        let mut filled = rows;
        while let Some(key) = &key
            && let Some(room) = max_batch.checked_sub(filled).filter(|room| *room > 0)
            && let Some((id, payload)) = self.turns.next_with(key, room)
        {
            let Waiting { rows, deadline, .. } = self.unlist(id)?;
            filled += rows;
            wanted.insert(id, deadline);
            requests.push((id, payload));
        }
        self.next += 1;
        let run = RunId(self.next);
        self.started.extend(wanted.keys().map(|id| (*id, run)));
        self.runs.insert(run, Run { rows: u64::from(filled), wanted });
        Some(Started { run, requests })
    }

    /// When to poll again at the latest, if nothing else happens.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let ready = self.ready_at().flatten();
        self.poll_deadline().into_iter().chain(ready).min()
    }

    /// The same for one who will try to start a run before that anyway.
    pub(crate) fn poll_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// When a run can start: never without room or requests, at once (`Some(None)`) where
    /// holding requests back promises nothing, else at a certain time.
    fn ready_at(&self) -> Option<Option<Instant>> {
        let Settings { max_batch, max_delay, places, .. } = self.settings;
        let &(due, _) = self.due.first()?;
        if self.runs.len() >= places {
            return None;
        }
        let full = |(key, rows): (&Option<K>, &u64)| key.is_none() || *rows >= u64::from(max_batch);
        if self.rows.iter().any(full) {
            return Some(None);
        }
        if !self.runs.is_empty() {
            return Some(Some(due));
        }
        // Those who were answered together a moment ago may be about to ask again together.
        match self.last {
            Some((ended, rows))
                if rows > 1 && self.rows.values().all(|waiting| *waiting < rows) =>
            {
                Some(Some(due.min(ended + max_delay)))
            }
            _ => Some(None),
        }
    }

    /// Takes a request out of all lists of those that wait but the turns. Its deadline stays.
    fn unlist(&mut self, id: RequestId) -> Option<Waiting<K>> {
        let place = self.waiting.remove(&id)?;
        self.due.remove(&(place.due, id));
        if let Some(rows) = self.rows.get_mut(&place.key) {
            *rows = rows.saturating_sub(u64::from(place.rows));
            if *rows == 0 {
                self.rows.remove(&place.key);
            }
        }
        Some(place)
    }

    fn forget_waiting(&mut self, id: RequestId) -> Option<()> {
        let Waiting { tenant, key, deadline, .. } = self.unlist(id)?;
        self.deadlines.remove(&(deadline, id));
        self.turns.remove(&tenant, &key, deadline, id);
        Some(())
    }

    fn forget_started(&mut self, id: RequestId) {
        let Some(run_id) = self.started.remove(&id) else { return };
        let Some(run) = self.runs.get_mut(&run_id) else { return };
        if let Some(deadline) = run.wanted.remove(&id) {
            self.deadlines.remove(&(deadline, id));
        }
        if run.wanted.is_empty() {
            self.abandoned.push(run_id);
        }
    }
}

#[cfg(test)]
mod tests;
