//! The history against a model, and against damage.

use std::time::Duration;

use bytes::Bytes;
use wrun_core::fact::{Next, Success};
use wrun_core::{Config, Core, Fact};
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::task::{Content, Failure, Outcome, Usage};
use wrun_protocol::wire::user::{JobState, TaskState};
use wrun_protocol::wire::worker::{Assignment, ComponentKind, TaskResult};
use wrun_protocol::workflow::{EncodedWorkflow, Step, StepState, Workflow};
use wrun_protocol::{Digest, IndexRange, JobId, JobSpec, NodeId, SubmitId, TenantName, Timestamp};

use super::*;

mod results;

const NODE: NodeId = NodeId(1);
const USED: Usage = Usage { wall_us: 1000, cpu_us: 10, frozen_us: 0, peak_memory: 5 };

fn tenant(job: u64) -> TenantName {
    ["alpha", "beta", "gamma"][job as usize % 3].parse().unwrap()
}

fn state(job: u64) -> JobState {
    [JobState::Succeeded, JobState::Failed, JobState::Cancelled, JobState::Pending]
        [job as usize % 4]
}

fn submit_id(job: u64) -> SubmitId {
    SubmitId(u128::from(job).to_le_bytes())
}

fn submitted(job: u64, count: u32) -> Fact {
    let mut spec = JobSpec::new(Digest([1; 32]));
    (spec.name, spec.count) = (format!("job {job}"), count);
    Fact::JobSubmitted {
        at: Timestamp(job),
        job: JobId(job),
        tenant: tenant(job),
        id: submit_id(job),
        kind: ComponentKind::Handler,
        spec: EncodedSpec::encode(&spec).unwrap(),
    }
}

fn assignment(job: u64, attempt: u32, first: u32, count: u32) -> Assignment {
    Assignment { job: JobId(job), attempt, tasks: IndexRange { first, count } }
}

fn placed(job: u64) -> Fact {
    Fact::Placed { at: Timestamp(job + 1), node: NODE, tasks: vec![assignment(job, 1, 0, 1)] }
}

fn succeeded(at: u64, tasks: Assignment, ends_job: Option<JobState>) -> Fact {
    let tasks = vec![Success { tasks, usage: USED, ends_job }];
    Fact::Succeeded { at: Timestamp(at), node: NODE, tasks }
}

fn failed(job: u64, index: u32, attempt: u32, next: Next) -> Fact {
    let result = TaskResult {
        outcome: Outcome::Failed(Failure::Exit { code: 3 }),
        usage: USED,
        output: None,
        log: Some(Content::Inline(Bytes::from_static(b"log"))),
    };
    let attempt = JobId(job).task(index).attempt(attempt);
    Fact::Ended { at: Timestamp(job + 2), node: NODE, attempt, result: Box::new(result), next }
}

fn ended(job: u64) -> Option<Fact> {
    let last = state(job);
    match last {
        JobState::Succeeded => Some(succeeded(job + 2, assignment(job, 1, 0, 1), Some(last))),
        JobState::Failed => Some(failed(job, 0, 1, Next::Final { ends_job: Some(last) })),
        JobState::Cancelled => Some(Fact::JobCancelled { at: Timestamp(job + 2), job: JobId(job) }),
        _ => None,
    }
}

fn options() -> HistoryOptions {
    HistoryOptions { commit_after: Duration::from_secs(3600), ..HistoryOptions::default() }
}

/// Facts in order, and the core that says what jobs they end.
struct Story {
    core: Core,
    seq: u64,
}

impl Story {
    fn new() -> Self {
        let mut core = Core::new(Config::default());
        let (at, token, name) = (Timestamp(0), [0; 32], "n".to_owned());
        core.apply(&Fact::NodeJoined { at, node: NODE, name, token });
        Self { core, seq: 0 }
    }

