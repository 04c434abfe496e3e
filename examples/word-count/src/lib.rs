//! Counts words of a text. As an array, each task counts its share of the lines.
//!
//! ```text
//! wrun submit word_count.wasm --input declaration.txt
//! ```

use std::collections::BTreeMap;

use serde::Serialize;
use wrun_sdk::{Error, info, progress, task};

/// How many of the most frequent words are named.
const NAMED: usize = 10;

/// What is in a text.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Counts {
    lines: usize,
    words: usize,
    distinct: usize,
    longest: String,
    most_frequent: Vec<(String, usize)>,
}

#[wrun_sdk::task]
fn word_count(text: &str) -> Result<Counts, Error> {
    if text.trim().is_empty() {
        return Err(Error::new("there is no text; give one with --input FILE"));
    }
    let task = task();
    let lines = share(text, task.index as usize, task.count as usize);
    info!("{} lines are mine", lines.len());
    Ok(count(&lines))
}

/// The `index`th of `count` runs of lines, equal but for one line.
fn share(text: &str, index: usize, count: usize) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len() * index / count;
    let to = lines.len() * (index + 1) / count;
    lines.into_iter().take(to).skip(from).collect()
}

fn count(lines: &[&str]) -> Counts {
    let mut frequency: BTreeMap<String, usize> = BTreeMap::new();
    for (number, line) in lines.iter().enumerate() {
        for word in words(line) {
            *frequency.entry(word).or_default() += 1;
        }
        if number % 1000 == 0 {
            progress(number as u64, lines.len() as u64, "counting");
        }
    }
    let longest = frequency.keys().max_by_key(|word| word.len()).cloned().unwrap_or_default();
    let words = frequency.values().sum();
    let distinct = frequency.len();
    let mut by_frequency: Vec<(String, usize)> = frequency.into_iter().collect();
    by_frequency.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
    by_frequency.truncate(NAMED);
    Counts { lines: lines.len(), words, distinct, longest, most_frequent: by_frequency }
}

fn words(line: &str) -> impl Iterator<Item = String> {
    line.split(|letter: char| !letter.is_alphanumeric() && letter != '\'')
        .map(|word| word.trim_matches('\'').to_lowercase())
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wrun_sdk::testing;

    #[test]
    fn words_are_counted_without_their_case_and_punctuation() {
        let counts = word_count("The quick fox,\nthe 'lazy' dog's bone.\n").unwrap();
        assert_eq!((counts.lines, counts.words, counts.distinct), (2, 7, 6));
        assert_eq!(counts.most_frequent[0], ("the".to_owned(), 2));
        assert_eq!(counts.longest, "quick");
    }

    #[test]
    fn shares_of_an_array_are_the_whole_text_once() {
        let text = include_str!("../declaration.txt");
        let whole = word_count(text).unwrap();
        assert!(whole.words > 1000, "{}", whole.words);
        let parts = (0..7).map(|index| {
            testing::start(testing::Run::of_array(index, 7));
            word_count(text).unwrap().words
        });
        assert_eq!(parts.sum::<usize>(), whole.words);
    }

    #[test]
    fn no_text_is_an_error() {
        assert!(word_count(" \n").unwrap_err().message().contains("--input"));
    }
}
