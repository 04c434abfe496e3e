//! Workflows, worked out by hand: which steps run, are skipped, and what the whole becomes.

use wrun_core::workflow::{Preparation, Prepared, WorkflowRecord};
use wrun_core::{Answer, Effect, Fact, Input, RequestId};
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::scheduling::{Dependency, DependsOn};
use wrun_protocol::wire::user::{ErrorCode, JobState};
use wrun_protocol::wire::worker::{Assignment, ComponentKind};
use wrun_protocol::workflow::{
    EncodedWorkflow, ForEach, Reused, Step, StepMount, StepReason, StepState, When, Workflow,
};
use wrun_protocol::{JobId, JobSpec, SubmitId};

use crate::cluster::{Cluster, answer, assigned, ended, facts, job, ranges, run};

use StepState::{Cancelled, Failed, Preparing, Running, Skipped, Succeeded, Waiting};

pub(crate) fn step(name: &str, needs: &[u16]) -> Step {
    let job = EncodedSpec::encode(&job(1)).unwrap();
    Step { needs: needs.to_vec(), ..Step::new(name, job) }
}

pub(crate) fn workflow(steps: Vec<Step>) -> Workflow {
    Workflow { name: "w".to_owned(), steps, finally: None }
}

/// One workflow on one node, whose steps are prepared as soon as they are due.
pub(crate) struct Play {
    pub(crate) cluster: Cluster,
    id: u64,
    /// What the node was told to run and has not ended.
    placed: Vec<Assignment>,
    /// How many tasks each prepared job gets.
    count: u32,
    prepared: Vec<Preparation>,
    effects: Vec<Effect>,
}

impl Play {
    pub(crate) fn of(workflow: &Workflow) -> Self {
        Self::rerun(workflow, None, Vec::new())
    }

    fn rerun(workflow: &Workflow, rerun_of: Option<JobId>, reused: Vec<Reused>) -> Self {
        let mut cluster = Cluster::new();
        cluster.node(1, 16);
        let mut play =
            Self { cluster, id: 1, placed: vec![], count: 1, prepared: vec![], effects: vec![] };
        let effects = play.cluster.handle(submission(workflow, rerun_of, reused));
        assert_eq!(answer(&effects), Ok(Answer::Submitted(JobId(1))));
        play.follow(effects);
        play
    }

    /// Answers what is to be prepared and notes what was placed, until nothing follows.
    fn follow(&mut self, effects: Vec<Effect>) {
        let mut open = vec![effects];
        while let Some(effects) = open.pop() {
            self.placed.extend(assigned(&effects).into_iter().map(|(_, tasks)| tasks));
            for preparation in preparations(&effects) {
                let spec = made(&preparation, self.count);
                let input = prepared(&preparation, Prepared::Job(spec));
                self.prepared.push(preparation);
                open.push(self.cluster.handle(input));
            }
            self.effects.extend(effects);
        }
    }

    fn states(&self) -> Vec<StepState> {
        states(&self.cluster, self.id)
    }

    fn job_of(&self, name: &str) -> u64 {
        let detail = self.cluster.core.workflow(JobId(self.id)).expect("a live workflow");
        let step = detail.steps.into_iter().find(|step| step.name == name).expect("a step");
        step.job.expect("its job").0
    }

    /// The step's only task ends.
    pub(crate) fn end(&mut self, name: &str, well: bool) {
        let job = self.job_of(name);
        let at = self.placed.iter().position(|tasks| tasks.job.0 == job).expect("it runs");
        let tasks = self.placed.remove(at);
        let effects = match well {
            true => self.cluster.succeed(1, tasks),
            false => self.cluster.fail(1, job, 0, tasks.attempt),
        };
        self.follow(effects);
    }

    fn cancel(&mut self, job: u64) {
        let effects = self.cluster.handle(Input::Cancel { request: RequestId(1), job: JobId(job) });
        assert_eq!(answer(&effects), Ok(Answer::Done));
        self.follow(effects);
    }