    fn tell(&mut self, history: &History, facts: impl IntoIterator<Item = Fact>) {
        for fact in facts {
            self.seq += 1;
            self.core.apply(&fact);
            history.apply(self.seq, &fact, self.core.take_ended());
        }
    }
}

fn jobs(numbers: std::ops::RangeInclusive<u64>) -> impl Iterator<Item = Fact> {
    numbers.flat_map(|job| [Some(submitted(job, 1)), Some(placed(job)), ended(job)]).flatten()
}

fn open(dir: &tempfile::TempDir) -> HistoryOpened {
    History::open(&dir.path().join("history.redb"), options()).unwrap()
}

/// An answer for each of the jobs up to `count` that ended, and none for the others.
fn check(history: &History, count: u64) {
    for filtered in [None, Some(tenant(0)), Some(tenant(1))] {
        for wanted in [None, Some(JobState::Failed), Some(JobState::Pending)] {
            let model = |job: &u64| {
                state(*job).is_terminal()
                    && filtered.as_ref().is_none_or(|name| *name == tenant(*job))
                    && wanted.is_none_or(|wanted| wanted == state(*job))
            };
            let expected: Vec<u64> = (1..=count).rev().filter(model).collect();
            let (mut found, mut before) = (Vec::new(), None);
            loop {
                let filter =
                    JobsFilter { tenant: filtered.clone(), state: wanted, before, limit: 7 };
                let page = history.jobs(&filter).unwrap();
                let Some((last, _)) = page.last() else { break };
                before = Some(*last);
                found.extend(page.iter().map(|(job, _)| job.0));
            }
            assert_eq!(found, expected, "{filtered:?} {wanted:?}");
        }
    }
    for job in 1..=count {
        let by_id = history.job_by_submit_id(&tenant(job), submit_id(job)).unwrap();
        assert_eq!(by_id, state(job).is_terminal().then_some(JobId(job)));
        let row = history.job(JobId(job)).unwrap();
        assert_eq!(row.is_some(), state(job).is_terminal(), "of live jobs nothing is known");
        let Some(row) = row else { continue };
        assert_eq!((row.state, &row.tenant), (state(job), &tenant(job)));
        assert_eq!(row.summary(JobId(job)).name, format!("job {job}"));
        assert_eq!((row.submitted, row.ended), (Timestamp(job), Timestamp(job + 2)));
    }
    assert_eq!(history.job_by_submit_id(&tenant(2), submit_id(1)).unwrap(), None);
}

#[test]
fn answers_are_the_same_before_a_commit_after_it_and_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let (history, mut story) = (open(&dir).history, Story::new());
    story.tell(&history, jobs(1..=50));
    check(&history, 50);
    history.flush().unwrap();
    check(&history, 50);
    story.tell(&history, jobs(51..=90));
    check(&history, 90);
    drop(history);
    let opened = open(&dir);
    assert_eq!(opened.warning, None);
    check(&opened.history, 90);
}

#[test]
fn a_fact_is_applied_once_and_what_may_be_forgotten_lags_one_commit() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(&dir).history;
    for _ in 0..2 {
        history.apply(2, &succeeded(9, assignment(1, 1, 0, 1), None), []);
    }
    history.flush().unwrap();
    let row = history.task(JobId(1).task(0)).unwrap().unwrap();
    assert_eq!((row.usage, history.applied()), (USED, 0));
    history.advance(3, Timestamp(9));
    history.flush().unwrap();
    assert_eq!((history.applied(), history.last()), (2, 3));
    history.settle().unwrap();
    assert_eq!(history.applied(), 3);
    history.settle().unwrap();
}

