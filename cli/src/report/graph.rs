//! A workflow as a tree in text: each step hangs on the latest of those it needs; the others
//! are named beside it. What a step waits for is always above it.

use wrun_protocol::Timestamp;
use wrun_protocol::wire::user::TaskCounts;
use wrun_protocol::wire::workflow::{StepDetail, WorkflowDetail};
use wrun_protocol::workflow::{StepState, When};

use super::human;
use super::table::Listing;
use crate::console::Console;

/// A step in the order and at the depth in which it is shown.
#[derive(Debug, PartialEq, Eq)]
struct Branch {
    /// Its place in the workflow.
    step: usize,
    /// The step it hangs on.
    parent: Option<usize>,
    /// What stands before its mark: the lines of the tree.
    lines: String,
}

/// The steps, a line each.
pub(crate) fn text(console: Console, workflow: &WorkflowDetail, now: Timestamp) -> String {
    let columns = ["STEP", "STATE", ">JOB", ">TASKS", "STARTED", ">TOOK", "NOTE"];
    let mut listing = Listing::new(console, &columns);
    for branch in branches(&workflow.steps) {
        let Some(step) = workflow.steps.get(branch.step) else { continue };
        listing.row([
            format!("{}{} {}", branch.lines, mark(step.state), step.name),
            step.state.name().to_owned(),
            step.job.map_or_else(dash, |job| job.to_string()),
            tasks(&step.tasks),
            step.started.map_or_else(dash, |time| human::ago(time, now)),
            took(step, now),
            note(workflow, step, branch.parent),
        ]);
    }
    listing.text()
}

/// The order: each step right below what it hangs on, siblings in the order of the file, the
/// last step at the end.
fn branches(steps: &[StepDetail]) -> Vec<Branch> {
    let depths = depths(steps);
    let depth = |step: usize| depths.get(step).copied().unwrap_or(0);
    let parent = |step: &StepDetail| {
        let needs = step.needs.iter().map(|need| usize::from(*need));
        needs.max_by_key(|need| (depth(*need), *need)).filter(|need| *need < steps.len())
    };
    let parents: Vec<Option<usize>> =
        steps.iter().map(|step| if step.finally { None } else { parent(step) }).collect();
    let children = |of: Option<usize>| -> Vec<usize> {
        parents
            .iter()
            .enumerate()
            .filter(|(_, parent)| **parent == of)
            .map(|(step, _)| step)
            .collect()
    };
    let mut shown = Vec::new();
    // What is to be shown next stands last.
    let mut open: Vec<(usize, String, String)> = Vec::new();
    for root in children(None).into_iter().rev() {
        open.push((root, String::new(), String::new()));
    }
    while let Some((step, lines, below)) = open.pop() {
        let parent = parents.get(step).copied().flatten();
        shown.push(Branch { step, parent, lines });
        let hanging = children(Some(step));
        for (place, child) in hanging.iter().enumerate().rev() {
            let is_last = place + 1 == hanging.len();
            let (corner, down) = if is_last { ("└─", "  ") } else { ("├─", "│ ") };
            open.push((*child, format!("{below}{corner}"), format!("{below}{down}")));
        }
    }
    shown
}

/// How many steps come before each, at most, one after the other.
fn depths(steps: &[StepDetail]) -> Vec<usize> {
    let mut depths = vec![0; steps.len()];
    // The server sends no circles; a bound of rounds makes sure that one would do no harm.
    for _ in 0..steps.len() {
        let mut changed = false;
        for (place, step) in steps.iter().enumerate() {
            let before = step.needs.iter().filter_map(|need| depths.get(usize::from(*need)));
            let depth = before.max().map_or(0, |deepest| deepest + 1).min(steps.len());
            if let Some(known) = depths.get_mut(place)
                && *known < depth
            {
                *known = depth;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    depths
}

fn mark(state: StepState) -> char {
    match state {
        StepState::Waiting => '○',
        StepState::Preparing => '◌',
        StepState::Running => '●',
        StepState::Succeeded => '✓',
        StepState::Reused => '↺',
        StepState::Failed => '✗',
        StepState::Skipped => '-',
        StepState::Cancelled => '⊘',
    }
}

/// The name of a condition.
pub(crate) fn when(when: When) -> &'static str {
    match when {
        When::Success => "success",
        When::Failure => "failure",
        When::End => "end",
    }
}

/// `37/100`, and how many of them failed.
pub(crate) fn tasks(tasks: &TaskCounts) -> String {
    let (ended, total) = (human::ended(tasks), human::total(tasks));
    match (total, tasks.failed) {
        (0, _) => dash(),
        (_, 0) => format!("{ended}/{total}"),
        (_, failed) => format!("{ended}/{total}, {failed} failed"),
    }
}

fn took(step: &StepDetail, now: Timestamp) -> String {
    match (step.started, step.state) {
        (Some(started), state) if state != StepState::Reused => {
            human::took(step.ended.unwrap_or(now).since(started))
        }
        _ => dash(),
    }
}

/// Why it ended so, and what the tree does not show.
fn note(workflow: &WorkflowDetail, step: &StepDetail, parent: Option<usize>) -> String {
    let mut notes: Vec<String> = step.why.iter().map(ToString::to_string).collect();
    let others = step.needs.iter().map(|need| usize::from(*need));
    let others = others.filter(|need| Some(*need) != parent && !step.finally);
    let others: Vec<&str> = others
        .filter_map(|need| workflow.steps.get(need))
        .map(|other| other.name.as_str())
        .collect();
    if !others.is_empty() {
        notes.push(format!("needs {} too", others.join(", ")));
    }
    match step.when {
        _ if step.finally => notes.push("at the end, whatever happened".to_owned()),
        // Why it ended says as much.
        _ if step.why.is_some() => {}
        When::Success => {}
        When::Failure => notes.push("after a failure only".to_owned()),
        When::End => notes.push("whatever happened".to_owned()),
    }
    if step.may_fail {
        notes.push("may fail".to_owned());
    }
    notes.join("; ")
}

fn dash() -> String {
    "-".to_owned()
}

#[cfg(test)]
mod tests;