    /// How it ended, and what the history is told of its steps.
    fn end_of_all(&self) -> (JobState, Vec<(StepState, Option<StepReason>)>) {
        assert!(!self.cluster.is_live(self.id));
        let end = facts(&self.effects).into_iter().filter_map(|fact| match fact {
            Fact::WorkflowEnded { state, .. } => Some(state),
            _ => None,
        });
        let end: Vec<JobState> = end.collect();
        let kept = ended(&self.effects);
        let record = kept.iter().find_map(|job| WorkflowRecord::of(&job.spec())).expect("a record");
        assert_eq!(end.len(), 1, "it ends once");
        (end[0], record.steps.into_iter().map(|step| (step.state, step.why)).collect())
    }
}

pub(crate) fn submission(
    workflow: &Workflow,
    rerun_of: Option<JobId>,
    reused: Vec<Reused>,
) -> Input {
    Input::SubmitWorkflow {
        request: RequestId(1),
        tenant: "ann".parse().unwrap(),
        id: SubmitId([200; 16]),
        kinds: workflow.every_step().map(|_| ComponentKind::Command).collect(),
        workflow: EncodedWorkflow::encode(workflow).unwrap(),
        rerun_of,
        reused,
    }
}

pub(crate) fn preparations(effects: &[Effect]) -> Vec<Preparation> {
    let asked = effects.iter().filter_map(|effect| match effect {
        Effect::PrepareStep(preparation) => Some((**preparation).clone()),
        _ => None,
    });
    asked.collect()
}

pub(crate) fn prepared(of: &Preparation, prepared: Prepared) -> Input {
    Input::StepPrepared { workflow: of.workflow, step: of.index, prepared }
}

pub(crate) fn made(of: &Preparation, count: u32) -> EncodedSpec {
    let spec = JobSpec { name: of.name.clone(), count, ..of.step.job.decode().unwrap() };
    EncodedSpec::encode(&spec).unwrap()
}

fn states(cluster: &Cluster, id: u64) -> Vec<StepState> {
    let detail = cluster.core.workflow(JobId(id)).expect("a live workflow");
    detail.steps.into_iter().map(|step| step.state).collect()
}

#[test]
fn steps_run_when_what_they_need_has_succeeded() {
    let mut play = Play::of(&workflow(vec![
        step("a", &[]),
        step("b", &[0]),
        step("c", &[0]),
        step("d", &[1, 2]),
    ]));
    assert_eq!(play.states(), [Running, Waiting, Waiting, Waiting]);
    play.end("a", true);
    assert_eq!(play.states(), [Succeeded, Running, Running, Waiting]);
    assert_eq!(play.cluster.core.job(JobId(play.job_of("b"))).unwrap().summary.name, "w/b");
    play.end("c", true);
    assert_eq!(play.states(), [Succeeded, Running, Succeeded, Waiting]);
    let summary = play.cluster.core.workflow_summary(JobId(1)).unwrap();
    assert_eq!((summary.name.as_str(), summary.state), ("w", JobState::Running));
    assert_eq!([summary.tasks.pending, summary.tasks.running, summary.tasks.succeeded], [1, 1, 2]);
    play.end("b", true);
    play.end("d", true);
    let (state, steps) = play.end_of_all();
    assert_eq!(state, JobState::Succeeded);
    assert!(steps.iter().all(|step| *step == (Succeeded, None)));
}

#[test]
fn a_failure_skips_what_comes_after_it_and_nothing_else() {
    let mut play = Play::of(&workflow(vec![
        step("a", &[]),
        step("b", &[0]),
        step("c", &[1]),
        step("other", &[]),
        Step { when: When::Failure, ..step("mend", &[0]) },
        Step { when: When::End, ..step("tell", &[2]) },
        Step { when: When::Failure, ..step("unneeded", &[3]) },
    ]));
    play.end("a", false);
    assert_eq!(play.states(), [Failed, Skipped, Skipped, Running, Running, Running, Waiting]);
    ["other", "mend", "tell"].iter().for_each(|name| play.end(name, true));
    let (state, steps) = play.end_of_all();
    assert_eq!(state, JobState::Failed);
    assert_eq!(steps[1].1, Some(StepReason::NoSuccess("a".to_owned())));
    assert_eq!(steps[2].1, Some(StepReason::NoSuccess("b".to_owned())));
    assert_eq!(steps[6], (Skipped, Some(StepReason::NoFailure)));
}

#[test]
fn a_step_that_may_fail_does_not_make_the_workflow_fail() {
    let may_fail = Step { may_fail: true, ..step("a", &[]) };
    let mut play = Play::of(&workflow(vec![may_fail, step("b", &[0]), step("c", &[])]));
    play.end("a", false);
    play.end("c", true);
    let (state, steps) = play.end_of_all();
    assert_eq!(state, JobState::Succeeded);
    assert_eq!([steps[0].0, steps[1].0], [Failed, Skipped]);
}

