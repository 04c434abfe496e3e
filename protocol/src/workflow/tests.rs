//! What is refused, and with which place.

use super::*;
use crate::{Digest, JobSpec};

fn job(change: impl FnOnce(&mut JobSpec)) -> EncodedSpec {
    let mut spec = JobSpec::new(Digest([1; 32]));
    change(&mut spec);
    EncodedSpec::encode(&spec).unwrap()
}

fn step(name: &str, needs: &[u16]) -> Step {
    Step { needs: needs.to_vec(), ..Step::new(name, job(|_| ())) }
}

fn of(steps: Vec<Step>) -> Workflow {
    Workflow { name: "w".to_owned(), steps, finally: None }
}

/// The step and field that are named as wrong.
fn refused(workflow: &Workflow) -> (String, &'static str) {
    match workflow.check() {
        Err(WorkflowError::Step { step, field, .. }) => (step, field),
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_takes_an_output_needs_its_step() {
    let mut last = step("c", &[]);
    last.input = Some(1);
    last.mounts = vec![StepMount { step: 0, path: "/a".to_owned() }];
    let workflow = of(vec![step("a", &[]), step("b", &[0, 0]), last]);
    let graph = workflow.check().unwrap();
    assert_eq!(graph.needs, [vec![], vec![0], vec![0, 1]]);
    assert_eq!(graph.needed_by, [vec![1, 2], vec![2], vec![]]);
    assert_eq!(graph.downstream([1]), [false, true, true]);
    let encoded = EncodedWorkflow::encode(&workflow).unwrap();
    assert_eq!(encoded.decode(), Ok((workflow, graph)));
}

#[test]
fn a_circle_is_told_with_its_steps() {
    let steps = vec![step("a", &[]), step("b", &[0, 3]), step("c", &[1]), step("d", &[2])];
    let error = of(steps).check().unwrap_err();
    assert_eq!(error.to_string(), "steps need each other in a circle: b → d → c → b");
    let alone = of(vec![step("a", &[0])]).check().unwrap_err();
    assert_eq!(alone.to_string(), "steps need each other in a circle: a → a");
}

#[test]
fn names_are_checked() {
    assert_eq!(refused(&of(vec![step("a", &[]), step("a", &[])])), ("a".to_owned(), "name"));
    assert_eq!(refused(&of(vec![step("a/b", &[])])), ("a/b".to_owned(), "name"));
    assert_eq!(refused(&of(vec![step("a", &[7])])), ("a".to_owned(), "needs"));
    let last = Some(step("tidy", &[]));
    let needs_last = Workflow { finally: last, ..of(vec![step("a", &[1])]) };
    assert_eq!(refused(&needs_last), ("a".to_owned(), "needs"), "nobody needs the last");
    assert!(matches!(of(vec![]).check(), Err(WorkflowError::Field { field: "steps", .. })));
    let nameless = Workflow { name: String::new(), ..of(vec![step("a", &[])]) };
    assert!(matches!(nameless.check(), Err(WorkflowError::Field { field: "name", .. })));
}

#[test]
fn an_output_is_taken_of_one_task() {
    let many = || Step { job: job(|spec| spec.count = 3), ..step("many", &[]) };
    let takes = |change: &dyn Fn(&mut Step)| {
        let mut taker = step("b", &[]);
        change(&mut taker);
        of(vec![many(), taker])
    };
    assert_eq!(refused(&takes(&|step| step.input = Some(0))).1, "input");
    assert_eq!(refused(&takes(&|step| step.for_each = Some(ForEach::Lines(0)))).1, "for_each");
    let only_if = Condition { step: 0, equals: true, text: String::new() };
    assert_eq!(refused(&takes(&|step| step.only_if = Some(only_if.clone()))).1, "only_if");
    assert!(takes(&|step| step.for_each = Some(ForEach::Tasks(0))).check().is_ok());
    let mount = StepMount { step: 0, path: "/parts".to_owned() };
    assert!(takes(&|step| step.mounts = vec![mount.clone()]).check().is_ok());
}

#[test]
fn only_success_promises_an_output() {
    let taker = |when| Step { when, input: Some(0), ..step("b", &[]) };
    assert!(of(vec![step("a", &[]), taker(When::Success)]).check().is_ok());
    for when in [When::Failure, When::End] {
        assert_eq!(refused(&of(vec![step("a", &[]), taker(when)])).1, "input");
    }
    let finally = |last| Workflow { finally: Some(last), ..of(vec![step("a", &[])]) };
    assert_eq!(refused(&finally(taker(When::End))).1, "input");
    assert_eq!(refused(&finally(step("b", &[0]))).1, "needs");
    let mounts = vec![StepMount { step: 0, path: "/a".to_owned() }];
    assert!(finally(Step { mounts, ..step("b", &[]) }).check().is_ok());
}

#[test]
fn one_field_at_a_time_says_what_the_input_is() {
    let given = |spec: &mut JobSpec| {
        let bytes = bytes::Bytes::from_static(b"x");
        spec.input = crate::job::Input::Content(crate::task::Content::Inline(bytes));
    };
    let with = |change: &dyn Fn(&mut JobSpec), taker: Step| {
        of(vec![step("a", &[]), Step { job: job(|spec| change(spec)), ..taker }])
    };
    let input = || Step { input: Some(0), ..step("b", &[]) };
    let items = || Step { for_each: Some(ForEach::Json(0)), ..step("b", &[]) };
    assert_eq!(refused(&with(&given, input())).1, "input");
    assert_eq!(refused(&with(&given, items())).1, "for_each");
    assert_eq!(refused(&with(&|spec| spec.count = 2, items())).1, "count");
    assert_eq!(refused(&with(&|_| (), Step { input: Some(0), ..items() })).1, "for_each");
}

#[test]
fn outputs_do_not_lie_in_each_others_way() {
    let with = |paths: &[&str]| {
        let mount = |path: &&str| StepMount { step: 0, path: (*path).to_owned() };
        let mounts = paths.iter().map(mount).collect();
        of(vec![step("a", &[]), Step { mounts, ..step("b", &[]) }])
    };
    assert!(with(&["/a", "/ab", "/b/c"]).check().is_ok());
    for paths in [&["/a", "/a"], &["/a", "/a/0"], &["/a/0", "/a"], &["/b", "c"]] {
        assert_eq!(refused(&with(paths)).1, "mounts");
    }
}

#[test]
fn nothing_is_in_the_way_of_what_the_last_step_is_told() {
    let mounts = vec![StepMount { step: 0, path: "/workflow.json".to_owned() }];
    let taker = || Step { mounts: mounts.clone(), ..step("b", &[]) };
    let finally = Workflow { finally: Some(taker()), ..of(vec![step("a", &[])]) };
    assert_eq!(refused(&finally).1, "mounts");
    assert!(of(vec![step("a", &[]), taker()]).check().is_ok(), "any other step may");
}

#[test]
fn what_a_step_cannot_be_is_refused_by_field() {
    let named = Step { job: job(|spec| spec.name = "x".to_owned()), ..step("a", &[]) };
    assert_eq!(refused(&of(vec![named])).1, "name");
    let attached =
        Step { job: job(|spec| spec.input = crate::job::Input::Attached), ..step("a", &[]) };
    assert_eq!(refused(&of(vec![attached])).1, "input");
    assert_eq!(refused(&of(vec![Step { timeout_ms: Some(0), ..step("a", &[]) }])).1, "timeout");
    let garbled = Step::new("a", EncodedSpec::from_slice(b"?"));
    assert_eq!(refused(&of(vec![garbled])).1, "job");
    let steps = (0..=crate::limits::MAX_STEPS).map(|n| step(&format!("s{n}"), &[])).collect();
    assert!(matches!(of(steps).check(), Err(WorkflowError::Field { field: "steps", .. })));
}
