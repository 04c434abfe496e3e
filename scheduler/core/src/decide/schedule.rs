//! Jobs that come again and again: schedules come and go, and their runs are submitted
//! when they are due. A run takes the same way as any submission, and is recorded twice:
//! as the job, then on its schedule. Whatever dies between the two, the id of the
//! submission follows from the schedule and the time, so that the job is not made again.

use wrun_protocol::job::EncodedSpec;
use wrun_protocol::schedule::{MAX_RUNS, Missed, Overlap, Schedule};
use wrun_protocol::scheduling::{Dependency, DependsOn};
use wrun_protocol::time::millis;
use wrun_protocol::wire::schedule::WhyLeftOut;
use wrun_protocol::wire::user::{ErrorCode, RequestError};
use wrun_protocol::wire::worker::ComponentKind;
use wrun_protocol::{JobId, SubmitId, TenantName, Timestamp};

use crate::core::Core;
use crate::effect::Answer;
use crate::fact::Fact;
use crate::state::groups::{GroupKey, TenantIx};
use crate::state::schedules::{Entry, Key};

/// Most bytes of a reason that are kept with a schedule.
const MAX_REASON: usize = 512;

impl Core {
    pub(crate) fn on_add_schedule(
        &mut self,
        tenant: TenantName,
        kind: ComponentKind,
        schedule: Box<Schedule>,
    ) -> Result<Answer, RequestError> {
        let mut spec = schedule
            .check()
            .map_err(|error| RequestError::new(ErrorCode::InvalidInput, error.to_string()))?;
        if spec.service.is_some() {
            let text = "a service stays: deploy it with `wrun deploy`";
            return Err(RequestError::new(ErrorCode::InvalidInput, text));
        }
        let name = &schedule.name;
        if let Some(known) = self.state.schedules.find(&(tenant.clone(), name.clone())) {
            if known.schedule == *schedule {
                return Ok(Answer::Done);
            }
            let text = format!("there is a schedule `{name}` already: remove it first");
            return Err(RequestError::new(ErrorCode::Conflict, text));
        }
        self.check_period(&schedule)?;
        let (most, have) =
            (self.config.max_schedules_per_tenant, self.state.schedules.count(&tenant));
        if have >= most {
            let text = format!("the tenant has {have} schedules, the most allowed: remove one");
            return Err(RequestError::new(ErrorCode::LimitReached, text));
        }
        self.check_models(&tenant, &spec)?;
        self.check_wishes(&tenant, &mut spec)?;
        let of = self.state.tenants.find(&tenant).unwrap_or(TenantIx::MAX);
        let key = GroupKey::of(of, JobId(self.state.next_job), spec);
        self.check_at_once(&tenant, &key)?;
        self.check_fits(&key)?;
        self.append(Fact::ScheduleAdded { at: self.now, tenant, kind, schedule });
        Ok(Answer::Done)
    }

    fn check_period(&self, schedule: &Schedule) -> Result<(), RequestError> {
        let (gap, least) = (schedule.cron.least_gap(), self.config.least_schedule_period);
        if gap < least {
            let text = format!(
                "cron: `{}` is due every {gap:?}, and {least:?} is the least allowed: let one job do the work of several runs",
                schedule.cron
            );
            return Err(RequestError::new(ErrorCode::InvalidInput, text));
        }
        let first = schedule.cron.next_after(self.now);
        if first.is_none_or(|first| schedule.until.is_some_and(|until| first > until)) {
            let text = "until: it would never be due, since its end comes before its first run; choose a later end";
            return Err(RequestError::new(ErrorCode::InvalidInput, text));
        }
        Ok(())
    }

    pub(crate) fn on_remove_schedule(&mut self, key: Key) -> Result<Answer, RequestError> {
        self.state.schedules.find(&key).ok_or_else(|| no_schedule(&key))?;
        let (tenant, name) = key;
        self.append(Fact::ScheduleRemoved { at: self.now, tenant, name });
        Ok(Answer::Done)
    }

    pub(crate) fn on_pause_schedule(
        &mut self,
        key: Key,
        paused: bool,
    ) -> Result<Answer, RequestError> {
        let known = self.state.schedules.find(&key).ok_or_else(|| no_schedule(&key))?;
        if known.paused != paused {
            let (tenant, name) = key;
            self.append(Fact::SchedulePaused { at: self.now, tenant, name, paused });
        }
        Ok(Answer::Done)
    }