#[test]
fn the_last_step_runs_once_when_all_else_is_over_whatever_happened() {
    for well in [true, false] {
        let steps = vec![step("a", &[]), step("b", &[0]), step("c", &[])];
        let finally = Some(step("tidy", &[]));
        let mut play = Play::of(&Workflow { finally, ..workflow(steps) });
        play.end("a", well);
        if well {
            play.end("b", true);
        }
        assert_eq!(play.states()[3], Waiting);
        play.end("c", true);
        assert_eq!(play.states()[3], Running);
        play.end("tidy", true);
        let expected = if well { JobState::Succeeded } else { JobState::Failed };
        assert_eq!(play.end_of_all().0, expected);
    }
}

#[test]
fn a_cancelled_workflow_stops_skips_and_runs_its_last_step() {
    let finally = Some(step("tidy", &[]));
    let steps = vec![step("a", &[]), step("b", &[0])];
    let mut play = Play::of(&Workflow { finally, ..workflow(steps) });
    play.cancel(1);
    assert_eq!(play.states(), [Cancelled, Skipped, Running]);
    play.placed.retain(|tasks| tasks.job.0 != 2);
    play.end("tidy", true);
    let (state, steps) = play.end_of_all();
    assert_eq!(state, JobState::Cancelled);
    assert_eq!(steps[0].1, Some(StepReason::Cancelled));
    assert_eq!(steps[1].1, Some(StepReason::Cancelled));
}

#[test]
fn a_workflow_that_is_cancelled_twice_stops_its_last_step_too() {
    let finally = Some(step("tidy", &[]));
    let mut play = Play::of(&Workflow { finally, ..workflow(vec![step("a", &[])]) });
    play.cancel(1);
    play.cancel(1);
    let (state, steps) = play.end_of_all();
    assert_eq!((state, steps[1].0), (JobState::Cancelled, Cancelled));
}

#[test]
fn a_step_whose_job_is_cancelled_alone_counts_as_not_done() {
    let mut play = Play::of(&workflow(vec![step("a", &[]), step("b", &[0])]));
    let job = play.job_of("a");
    play.cancel(job);
    let (state, steps) = play.end_of_all();
    assert_eq!(state, JobState::Failed);
    assert_eq!(steps[0], (Cancelled, None));
}

#[test]
fn a_step_ends_at_its_time_out() {
    let slow = Step { timeout_ms: Some(5000), ..step("a", &[]) };
    let mut play = Play::of(&workflow(vec![slow]));
    let job = play.job_of("a");
    assert!(play.cluster.is_live(job));
    play.cluster.now.0 += 5000;
    let effects = play.cluster.handle(Input::Timeout);
    play.follow(effects);
    assert_eq!(
        play.end_of_all(),
        (JobState::Failed, vec![(Failed, Some(StepReason::TimedOut(5000)))])
    );
}

#[test]
fn what_a_step_takes_is_gathered_before_its_job_is_made() {
    let taker = Step {
        for_each: Some(ForEach::Lines(0)),
        mounts: vec![StepMount { step: 1, path: "/b".to_owned() }],
        ..step("c", &[])
    };
    let mut play = Play::of(&workflow(vec![step("a", &[]), step("b", &[]), taker]));
    play.count = 3;
    play.end("a", true);
    play.end("b", true);
    let asked = play.prepared.last().unwrap();
    assert_eq!((asked.index, asked.name.as_str()), (2, "w/c"));
    let producers: Vec<_> =
        asked.producers.iter().map(|p| (p.index, p.job, p.succeeded, p.many, p.tasks)).collect();
    assert_eq!(
        producers,
        [(0, Some(JobId(2)), true, false, 1), (1, Some(JobId(3)), true, false, 1)]
    );
    let tasks = run(play.job_of("c"), 1, 0, 3);
    play.follow(Vec::new());
    let effects = play.cluster.succeed(1, tasks);
    play.follow(effects);
    assert_eq!(play.end_of_all().0, JobState::Succeeded);
}

