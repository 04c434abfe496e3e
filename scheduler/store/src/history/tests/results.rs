//! What the history remembers of tasks' results.

use wrun_core::Remembered;

use super::*;

fn cached(job: u64, of: u64, count: u32) -> Fact {
    let mut spec = JobSpec::new(Digest([1; 32]));
    spec.count = count;
    spec.args = vec![of.to_string()];
    spec.scheduling.cache = true;
    let Fact::JobSubmitted { at, job, id, kind, .. } = submitted(job, count) else { panic!() };
    let tenant = "lab".parse().unwrap();
    Fact::JobSubmitted { at, job, tenant, id, kind, spec: EncodedSpec::encode(&spec).unwrap() }
}

fn gave(job: u64, index: u32, output: &'static [u8], ends_job: Option<JobState>) -> Fact {
    let output = Some(Content::Inline(Bytes::from_static(output)));
    let result = TaskResult { outcome: Outcome::Succeeded, usage: USED, output, log: None };
    let (attempt, next) = (JobId(job).task(index).attempt(1), Next::Final { ends_job });
    Fact::Ended { at: Timestamp(job + 2), node: NODE, attempt, result: Box::new(result), next }
}

fn runs(job: u64, of: u64, output: &'static [u8]) -> Vec<Fact> {
    vec![cached(job, of, 1), placed(job), gave(job, 0, output, Some(JobState::Succeeded))]
}

fn known(history: &History, tenant: &str, of: u64, count: u32) -> Vec<(u32, u64)> {
    let Fact::JobSubmitted { spec, kind, .. } = cached(1, of, count) else { panic!() };
    let keys = keys(&tenant.parse().unwrap(), kind, &spec.decode().unwrap());
    let keys: Vec<_> = (0..count).map(|index| (index, keys.of_task(index))).collect();
    let found = history.remembered(&keys).unwrap();
    found.into_iter().map(|known| (known.index, known.from.0)).collect()
}

#[test]
fn what_a_task_gave_is_known_until_another_gives_it_anew_and_by_its_tenant_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (history, mut story) = (open(&dir).history, Story::new());
    assert!(known(&history, "lab", 1, 1).is_empty());
    story.tell(&history, runs(1, 1, b"one"));
    assert_eq!(known(&history, "lab", 1, 1), [(0, 1)], "before anyone asked for a commit");
    assert!(known(&history, "other", 1, 1).is_empty());
    assert!(known(&history, "lab", 2, 1).is_empty());
    story.tell(&history, runs(2, 1, b"one"));
    assert_eq!(known(&history, "lab", 1, 1), [(0, 2)]);
    drop(history);
    assert_eq!(known(&open(&dir).history, "lab", 1, 1), [(0, 2)], "after a restart");
}

#[test]
fn of_an_array_only_the_tasks_that_succeeded_are_known() {
    let dir = tempfile::tempdir().unwrap();
    let (history, mut story) = (open(&dir).history, Story::new());
    let placed = Fact::Placed { at: Timestamp(4), node: NODE, tasks: vec![assignment(3, 1, 0, 4)] };
    story.tell(&history, [cached(3, 3, 4), placed, gave(3, 2, b"two", None)]);
    story.tell(&history, [failed(3, 1, 1, Next::Final { ends_job: None })]);
    story.tell(&history, [succeeded(9, assignment(3, 1, 0, 1), None)]);
    assert!(known(&history, "lab", 3, 4).is_empty(), "the job has not ended");
    let ends_job = Some(JobState::Failed);
    story.tell(&history, [failed(3, 3, 1, Next::Final { ends_job })]);
    assert_eq!(known(&history, "lab", 3, 4), [(0, 3), (2, 3)]);
}

#[test]
fn a_remembered_task_reads_like_one_that_ran_and_tells_from_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (history, mut story) = (open(&dir).history, Story::new());
    story.tell(&history, runs(1, 1, b"one"));
    let at = Timestamp(50);
    for (job, count) in [(2, 1), (3, 3)] {
        let task = |index| Remembered {
            index,
            from: JobId(1),
            output: Some(Content::Inline(Bytes::from_static(b"one"))),
            log: None,
        };
        let (tasks, ends_job) = ((0..count).map(task).collect(), Some(JobState::Succeeded));
        story.tell(&history, [cached(job, job, count)]);
        story.tell(&history, [Fact::Remembered { at, job: JobId(job), tasks, ends_job }]);
    }
    for commit in [false, true] {
        if commit {
            history.flush().unwrap();
        }
        for (job, count) in [(2, 1), (3, 3)] {
            let row = history.job(JobId(job)).unwrap().unwrap();
            assert_eq!((row.state, row.succeeded), (JobState::Succeeded, count));
            let task = history.task(JobId(job).task(count - 1)).unwrap().unwrap();
            assert_eq!((task.attempt, task.node, task.state), (0, None, TaskState::Succeeded));
            assert_eq!(task.output, Some(Content::Inline(Bytes::from_static(b"one"))));
            let all = IndexRange { first: 0, count };
            assert_eq!(history.origins(JobId(job), 0).unwrap(), [(all, JobId(1))]);
        }
    }
    assert!(known(&history, "lab", 3, 3).is_empty(), "what was remembered is no new result");
}

#[test]
fn the_oldest_results_are_forgotten_when_there_are_too_many_or_they_are_too_old() {
    let dir = tempfile::tempdir().unwrap();
    let results_age = Duration::from_secs(3600);
    let retention = Retention { results: 2, results_age, ..Retention::default() };
    let path = dir.path().join("history.redb");
    let history = History::open(&path, HistoryOptions { retention, ..options() }).unwrap().history;
    let mut story = Story::new();
    story.tell(&history, (1..=3).flat_map(|job| runs(job, job, b"x")));
    assert!(known(&history, "lab", 1, 1).is_empty(), "too many");
    assert_eq!(known(&history, "lab", 2, 1), [(0, 2)]);
    let late = Fact::JobCancelled { at: Timestamp(4_000_000), job: JobId(4) };
    story.tell(&history, [submitted(4, 1), late]);
    assert!(known(&history, "lab", 3, 1).is_empty(), "too old");
}

#[test]
fn a_job_that_ends_with_the_cancellation_of_its_last_tasks_is_in_the_history() {
    let dir = tempfile::tempdir().unwrap();
    let (history, mut story) = (open(&dir).history, Story::new());
    let tasks = vec![IndexRange { first: 0, count: 2 }];
    let (at, job, ends_job) = (Timestamp(9), JobId(1), Some(JobState::Cancelled));
    let cancelled = Fact::TasksCancelled { at, job, tasks, ends_job };
    assert!(History::is_told(&cancelled));
    story.tell(&history, [submitted(1, 2), cancelled]);
    let row = history.job(job).unwrap().unwrap();
    assert_eq!((row.state, row.summary(job).tasks.cancelled), (JobState::Cancelled, 2));
}
