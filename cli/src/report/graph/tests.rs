use wrun_protocol::JobId;
use wrun_protocol::wire::user::{JobState, JobSummary};
use wrun_protocol::workflow::StepReason;

use super::*;

fn step(name: &str, needs: &[u16], state: StepState) -> StepDetail {
    StepDetail {
        name: name.to_owned(),
        finally: false,
        needs: needs.to_vec(),
        when: When::Success,
        may_fail: false,
        state,
        job: None,
        tasks: TaskCounts::default(),
        started: None,
        ended: None,
        why: None,
    }
}

fn workflow(steps: Vec<StepDetail>) -> WorkflowDetail {
    WorkflowDetail {
        summary: JobSummary {
            id: JobId(1),
            name: "w".to_owned(),
            tenant: "lab".parse().unwrap(),
            state: JobState::Running,
            tasks: TaskCounts::default(),
            priority: 0,
            submitted: Timestamp(0),
            started: None,
            ended: None,
        },
        rerun_of: None,
        steps,
    }
}

fn drawn(steps: Vec<StepDetail>) -> Vec<String> {
    let text = text(Console::detect(false), &workflow(steps), Timestamp(20_000));
    text.lines().map(str::to_owned).collect()
}

#[test]
fn steps_hang_on_the_latest_of_those_they_need() {
    use StepState::{Running, Skipped, Succeeded, Waiting};
    let mut last = step("tidy", &[], Waiting);
    last.finally = true;
    let mut skipped = step("alarm", &[1], Skipped);
    skipped.when = When::Failure;
    skipped.why = Some(StepReason::NoFailure);
    let mut resize = step("resize", &[0], Running);
    resize.job = Some(JobId(14));
    resize.tasks = TaskCounts { running: 2, succeeded: 36, failed: 1, pending: 61, cancelled: 0 };
    resize.started = Some(Timestamp(10_000));
    let lines = drawn(vec![
        step("list", &[], Succeeded),
        step("check", &[0], Succeeded),
        resize,
        step("sheet", &[1, 2], Waiting),
        skipped,
        last,
    ]);
    assert_eq!(
        lines,
        [
            "STEP         STATE      JOB             TASKS  STARTED   TOOK  NOTE",
            "✓ list       succeeded    -                 -  -            -",
            "├─✓ check    succeeded    -                 -  -            -",
            "│ └─- alarm  skipped      -                 -  -            -  none of the steps before it failed",
            "└─● resize   running     14  37/100, 1 failed  10s ago  10.0s",
            "  └─○ sheet  waiting      -                 -  -            -  needs check too",
            "○ tidy       waiting      -                 -  -            -  at the end, whatever happened",
        ]
    );
}

#[test]
fn needs_that_cannot_be_do_no_harm() {
    let lines = drawn(vec![
        step("a", &[1], StepState::Waiting),
        step("b", &[0], StepState::Waiting),
        step("c", &[9], StepState::Waiting),
    ]);
    assert_eq!(lines.len(), 2, "what hangs on itself is left out: {lines:?}");
}