/// A workflow of two steps whose first is done and whose second is being prepared.
fn preparing() -> (Cluster, Preparation) {
    let mut cluster = Cluster::new();
    cluster.node(1, 16);
    let steps = vec![step("a", &[]), step("b", &[0]), step("c", &[1])];
    let effects = cluster.handle(submission(&workflow(steps), None, Vec::new()));
    let first = preparations(&effects).remove(0);
    cluster.handle(prepared(&first, Prepared::Job(made(&first, 1))));
    let effects = cluster.succeed(1, run(2, 1, 0, 1));
    assert_eq!(states(&cluster, 1), [Succeeded, Preparing, Waiting]);
    let second = preparations(&effects).remove(0);
    (cluster, second)
}

#[test]
fn a_step_without_items_has_succeeded_with_nothing_to_do() {
    let (mut cluster, of) = preparing();
    let why = StepReason::NoItems("a".to_owned());
    let effects = cluster.handle(prepared(&of, Prepared::Nothing(why)));
    assert_eq!(states(&cluster, 1), [Succeeded, Succeeded, Preparing]);
    assert_eq!(preparations(&effects)[0].index, 2);
}

#[test]
fn a_step_whose_condition_does_not_hold_is_skipped() {
    let (mut cluster, of) = preparing();
    let why = StepReason::Condition("a".to_owned());
    let effects = cluster.handle(prepared(&of, Prepared::Skip(why)));
    assert!(!cluster.is_live(1));
    let end = facts(&effects).pop().unwrap();
    assert!(matches!(end, Fact::WorkflowEnded { state: JobState::Succeeded, .. }), "{end:?}");
}

#[test]
fn a_step_that_cannot_be_made_has_failed() {
    let (mut cluster, of) = preparing();
    let why = StepReason::Unprepared("x".repeat(1000));
    let effects = cluster.handle(prepared(&of, Prepared::Failed(why)));
    let record = WorkflowRecord::of(&ended(&effects)[0].spec()).unwrap();
    assert_eq!([record.steps[1].state, record.steps[2].state], [Failed, Skipped]);
    assert!(record.steps[1].why.as_ref().unwrap().to_string().len() <= 512);
}

#[test]
fn a_step_whose_job_no_node_can_hold_has_failed_with_the_reason() {
    let (mut cluster, of) = preparing();
    let mut spec = of.step.job.decode().unwrap();
    spec.resources.memory = 1 << 40;
    let spec = EncodedSpec::encode(&spec).unwrap();
    let effects = cluster.handle(prepared(&of, Prepared::Job(spec)));
    let record = WorkflowRecord::of(&ended(&effects)[0].spec()).unwrap();
    let why = record.steps[1].why.clone().unwrap();
    assert!(matches!(&why, StepReason::Refused(error) if error.code == ErrorCode::Unsatisfiable));
}

#[test]
fn what_was_prepared_for_a_cancelled_workflow_is_dropped() {
    let (mut cluster, of) = preparing();
    cluster.handle(Input::Cancel { request: RequestId(1), job: JobId(1) });
    assert!(!cluster.is_live(1));
    let before = cluster.journal.len();
    cluster.handle(prepared(&of, Prepared::Job(made(&of, 1))));
    assert_eq!(cluster.journal.len(), before);
}

#[test]
fn a_submission_that_is_repeated_is_the_same_workflow() {
    let workflow = workflow(vec![step("a", &[])]);
    let mut play = Play::of(&workflow);
    let effects = play.cluster.handle(submission(&workflow, None, Vec::new()));
    assert_eq!(answer(&effects), Ok(Answer::Submitted(JobId(1))));
    play.end("a", true);
    let effects = play.cluster.handle(submission(&workflow, None, Vec::new()));
    assert_eq!(answer(&effects), Ok(Answer::Submitted(JobId(1))), "also when it has ended");
}

#[test]
fn jobs_wait_for_a_workflow_as_for_a_job() {
    let mut play = Play::of(&workflow(vec![step("a", &[])]));
    let waits = |on| {
        let mut spec = job(1);
        spec.scheduling.depends_on = vec![Dependency { job: JobId(1), on }];
        spec
    };
    let effects = play.cluster.submit(&waits(DependsOn::Success));
    assert_eq!(answer(&effects), Ok(Answer::Submitted(JobId(3))));
    let effects = play.cluster.submit(&waits(DependsOn::Start));
    assert_eq!(assigned(&effects), [(1, run(4, 1, 0, 1))], "it has started");
    let refused = answer(&play.cluster.submit(&waits(DependsOn::EachSuccess))).unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidInput);
    play.end("a", true);
    assert!(play.placed.contains(&run(3, 1, 0, 1)));
}

