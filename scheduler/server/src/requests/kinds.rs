//! What the rows of a listing are: jobs that somebody submitted, workflows, the jobs of their
//! steps, or revisions of services.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use wrun_core::workflow::{WorkflowRecord, step_of_submit_id};
use wrun_protocol::JobId;
use wrun_protocol::limits::MAX_PAGE;
use wrun_protocol::wire::user::{ErrorCode, RequestError, Response};
use wrun_protocol::wire::workflow::JobKind;
use wrun_store::{History, HistoryError, JobRow};

use super::refused;
use crate::authorise::Caller;
use crate::shared::Shared;

/// A job that has ended and says by the id of its submission that it is of a step. Anybody
/// may choose such an id: only the workflow knows.
#[derive(Clone, Copy)]
struct Claim {
    /// The row's place.
    place: usize,
    job: JobId,
    workflow: JobId,
    step: u16,
}

pub(super) async fn on_kinds(
    shared: &Shared,
    caller: &Caller,
    jobs: Vec<JobId>,
) -> Result<Response, RequestError> {
    if jobs.len() > MAX_PAGE as usize {
        let text = format!("{} jobs in one request; at most {MAX_PAGE}", jobs.len());
        return Err(refused(ErrorCode::LimitReached, text));
    }
    let asked = jobs.clone();
    let live = shared
        .driver
        .view(move |core| asked.iter().map(|job| core.listed(*job)).collect::<Vec<_>>())
        .await?;
    let mut kinds: Vec<JobKind> = Vec::with_capacity(jobs.len());
    let mut gone = Vec::new();
    for (place, (job, live)) in jobs.into_iter().zip(live).enumerate() {
        let (kind, is_gone) = match live {
            Some((tenant, kind)) if caller.may_see(&tenant) => (kind, false),
            Some(_) => (JobKind::Job, false),
            None => (JobKind::Job, true),
        };
        kinds.push(kind);
        gone.extend(is_gone.then_some((place, job)));
    }
    let found = shared.history(move |history| recorded(history, &gone)).await?;
    let mut claims = Vec::new();
    for (place, job, row) in found.into_iter().filter(|(_, _, row)| caller.may_see(&row.tenant)) {
        if row.workflow().is_some() {
            set(&mut kinds, place, JobKind::Workflow);
        } else if row.spec.decode().is_ok_and(|spec| spec.service.is_some()) {
            set(&mut kinds, place, JobKind::Revision(None));
        } else if let Some((workflow, step)) = step_of_submit_id(row.submit_id) {
            claims.push(Claim { place, job, workflow, step });
        }
    }
    for claim in proven(shared, claims).await? {
        set(&mut kinds, claim.place, JobKind::Step(claim.workflow));
    }
    Ok(Response::JobKinds(kinds))
}

fn set(kinds: &mut [JobKind], place: usize, kind: JobKind) {
    if let Some(of) = kinds.get_mut(place) {
        *of = kind;
    }
}

fn recorded(
    history: &History,
    jobs: &[(usize, JobId)],
) -> Result<Vec<(usize, JobId, JobRow)>, HistoryError> {
    let mut rows = Vec::new();
    for (place, job) in jobs {
        rows.extend(history.job(*job)?.map(|row| (*place, *job, row)));
    }
    Ok(rows)
}

/// Those that their workflow confirms, be it live or ended.
async fn proven(shared: &Shared, claims: Vec<Claim>) -> Result<Vec<Claim>, RequestError> {
    if claims.is_empty() {
        return Ok(claims);
    }
    let asked = claims.clone();
    let live = shared
        .driver
        .view(move |core| {
            let is_step = |claim: &Claim| core.is_of_step(claim.job, claim.workflow, claim.step);
            asked.iter().map(is_step).collect::<Vec<_>>()
        })
        .await?;
    shared
        .history(move |history| {
            let mut records: BTreeMap<JobId, Option<WorkflowRecord>> = BTreeMap::new();
            let mut proven = Vec::new();
            for (claim, live) in claims.into_iter().zip(live) {
                let is_true = match live {
                    Some(is_true) => is_true,
                    None => {
                        let record = match records.entry(claim.workflow) {
                            Entry::Occupied(known) => known.into_mut(),
                            Entry::Vacant(place) => {
                                let row = history.job(claim.workflow)?;
                                place.insert(row.and_then(|row| row.workflow()))
                            }
                        };
                        let steps = record.as_ref().map(|of| &of.steps);
                        let step = steps.and_then(|steps| steps.get(usize::from(claim.step)));
                        step.is_some_and(|step| step.job == Some(claim.job))
                    }
                };
                proven.extend(is_true.then_some(claim));
            }
            Ok(proven)
        })
        .await
}