#[test]
fn successes_of_an_array_share_rows_and_hide_the_attempts_before() {
    for flush in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (history, mut story) = (open(&dir).history, Story::new());
        let retry = Next::Retry { not_before: Timestamp(0) };
        let all = assignment(1, 1, 0, 1000);
        let placed = Fact::Placed { at: Timestamp(2), node: NODE, tasks: vec![all] };
        story.tell(&history, [submitted(1, 1000), placed, failed(1, 150, 1, retry)]);
        let ranges = [(1, 0, 100), (1, 100, 50), (2, 150, 1), (1, 151, 49), (1, 300, 100)];
        let row = history.task(JobId(1).task(150)).unwrap().unwrap();
        assert_eq!((row.state, row.log.is_some()), (TaskState::Pending, true));
        if flush {
            history.flush().unwrap();
        }
        for (attempt, first, count) in ranges {
            let tasks = vec![assignment(1, attempt, first, count)];
            let again = Fact::Placed { at: Timestamp(9), node: NODE, tasks };
            let done = succeeded(9, assignment(1, attempt, first, count), None);
            story.tell(&history, (attempt > 1).then_some(again).into_iter().chain([done]));
        }
        story.tell(&history, [failed(1, 500, 1, Next::Final { ends_job: None })]);
        for _ in 0..2 {
            let rows = history.tasks(JobId(1), 0, 100).unwrap();
            let ranges: Vec<_> =
                rows.iter().map(|row| (row.attempt, row.tasks.first, row.tasks.count)).collect();
            assert_eq!(
                ranges,
                [(1, 0, 150), (2, 150, 1), (1, 151, 49), (1, 300, 100), (1, 500, 1)]
            );
            assert_eq!(history.tasks(JobId(1), 149, 1).unwrap()[0].tasks.first, 0);
            assert_eq!(history.task(JobId(1).task(150)).unwrap().unwrap().detail(150).attempts, 2);
            assert_eq!(history.task(JobId(1).task(250)).unwrap(), None);
            history.flush().unwrap();
        }
        assert_eq!(history.job(JobId(1)).unwrap(), None);
        story.tell(&history, [Fact::JobCancelled { at: Timestamp(20), job: JobId(1) }]);
        let row = history.job(JobId(1)).unwrap().unwrap();
        assert_eq!((row.state, row.summary(JobId(1)).tasks.cancelled), (JobState::Cancelled, 699));
        assert_eq!((row.succeeded, row.failed, row.usage.cpu_us), (300, 1, 70));
        assert_eq!(row.failure, Some(Outcome::Failed(Failure::Exit { code: 3 })));
    }
}

#[test]
fn jobs_beyond_the_retention_are_forgotten_with_everything_of_theirs() {
    let dir = tempfile::tempdir().unwrap();
    let retention = Retention { jobs: 10, age: Duration::from_secs(3600), ..Retention::default() };
    let options = HistoryOptions { retention, ..options() };
    let history = History::open(&dir.path().join("history.redb"), options).unwrap().history;
    let mut story = Story::new();
    story.tell(&history, jobs(1..=40));
    history.flush().unwrap();
    let all = JobsFilter { limit: 1000, ..JobsFilter::default() };
    let left: Vec<_> = history.jobs(&all).unwrap().iter().map(|(job, _)| job.0).collect();
    assert_eq!((left.len(), left[0]), (10, 40));
    assert_eq!(history.job_by_submit_id(&tenant(1), submit_id(1)).unwrap(), None);
    let of_tenant = JobsFilter { tenant: Some(tenant(1)), ..all.clone() };
    let of_tenant: Vec<_> = history.jobs(&of_tenant).unwrap().iter().map(|(id, _)| id.0).collect();
    assert_eq!(of_tenant, left.iter().copied().filter(|id| id % 3 == 1).collect::<Vec<_>>());
    history.advance(1000, Timestamp(4_000_000));
    history.flush().unwrap();
    history.advance(1001, Timestamp(4_100_000));
    history.flush().unwrap();
    assert_eq!(history.jobs(&all).unwrap(), []);
    for job in 1..=40 {
        assert_eq!(history.job_by_submit_id(&tenant(job), submit_id(job)).unwrap(), None);
    }
}

