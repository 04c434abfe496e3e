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

fn main() -> io::Result<()> {
    let step = std::env::args().nth(1).unwrap_or_default();
    let output = match step.as_str() {
        "split" => split(&input()?),
        "count" => count(&input()?),
        "sum" => sum(&parts(Path::new("/counts"))?),
        "judge" => judge(&input()?),
        "report" => report(fs::read_to_string("/sum").ok().as_deref()),
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

fn report(sum: Option<&str>) -> String {
    let numbers: Vec<&str> = sum.unwrap_or_default().split_whitespace().collect();
    match numbers.as_slice() {
        [paragraphs, words, letters] => {
            format!("{words} words of {letters} letters in {paragraphs} paragraphs")
        }
        _ => "the text was not counted".to_owned(),
    }
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
        assert_eq!(report(Some("2 4 15\n")), "4 words of 15 letters in 2 paragraphs");
        assert_eq!(report(None), "the text was not counted");
    }
}