    /// Deals with every schedule that is due. Each time at least one fact moves it on.
    pub(crate) fn run_schedules(&mut self) {
        while let Some((due, key)) = self.state.schedules.first_due()
            && *due <= self.now
        {
            let (due, key) = (*due, key.clone());
            let late = millis(self.config.missed_after);
            let punctual = Timestamp(self.now.0.saturating_sub(late));
            if due >= punctual {
                self.run_schedule(&key, due);
            } else {
                self.make_up(&key, due, Timestamp(punctual.0.saturating_sub(1)));
            }
        }
    }

    /// No server ran from `first`, when it was due, to `last`.
    fn make_up(&mut self, key: &Key, first: Timestamp, last: Timestamp) {
        let Some(entry) = self.state.schedules.find(key) else { return };
        let (made_up, left_out) = missed(&entry.schedule, first, last);
        if let Some(due) = left_out {
            self.append_due(key, due, Err(WhyLeftOut::Missed));
        }
        made_up.into_iter().for_each(|due| self.run_schedule(key, due));
    }

    fn run_schedule(&mut self, key: &Key, due: Timestamp) {
        let Some(entry) = self.state.schedules.find(key) else { return };
        let id = entry.submit_id(due);
        let tenant = self.state.tenants.find(&key.0);
        let run = match tenant.and_then(|tenant| self.state.submitted(tenant, id)) {
            Some(job) => Ok(job),
            None => self.submit_run(key.0.clone(), entry.clone(), id),
        };
        self.append_due(key, due, run);
    }

    fn append_due(&mut self, key: &Key, due: Timestamp, run: Result<JobId, WhyLeftOut>) {
        let (at, (tenant, name)) = (self.now, key.clone());
        self.append(Fact::ScheduleDue { at, tenant, name, due, run });
    }

    fn submit_run(
        &mut self,
        tenant: TenantName,
        entry: Entry,
        id: SubmitId,
    ) -> Result<JobId, WhyLeftOut> {
        let Entry { schedule, kind, live, .. } = entry;
        let mut spec = schedule.spec;
        if let Some(latest) = live.last() {
            match schedule.overlap {
                Overlap::Skip => return Err(WhyLeftOut::Overlaps(*latest)),
                Overlap::Queue if live.len() >= MAX_RUNS => {
                    return Err(WhyLeftOut::Overlaps(*latest));
                }
                Overlap::Queue => spec = waiting_for(&spec, live.iter().copied())?,
                Overlap::Replace => live.iter().for_each(|job| self.cancel_job(*job)),
            }
        }
        self.on_submit(tenant, id, kind, spec, &[]).map_err(refused)
    }
}

/// Which of the times from `first` to `last`, when no server ran, are made up for, and the
/// last one before them that is not.
fn missed(
    schedule: &Schedule,
    first: Timestamp,
    last: Timestamp,
) -> (Vec<Timestamp>, Option<Timestamp>) {
    let last = schedule.until.map_or(last, |until| last.min(until));
    let until = |at| schedule.cron.last_until(at).filter(|due| *due >= first);
    let before = |due: &Timestamp| until(Timestamp(due.0.checked_sub(1)?));
    let most = match schedule.missed {
        Missed::Skip => 0,
        Missed::Once => 1,
        Missed::All => MAX_RUNS,
    };
    let mut backwards = std::iter::successors(until(last), before);
    let mut made_up: Vec<Timestamp> = backwards.by_ref().take(most).collect();
    made_up.reverse();
    (made_up, backwards.next())
}

/// The job, to be placed when those others have ended.
fn waiting_for(
    spec: &EncodedSpec,
    others: impl Iterator<Item = JobId>,
) -> Result<EncodedSpec, WhyLeftOut> {
    let invalid = |error: wrun_protocol::job::SpecError| {
        refused(RequestError::new(ErrorCode::InvalidInput, error.to_string()))
    };
    let mut decoded = spec.decode().map_err(invalid)?;
    let ends = others.map(|job| Dependency { job, on: DependsOn::End });
    decoded.scheduling.depends_on = ends.collect();
    EncodedSpec::encode(&decoded).map_err(invalid)
}

fn refused(mut error: RequestError) -> WhyLeftOut {
    if error.message.len() > MAX_REASON {
        let end = error.message.floor_char_boundary(MAX_REASON - '…'.len_utf8());
        error.message.truncate(end);
        error.message.push('…');
    }
    WhyLeftOut::Refused(error)
}

fn no_schedule((_, name): &Key) -> RequestError {
    RequestError::new(
        ErrorCode::NotFound,
        format!("there is no schedule `{name}`; `wrun schedules` lists those there are"),
    )
}