#[test]
fn an_array_whose_last_tasks_are_cancelled_one_by_one_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(&dir).history;
    let tasks = vec![IndexRange { first: 1, count: 2 }];
    let cancelled =
        |tasks, ends_job| Fact::TasksCancelled { at: Timestamp(9), job: JobId(1), tasks, ends_job };
    let first = vec![IndexRange::one(0)];
    let last = Some(JobState::Cancelled);
    Story::new().tell(&history, [submitted(1, 3), cancelled(first, None), cancelled(tasks, last)]);
    let row = history.job(JobId(1)).unwrap().expect("a row");
    assert_eq!((row.state, row.summary(JobId(1)).tasks.cancelled), (JobState::Cancelled, 3));
}

#[test]
fn a_workflow_that_has_ended_is_kept_with_what_became_of_its_steps() {
    let dir = tempfile::tempdir().unwrap();
    let job = EncodedSpec::encode(&JobSpec::new(Digest([1; 32]))).unwrap();
    let steps = vec![Step::new("a", job.clone()), Step::new("b", job)];
    let workflow = Workflow { name: "flow".to_owned(), steps, finally: None };
    let (at, workflow) = (Timestamp(1), EncodedWorkflow::encode(&workflow).unwrap());
    let over = |step, state| Fact::StepEnded { at, workflow: JobId(1), step, state, why: None };
    let facts = [
        Fact::WorkflowSubmitted {
            at,
            job: JobId(1),
            tenant: tenant(1),
            id: submit_id(1),
            workflow: Box::new(workflow),
            kinds: vec![ComponentKind::Command; 2],
            rerun_of: None,
            reused: Vec::new(),
        },
        over(0, StepState::Failed),
        over(1, StepState::Skipped),
        Fact::WorkflowEnded { at: Timestamp(9), job: JobId(1), state: JobState::Failed },
    ];
    let history = open(&dir).history;
    Story::new().tell(&history, facts);
    history.flush().unwrap();
    drop(history);
    let history = open(&dir).history;
    let row = history.job(JobId(1)).unwrap().expect("a row");
    assert_eq!(history.job_by_submit_id(&tenant(1), submit_id(1)).unwrap(), Some(JobId(1)));
    assert_eq!(row.count(), 0, "it has steps, not tasks");
    let detail = row.workflow().expect("a workflow").detail(row.summary(JobId(1)));
    assert_eq!((detail.summary.name.as_str(), detail.summary.state), ("flow", JobState::Failed));
    assert_eq!((detail.summary.tasks.failed, detail.summary.tasks.cancelled), (1, 1));
    let states: Vec<StepState> = detail.steps.iter().map(|step| step.state).collect();
    assert_eq!(states, [StepState::Failed, StepState::Skipped]);
}

#[test]
fn a_job_that_lived_through_many_others_is_found_among_them() {
    let dir = tempfile::tempdir().unwrap();
    let (history, mut story) = (open(&dir).history, Story::new());
    story.tell(&history, (1..=200).map(|job| submitted(job, 1)));
    // They end in another order than they came, a few in each commit.
    for first in 1..=20 {
        for job in (first..=200).step_by(20).filter(|job| state(*job).is_terminal()) {
            story.tell(&history, [Some(placed(job)), ended(job)].into_iter().flatten());
        }
        history.flush().unwrap();
    }
    check(&history, 200);
}

