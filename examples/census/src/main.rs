//! The steps of the workflow in `workflow.toml`, as one small program: what a step does is
//! its first argument. Each reads standard input or files, and writes standard output; none
//! knows of wrun.
//!
//! ```text
//! wrun run census/workflow.toml
//! ```

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;

fn main() -> io::Result<()> {
    let step = std::env::args().nth(1).unwrap_or_default();
    let output = match step.as_str() {
        "split" => split(&input()?),
        "count" => count(&input()?),
        "sum" => sum(&parts(Path::new("/counts"))?),
        "judge" => judge(&input()?),
        "report" => {
            let sum = fs::read_to_string("/sum").ok();
            report(sum.as_deref(), &fs::read_to_string("/workflow.json")?)?
        }
        other => {
            return Err(io::Error::other(format!(
                "`{other}` is no step: split, count, sum, judge or report"
            )));
        }
    };
    println!("{output}");
    Ok(())
}

fn input() -> io::Result<String> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

/// Each paragraph on one line.
fn split(text: &str) -> String {
    let words = |paragraph: &str| paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    let paragraphs = text.split("\n\n").map(words).filter(|paragraph| !paragraph.is_empty());
    paragraphs.collect::<Vec<_>>().join("\n")
}

/// How many words, and how many letters.
fn count(paragraph: &str) -> String {
    let words = paragraph.split_whitespace().count();
    let letters = paragraph.chars().filter(|c| c.is_alphabetic()).count();
    format!("{words} {letters}")
}

/// The files of a folder, one of each task.
fn parts(folder: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(folder)?.map(|entry| fs::read_to_string(entry?.path())).collect()
}

/// The paragraphs, words and letters of all parts.
fn sum(parts: &[String]) -> String {
    let (mut words, mut letters) = (0, 0);
    for part in parts {
        let mut numbers = part.split_whitespace().map(|number| number.parse().unwrap_or(0));
        words += numbers.next().unwrap_or(0);
        letters += numbers.next().unwrap_or(0);
    }
    format!("{} {words} {letters}", parts.len())
}

/// Whether that is a long text.
fn judge(sum: &str) -> String {
    let words = sum.split_whitespace().nth(1).and_then(|words| words.parse().ok()).unwrap_or(0);
    if words > 1000 { "long" } else { "short" }.to_owned()
}

/// What was counted, or which step is to blame that nothing was.
fn report(sum: Option<&str>, workflow: &str) -> io::Result<String> {
    let numbers: Vec<&str> = sum.unwrap_or_default().split_whitespace().collect();
    if let [paragraphs, words, letters] = numbers.as_slice() {
        return Ok(format!("{words} words of {letters} letters in {paragraphs} paragraphs"));
    }
    let Workflow { steps } = serde_json::from_str(workflow)?;
    let failed = steps.iter().find(|step| step.state == "failed");
    Ok(match failed {
        Some(Step { name, failure: Some(failure), .. }) => format!("`{name}` failed: {failure}"),
        Some(Step { name, .. }) => format!("`{name}` failed"),
        None => "the text was not counted".to_owned(),
    })
}

/// What the last step is told of the others, as far as it is of interest here.
#[derive(Deserialize)]
struct Workflow {
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    name: String,
    state: String,
    failure: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_counted_by_paragraphs() {
        let lines = split("one two\nthree\n\n\n\nfour\n");
        assert_eq!(lines, "one two three\nfour");
        let counts: Vec<String> = lines.lines().map(count).collect();
        assert_eq!(counts, ["3 11", "1 4"]);
        assert_eq!(sum(&counts), "2 4 15");
        assert_eq!(judge("2 4 15"), "short");
        let counted = report(Some("2 4 15\n"), "").unwrap();
        assert_eq!(counted, "4 words of 15 letters in 2 paragraphs");
    }

    #[test]
    fn who_is_to_blame_is_named() {
        let told = r#"{"steps": [
            {"name": "split", "state": "succeeded", "failure": null},
            {"name": "count", "state": "failed", "failure": "exit code 1"},
            {"name": "sum", "state": "skipped", "failure": null}
        ]}"#;
        assert_eq!(report(None, told).unwrap(), "`count` failed: exit code 1");
        let cancelled = r#"{"name": "split", "state": "cancelled", "failure": null}"#;
        let told = format!(r#"{{"steps": [{cancelled}]}}"#);
        assert_eq!(report(None, &told).unwrap(), "the text was not counted");
    }
}
