//! Why a job waits, and what the steps of a workflow wait for, in text.

use wrun_protocol::Timestamp;
use wrun_protocol::wire::policy::Why;
use wrun_protocol::wire::workflow::{StepDetail, WorkflowDetail};
use wrun_protocol::workflow::StepState;

use super::human;
use super::table::clean;

/// A step that has not ended, and what its job waits for, where it has one.
pub(crate) struct OpenStep<'a> {
    pub(crate) step: &'a StepDetail,
    pub(crate) why: Option<Why>,
}

/// Names of the steps that a step waits for: of those that it needs, the ones that have not
/// ended; for the last step, of all.
pub(crate) fn waits_for<'a>(workflow: &'a WorkflowDetail, step: &StepDetail) -> Vec<&'a str> {
    let needed =
        |place: usize| step.finally || step.needs.iter().any(|need| usize::from(*need) == place);
    let others = workflow.steps.iter().enumerate();
    let open = others
        .filter(|(place, other)| needed(*place) && !other.finally && !other.state.is_terminal());
    open.map(|(_, other)| other.name.as_str()).collect()
}

/// What each step that has not ended waits for.
pub(crate) fn workflow_text(
    workflow: &WorkflowDetail,
    open: &[OpenStep<'_>],
    now: Timestamp,
) -> String {
    let (id, steps) = (workflow.summary.id, workflow.steps.len());
    let mut lines = vec![format!("workflow {id}: {} of its {steps} steps are open", open.len())];
    for OpenStep { step, why } in open {
        let state = step.state.name();
        let name = &step.name;
        lines.push(match (step.state, why) {
            (_, Some(why)) => format!("{name} ({state}), {}", text(why, now).replace('\n', "\n  ")),
            (StepState::Waiting, None) => {
                format!("{name} ({state}) for {}", waits_for(workflow, step).join(", "))
            }
            (StepState::Preparing, None) => {
                format!("{name} ({state}): what it takes of other steps is gathered")
            }
            (_, None) => format!("{name} ({state})"),
        });
    }
    lines.join("\n")
}

/// A line for each thing that there is to say, under what it answers.
pub(crate) fn text(why: &Why, now: Timestamp) -> String {
    let of = &why.explanation;
    let tasks = match of.waiting {
        0 => "no task waits".to_owned(),
        1 => "1 task waits".to_owned(),
        tasks => format!("{tasks} tasks wait"),
    };
    let place = of.position.map(|place| format!(", place {place} in the queue"));
    let mut lines = vec![format!("job {}: {tasks}{}", of.job, place.unwrap_or_default())];
    let start = match (&of.expected, &why.unknown) {
        (Some(expected), _) => {
            let assumption = clean(&expected.assumption);
            let (when, date) = (human::until(expected.at, now), human::date(expected.at));
            Some(format!("{when} ({date}), {assumption}"))
        }
        (None, Some(unknown)) => Some(clean(unknown)),
        (None, None) => None,
    };
    let said = |text: &String| clean(text);
    let parts = [
        ("why", of.reasons.iter().map(|reason| clean(&reason.text)).collect::<Vec<_>>()),
        ("start", start.into_iter().collect()),
        ("advice", of.advice.iter().map(said).collect()),
    ];
    for (name, said) in parts {
        let names = std::iter::once(name).chain(std::iter::repeat(""));
        lines.extend(names.zip(said).map(|(name, text)| format!("{name:<8} {text}")));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use wrun_protocol::JobId;
    use wrun_protocol::wire::policy::{Expectation, Explanation, ReasonRow};
    use wrun_protocol::wire::user::{JobState, JobSummary, TaskCounts};
    use wrun_protocol::workflow::When;

    use super::*;

    fn of(waiting: u32) -> Explanation {
        let row = |text: &str, nodes| ReasonRow { code: "c".into(), text: text.into(), nodes };
        Explanation {
            job: JobId(7),
            waiting,
            position: Some(3),
            reasons: vec![row("2 nodes are full", Some(2)), row("job 3 is considered first", None)],
            expected: Some(Expectation {
                at: Timestamp(3_600_000),
                assumption: "by time limits".into(),
            }),
            advice: vec!["ask for less memory".into()],
        }
    }

    #[test]
    fn an_explanation_says_why_when_and_what_helps() {
        let why = Why { explanation: of(2), unknown: None };
        assert_eq!(
            text(&why, Timestamp(0)),
            "job 7: 2 tasks wait, place 3 in the queue\n\
             why      2 nodes are full\n         job 3 is considered first\n\
             start    in 1h (1970-01-01 01:00:00 UTC), by time limits\n\
             advice   ask for less memory"
        );
    }

    #[test]
    fn each_open_step_of_a_workflow_says_what_it_waits_for() {
        let step = |name: &str, needs: &[u16], state| StepDetail {
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
        };
        let workflow = WorkflowDetail {
            summary: JobSummary {
                id: JobId(1),
                name: "census".to_owned(),
                tenant: "main".parse().unwrap(),
                state: JobState::Running,
                tasks: TaskCounts::default(),
                priority: 0,
                submitted: Timestamp(0),
                started: None,
                ended: None,
            },
            rerun_of: None,
            steps: vec![
                step("split", &[], StepState::Succeeded),
                step("count", &[0], StepState::Running),
                step("sum", &[0, 1], StepState::Waiting),
                StepDetail { finally: true, ..step("finally", &[], StepState::Waiting) },
            ],
        };
        let why = Why { explanation: Explanation { position: None, ..of(2) }, unknown: None };
        let why_of = |at: usize| (at == 1).then(|| why.clone());
        let open: Vec<OpenStep<'_>> =
            (1..4).map(|at| OpenStep { step: &workflow.steps[at], why: why_of(at) }).collect();
        assert_eq!(
            workflow_text(&workflow, &open, Timestamp(0)),
            "workflow 1: 3 of its 4 steps are open\n\
             count (running), job 7: 2 tasks wait\n  \
             why      2 nodes are full\n           job 3 is considered first\n  \
             start    in 1h (1970-01-01 01:00:00 UTC), by time limits\n  \
             advice   ask for less memory\n\
             sum (waiting) for count\n\
             finally (waiting) for count, sum"
        );
    }

    #[test]
    fn what_nobody_can_tell_is_said_to_be_unknown() {
        let explanation = Explanation { expected: None, position: None, ..of(1) };
        let why = Why { explanation, unknown: Some("unknown: job 3 has to end first".into()) };
        let text = text(&why, Timestamp(0));
        assert!(text.starts_with("job 7: 1 task waits\n"), "{text}");
        assert!(text.contains("\nstart    unknown: job 3 has to end first\n"), "{text}");
    }
}
