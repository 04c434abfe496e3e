//! Workflows of any shape, whose steps end in any way: every step ends once and as the
//! rules say, after those that it needs, and the last one once, after all others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::collection::vec;
use proptest::prelude::*;
use wrun_core::workflow::Prepared;
use wrun_core::{Effect, Fact, Input, RequestId};
use wrun_protocol::JobId;
use wrun_protocol::wire::user::JobState;
use wrun_protocol::wire::worker::Assignment;
use wrun_protocol::workflow::{Step, StepReason, StepState, When, Workflow};

use super::workflows::{made, preparations, prepared, step, submission, workflow};
use crate::cluster::{Cluster, assigned};

/// What becomes of a step that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Succeeds,
    Fails,
    IsCancelled,
    HasNothingToDo,
    IsNotWanted,
    CannotBeMade,
}

use Fate::{CannotBeMade, Fails, HasNothingToDo, IsCancelled, IsNotWanted, Succeeds};

const FATES: [Fate; 6] = [Succeeds, Fails, IsCancelled, HasNothingToDo, IsNotWanted, CannotBeMade];

impl Fate {
    fn state(self) -> StepState {
        match self {
            Succeeds | HasNothingToDo => StepState::Succeeded,
            Fails | CannotBeMade => StepState::Failed,
            IsCancelled => StepState::Cancelled,
            IsNotWanted => StepState::Skipped,
        }
    }
}

#[derive(Clone, Debug)]
struct Case {
    workflow: Workflow,
    fates: Vec<Fate>,
    /// In which order what is open is dealt with.
    order: Vec<prop::sample::Index>,
}

fn cases() -> impl Strategy<Value = Case> {
    // A step needs some of those before it.
    let one = (any::<u16>(), 0..3_u8, any::<bool>(), prop::sample::select(&FATES[..]));
    let order = vec(any::<prop::sample::Index>(), 64);
    (vec(one, 1..10), any::<bool>(), order).prop_map(|(all, finally, order)| {
        let steps = all.iter().enumerate().map(|(at, (needs, when, may_fail, _))| {
            let needs: Vec<u16> = (0..at as u16).filter(|need| needs & (1 << need) != 0).collect();
            let when = [When::Success, When::Failure, When::End][usize::from(*when)];
            Step { when, may_fail: *may_fail, ..step(&format!("s{at}"), &needs) }
        });
        let mut fates: Vec<Fate> = all.iter().map(|(.., fate)| *fate).collect();
        fates.push(Succeeds);
        let finally = finally.then(|| step("last", &[]));
        Case { workflow: Workflow { finally, ..workflow(steps.collect()) }, fates, order }
    })
}

/// How every step and the whole should end, worked out without the core.
fn expected(case: &Case) -> (JobState, Vec<StepState>) {
    let mut states: Vec<StepState> = Vec::new();
    for (step, fate) in case.workflow.steps.iter().zip(&case.fates) {
        let mut needs = step.needs.iter().map(|need| states[usize::from(*need)]);
        let due = match step.when {
            When::Success => needs.all(|state| state == StepState::Succeeded),
            When::Failure => {
                needs.any(|state| matches!(state, StepState::Failed | StepState::Cancelled))
            }
            When::End => true,
        };
        states.push(if due { fate.state() } else { StepState::Skipped });
    }
    let bad = |(step, state): (&Step, &StepState)| {
        !step.may_fail && matches!(state, StepState::Failed | StepState::Cancelled)
    };
    let failed = case.workflow.steps.iter().zip(&states).any(bad);
    states.extend(case.workflow.finally.as_ref().map(|_| StepState::Succeeded));
    (if failed { JobState::Failed } else { JobState::Succeeded }, states)
}

/// Something that is open and may be dealt with in any order.
enum Open {
    Answer(Input),
    Runs(Assignment),
}