#[test]
fn jobs_with_large_specifications_are_kept_and_forgotten_like_others() {
    let dir = tempfile::tempdir().unwrap();
    let retention = Retention { jobs: 3, age: Duration::from_secs(3600), ..Retention::default() };
    let options = HistoryOptions { retention, ..options() };
    let history = History::open(&dir.path().join("history.redb"), options).unwrap().history;
    let mut story = Story::new();
    let long = |job: u64| vec![format!("{job}").repeat(5000)];
    for id in (1..=12).map(|number| number * 4) {
        let Fact::JobSubmitted { at, job, tenant, id: submit, kind, spec } = submitted(id, 1)
        else {
            panic!("another fact");
        };
        let spec = JobSpec { args: long(id), ..spec.decode().unwrap() };
        let spec = EncodedSpec::encode(&spec).unwrap();
        let come = Fact::JobSubmitted { at, job, tenant, id: submit, kind, spec };
        story.tell(&history, [come, placed(id), ended(id).unwrap()]);
        history.flush().unwrap();
        let row = history.job(job).unwrap().unwrap();
        assert_eq!(row.spec.decode().unwrap().args, long(id));
    }
    let all = JobsFilter { limit: 1000, ..JobsFilter::default() };
    let left: Vec<_> = history.jobs(&all).unwrap().iter().map(|(job, _)| job.0).collect();
    assert_eq!(left, [48, 44, 40]);
}

#[test]
fn a_submission_is_found_though_another_tenant_chose_the_same_id() {
    let dir = tempfile::tempdir().unwrap();
    let (history, mut story) = (open(&dir).history, Story::new());
    for job in 1..=3 {
        let Fact::JobSubmitted { at, job, tenant, kind, spec, .. } = submitted(job, 1) else {
            panic!("another fact");
        };
        let come = Fact::JobSubmitted { at, job, tenant, id: submit_id(9), kind, spec };
        let end = Fact::JobCancelled { at, job };
        story.tell(&history, [come, end]);
    }
    for _ in 0..2 {
        for job in 1..=3 {
            let found = history.job_by_submit_id(&tenant(job), submit_id(9)).unwrap();
            assert_eq!(found, Some(JobId(job)));
        }
        history.flush().unwrap();
    }
}

#[test]
fn damage_at_any_sampled_byte_yields_no_wrong_row_and_no_stop() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(&dir).history;
    Story::new().tell(&history, jobs(1..=60));
    let rows: Vec<_> = (1..=60).map(|job| history.job(JobId(job)).unwrap()).collect();
    drop(history);
    let path = dir.path().join("history.redb");
    let bytes = std::fs::read(&path).unwrap();
    let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    let flips = used.iter().step_by(used.len() / 150 + 1).map(|at| {
        let mut damaged = bytes.clone();
        damaged[*at] ^= 0xff;
        damaged
    });
    let cuts = (0..8).map(|part| bytes[..bytes.len() * part / 8].to_vec());
    let (mut aside, mut total) = (0, 0);
    for damaged in flips.chain(cuts) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("history.redb"), damaged).unwrap();
        let opened = open(&dir);
        aside += u32::from(opened.warning.is_some());
        total += 1;
        let history = opened.history;
        for (job, row) in (1..).zip(&rows) {
            if let Ok(Some(found)) = history.job(JobId(job)) {
                assert_eq!(Some(found), *row);
            }
        }
        let all = JobsFilter { limit: 1000, ..JobsFilter::default() };
        for (job, row) in history.jobs(&all).unwrap_or_default() {
            assert_eq!(Some(row), rows[job.0 as usize - 1]);
        }
        let mut story = Story::new();
        story.seq = 1000;
        story.tell(&history, jobs(1001..=1002));
        history.flush().unwrap();
        let kept = history.job(JobId(1001)).unwrap().unwrap();
        assert_eq!(kept.state, state(1001));
    }
    assert!(aside > 0 && aside < total, "{aside} of {total} were moved aside");
}

#[test]
fn rows_are_encoded_as_they_always_were() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(&dir).history;
    Story::new().tell(&history, jobs(1..=1));
    let row = history.job(JobId(1)).unwrap().unwrap();
    let bytes = row::encode(b"key", 0, &row).unwrap();
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(text, include_str!("golden.txt").trim());
    assert_eq!(row::decode::<JobRow>(b"key", &bytes), Ok(row));
    assert!(row::decode::<JobRow>(b"kex", &bytes).is_err(), "a row under another key");
}
