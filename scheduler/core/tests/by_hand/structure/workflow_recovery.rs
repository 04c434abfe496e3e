//! A workflow goes on from every fact at which the server may die, to the end to which it
//! would have come.

use wrun_core::workflow::Prepared;
use wrun_core::{Effect, Fact, Input};
use wrun_protocol::NodeId;
use wrun_protocol::task::{Failure, Outcome, Usage};
use wrun_protocol::wire::user::JobState;
use wrun_protocol::wire::worker::{Report, TaskResult};
use wrun_protocol::workflow::{Step, StepState, When, Workflow};

use super::workflows::{Play, made, prepared, step, workflow};
use crate::cluster::{Cluster, Machine, assigned, second};

/// Plays what a journal leads to after a restart, every task ending well but those of
/// `failing`, until the workflow has ended. Returns how each step ended.
fn go_on(journal: &[Fact], failing: u64) -> (JobState, Vec<StepState>) {
    let mut core = Cluster::recovered(journal);
    let mut now = second(1000);
    core.start(now);
    let mut open: Vec<Effect> = std::iter::from_fn(|| core.poll_effect()).collect();
    let mut all = journal.to_vec();
    let mut inputs = std::collections::VecDeque::new();
    let info = Machine::of(16).info(1);
    inputs.push_back(Input::NodeConnected {
        node: NodeId(1),
        info,
        offer: Default::default(),
        incarnation: 7,
        attempts: Vec::new(),
    });
    let mut report = 1;
    for _ in 0..1000 {
        for effect in open.drain(..) {
            match effect {
                Effect::Append(fact) => all.push(fact),
                Effect::PrepareStep(of) => {
                    inputs.push_back(prepared(&of, Prepared::Job(made(&of, 1))));
                }
                other => {
                    for (_, tasks) in assigned(&[other]) {
                        let (first, node) = (report, NodeId(1));
                        report += 1;
                        let fails = core
                            .job(tasks.job)
                            .is_some_and(|job| job.summary.name.ends_with(&format!("s{failing}")));
                        let outcome = if fails {
                            Outcome::Failed(Failure::Exit { code: 1 })
                        } else {
                            Outcome::Succeeded
                        };
                        let result = Box::new(TaskResult {
                            outcome,
                            usage: Usage::default(),
                            output: None,
                            log: None,
                        });
                        let attempt = tasks.job.task(0).attempt(tasks.attempt);
                        let reports = vec![Report::Ended { attempt, result }];
                        inputs.push_back(Input::Reports { node, first, reports });
                    }
                }
            }
        }
        let Some(input) =
            inputs.pop_front().or_else(|| core.poll_timeout().map(|_| Input::Timeout))
        else {
            break;
        };
        now.0 += 500;
        core.handle(now, input);
        open = std::iter::from_fn(|| core.poll_effect()).collect();
        if all.iter().any(|fact| matches!(fact, Fact::WorkflowEnded { .. })) {
            break;
        }
    }
    outcome_of(&all)
}

/// How the workflow and each of its steps ended, once each, by the facts.
fn outcome_of(journal: &[Fact]) -> (JobState, Vec<StepState>) {
    let mut steps = std::collections::BTreeMap::new();
    let mut started = std::collections::BTreeSet::new();
    let mut end = None;
    for fact in journal {
        match fact {
            Fact::StepStarted { step, .. } => assert!(started.insert(*step), "started twice"),
            Fact::StepEnded { step, state, .. } => {
                assert_eq!(steps.insert(*step, *state), None, "step {step} ended twice");
            }
            Fact::WorkflowEnded { state, .. } => assert_eq!(end.replace(*state), None),
            _ => {}
        }
    }
    (end.expect("an end"), steps.into_values().collect())
}

#[test]
fn a_workflow_goes_on_from_every_fact_at_which_the_server_may_die() {
    let named = |number: u16, needs: &[u16]| step(&format!("s{number}"), needs);
    let steps = vec![
        named(0, &[]),
        named(1, &[0]),
        named(2, &[0]),
        named(3, &[1, 2]),
        Step { when: When::Failure, ..named(4, &[2]) },
    ];
    let finally = Some(step("last", &[]));
    let mut play = Play::of(&Workflow { finally, ..workflow(steps) });
    for (name, well) in [("s0", true), ("s1", true), ("s2", false), ("s4", true), ("last", true)] {
        play.end(name, well);
    }
    let journal = play.cluster.journal.clone();
    let expected = outcome_of(&journal);
    assert_eq!(expected.0, JobState::Failed);
    let first = journal.iter().position(|fact| matches!(fact, Fact::WorkflowSubmitted { .. }));
    for cut in first.unwrap() + 1..journal.len() {
        assert_eq!(go_on(&journal[..cut], 2), expected, "died after {:?}", journal[cut - 1]);
    }
}