/// Plays it to its end; a user cancels it after so many events, if at all.
fn play(case: &Case, cancel_after: Option<usize>) -> Vec<Fact> {
    let mut cluster = Cluster::new();
    cluster.node(1, 32);
    let mut open: Vec<Open> = Vec::new();
    let effects = cluster.handle(submission(&case.workflow, None, Vec::new()));
    note(case, &effects, &mut open);
    let mut order = case.order.iter().cycle();
    for event in 0.. {
        if cancel_after == Some(event) && cluster.is_live(1) {
            let effects = cluster.handle(Input::Cancel { request: RequestId(1), job: JobId(1) });
            note(case, &effects, &mut open);
        }
        if open.is_empty() {
            break;
        }
        let next = open.swap_remove(order.next().unwrap().index(open.len()));
        let effects = match next {
            Open::Answer(input) => cluster.handle(input),
            Open::Runs(tasks) => end(case, &mut cluster, tasks),
        };
        note(case, &effects, &mut open);
    }
    assert!(!cluster.is_live(1), "it has ended");
    assert_eq!(cluster.core.counts().jobs, 0, "and so have its jobs");
    cluster.journal
}

fn note(case: &Case, effects: &[Effect], open: &mut Vec<Open>) {
    open.extend(assigned(effects).into_iter().map(|(_, tasks)| Open::Runs(tasks)));
    for of in preparations(effects) {
        let answer = match case.fates[usize::from(of.index)] {
            HasNothingToDo => Prepared::Nothing(StepReason::NoItems("x".to_owned())),
            IsNotWanted => Prepared::Skip(StepReason::Condition("x".to_owned())),
            CannotBeMade => Prepared::Failed(StepReason::Unprepared("x".to_owned())),
            _ => Prepared::Job(made(&of, 1)),
        };
        open.push(Open::Answer(prepared(&of, answer)));
    }
}

/// The task of a step's job ends as its fate says, unless it was stopped before.
fn end(case: &Case, cluster: &mut Cluster, tasks: Assignment) -> Vec<Effect> {
    let Some(detail) = cluster.core.workflow(tasks.job) else { return Vec::new() };
    let at = detail.steps.iter().position(|step| step.job == Some(tasks.job)).unwrap();
    if !cluster.is_live(tasks.job.0) {
        return Vec::new();
    }
    match case.fates[at] {
        Fails => cluster.fail(1, tasks.job.0, 0, tasks.attempt),
        IsCancelled => cluster.handle(Input::Cancel { request: RequestId(1), job: tasks.job }),
        _ => cluster.succeed(1, tasks),
    }
}

/// What the facts say of the whole and of each step, each of which they end once.
fn told(case: &Case, journal: &[Fact]) -> (JobState, Vec<StepState>) {
    let mut ends: BTreeMap<u16, StepState> = BTreeMap::new();
    let mut started = BTreeSet::new();
    let mut whole = VecDeque::new();
    let last = case.workflow.steps.len();
    for fact in journal {
        assert!(whole.is_empty() || !matches!(fact, Fact::StepStarted { .. }), "after the end");
        match fact {
            Fact::StepStarted { step, .. } => {
                assert!(started.insert(*step), "step {step} started twice");
                let needs = case.workflow.steps.get(usize::from(*step)).map(|step| &step.needs);
                assert!(needs.into_iter().flatten().all(|need| ends.contains_key(need)));
                assert!(usize::from(*step) < last || ends.len() == last, "the last too early");
            }
            Fact::StepEnded { step, state, .. } => {
                assert_eq!(ends.insert(*step, *state), None, "step {step} ended twice");
            }
            Fact::WorkflowEnded { state, .. } => whole.push_back(*state),
            _ => {}
        }
    }
    assert_eq!(whole.len(), 1, "it ends once");
    (whole[0], ends.into_values().collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn every_step_ends_once_and_as_the_rules_say(case in cases()) {
        prop_assert_eq!(told(&case, &play(&case, None)), expected(&case));
    }

    #[test]
    fn a_cancelled_workflow_ends_each_step_once_and_runs_the_last(
        case in cases(),
        after in 0..12_usize,
    ) {
        let journal = play(&case, Some(after));
        let (state, steps) = told(&case, &journal);
        prop_assert_eq!(steps.len(), case.workflow.every_step().count());
        let cancelled = journal.iter().any(|it| matches!(it, Fact::WorkflowCancelled { .. }));
        if cancelled {
            prop_assert_eq!(state, JobState::Cancelled);
        }
        if case.workflow.finally.is_some() {
            prop_assert_eq!(*steps.last().unwrap(), StepState::Succeeded);
        }
    }
}