#[test]
fn a_workflow_is_not_changed_as_a_job_is() {
    let mut play = Play::of(&workflow(vec![step("a", &[])]));
    let refused = answer(&play.cluster.cancel(1, ranges(&[(0, 1)]))).unwrap_err();
    assert!(refused.message.contains("is a workflow"), "{refused}");
}

#[test]
fn what_an_earlier_run_did_is_not_done_again() {
    let steps = vec![step("a", &[]), step("b", &[0]), step("c", &[1])];
    let tasks = wrun_protocol::wire::user::TaskCounts { succeeded: 1, ..Default::default() };
    let reused = vec![Reused { step: 0, job: Some(JobId(77)), tasks }];
    let mut play = Play::rerun(&workflow(steps), Some(JobId(70)), reused);
    assert_eq!(play.states(), [StepState::Reused, Running, Waiting]);
    play.end("b", true);
    play.end("c", true);
    assert_eq!(play.end_of_all().0, JobState::Succeeded);
    let rerun_of = ended(&play.effects).iter().find_map(|job| WorkflowRecord::of(&job.spec()));
    assert_eq!(rerun_of.unwrap().rerun_of, Some(JobId(70)));
}

#[test]
fn a_tenant_has_only_so_many_workflows() {
    let config = wrun_core::Config { max_workflows_per_tenant: 1, ..Default::default() };
    let mut core = wrun_core::Core::new(config);
    let mut submit = |id: u8, tenant: &str| {
        let Input::SubmitWorkflow { request, workflow, kinds, .. } =
            submission(&workflow(vec![step("a", &[])]), None, Vec::new())
        else {
            unreachable!()
        };
        let tenant = tenant.parse().unwrap();
        let (id, reused) = (SubmitId([id; 16]), Vec::new());
        let input =
            Input::SubmitWorkflow { request, tenant, id, workflow, kinds, rerun_of: None, reused };
        core.handle(wrun_protocol::Timestamp(1), input);
        let effects: Vec<Effect> = std::iter::from_fn(|| core.poll_effect()).collect();
        answer(&effects).map_err(|error| error.code)
    };
    assert_eq!(submit(1, "ann"), Ok(Answer::Submitted(JobId(1))));
    assert_eq!(submit(2, "ann"), Err(ErrorCode::LimitReached));
    assert_eq!(submit(3, "bob"), Ok(Answer::Submitted(JobId(2))));
}

#[test]
fn a_step_whose_job_finds_no_room_in_a_limit_waits_and_is_made_again() {
    let config = wrun_core::Config { max_queued_tasks_per_tenant: 1, ..Default::default() };
    let retry = config.step_retry;
    let mut core = wrun_core::Core::new(config);
    let mut now = wrun_protocol::Timestamp(1);
    let handle = |core: &mut wrun_core::Core, now, input| -> Vec<Effect> {
        core.handle(now, input);
        std::iter::from_fn(|| core.poll_effect()).collect()
    };
    let spec = EncodedSpec::encode(&job(1)).unwrap();
    let (tenant, kind) = ("ann".parse().unwrap(), ComponentKind::Command);
    let id = SubmitId([9; 16]);
    let (request, ended) = (RequestId(1), Vec::new());
    handle(&mut core, now, Input::Submit { request, tenant, id, kind, spec, ended });
    let effects =
        handle(&mut core, now, submission(&workflow(vec![step("a", &[])]), None, Vec::new()));
    let of = preparations(&effects).remove(0);
    handle(&mut core, now, prepared(&of, Prepared::Job(made(&of, 1))));
    let due = core.poll_timeout().unwrap();
    assert_eq!(due, now.after(retry));
    handle(&mut core, now, Input::Cancel { request, job: JobId(1) });
    now = due;
    let effects = handle(&mut core, now, Input::Timeout);
    let of = preparations(&effects).remove(0);
    let effects = handle(&mut core, now, prepared(&of, Prepared::Job(made(&of, 1))));
    assert!(facts(&effects).iter().any(|fact| matches!(fact, Fact::StepStarted { .. })));
}
