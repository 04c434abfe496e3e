//! What came of the cases: how many passed, and why the others did not, as a page of Markdown.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::cases::{Case, Verdict};

/// Counts of one run.
#[derive(Debug)]
pub struct Summary {
    back_end: &'static str,
    cases: usize,
    pub passed: usize,
    /// Name of the case, and what is wrong.
    pub wrong: Vec<(String, String)>,
    /// By reason; of each, how many cases of what.
    refused: BTreeMap<String, BTreeMap<String, usize>>,
}

impl Summary {
    pub fn new(back_end: &'static str, verdicts: &[(&Case, Verdict)]) -> Self {
        let mut summary = Self {
            back_end,
            cases: verdicts.len(),
            passed: 0,
            wrong: Vec::new(),
            refused: BTreeMap::new(),
        };
        for (case, verdict) in verdicts {
            match verdict {
                Verdict::Passed => summary.passed += 1,
                Verdict::Wrong(problem) => summary.wrong.push((case.name.clone(), problem.clone())),
                Verdict::Refused { step, text } => {
                    let (reason, of) = reason(case, step, text);
                    *summary.refused.entry(reason).or_default().entry(of).or_default() += 1;
                }
            }
        }
        summary
    }

    /// The section of the page.
    pub fn to_markdown(&self) -> String {
        let mut text = format!("## {}\n\n| | cases | |\n|---|---|---|\n", self.back_end);
        let _ = writeln!(text, "| passed | {} of {} | |", self.passed, self.cases);
        let wrong: Vec<_> = self.wrong.iter().map(|(name, _)| format!("`{name}`")).collect();
        let _ = writeln!(text, "| a wrong result | {} | {} |", wrong.len(), wrong.join(", "));
        let mut refused: Vec<_> = self.refused.iter().collect();
        let count = |of: &BTreeMap<String, usize>| of.values().sum::<usize>();
        refused.sort_by_key(|(reason, of)| (std::cmp::Reverse(count(of)), reason.as_str()));
        for (reason, of) in refused {
            let mut listed: Vec<_> = of.iter().collect();
            listed.sort_by_key(|(what, count)| (std::cmp::Reverse(**count), what.as_str()));
            let listed: Vec<_> =
                listed.into_iter().map(|(what, count)| format!("{what} {count}")).collect();
            let _ = writeln!(text, "| {reason} | {} | {} |", count(of), listed.join(", "));
        }
        text
    }
}

/// The reason by what the node said, and of what there are how many: an operator, a type.
fn reason(case: &Case, step: &str, text: &str) -> (String, String) {
    let operator = format!("`{}`", case.signature.operator);
    let said = |part: &str| text.contains(part);
    let between = |before: &str, behind: char| {
        let rest = text.split_once(before).map_or("", |(_, rest)| rest);
        rest.split(behind).next().unwrap_or_default().to_owned()
    };
    if said("has no operator") {
        let operator = between("has no operator `", '`');
        ("the back end lacks an operator".to_owned(), format!("`{operator}`"))
    } else if said("wasi:nn does not have") {
        let element = between("is of type ", ',');
        ("takes or gives a type that `wasi:nn` does not have".to_owned(), element)
    } else if said("does not have") && said("is of type") {
        let element = between("is of type ", ',');
        ("takes or gives a type that the back end does not have".to_owned(), element)
    } else if let Some(rest) = text.strip_prefix("the model uses ") {
        let feature = rest.split_once(" (").map_or(rest, |(feature, _)| feature);
        ("takes or gives what is no tensor, or uses what is refused".to_owned(), feature.to_owned())
    } else if said("cannot load the model: ") && (said("const") || said("variable")) {
        let reason =
            "gives as an input what the back end takes as a constant: axes, a shape, a scale";
        (reason.to_owned(), operator)
    } else if said("cannot load the model: ") {
        ("the back end has the operator, and not as it is used here".to_owned(), operator)
    } else if said(" failed: ") {
        ("the back end loads the model and fails to run it".to_owned(), operator)
    } else {
        (format!("{step}: {text}"), operator)
    }
}
