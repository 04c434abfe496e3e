//! WordPiece, as BERT's uncased models have it: words in lower case and without accents, cut into
//! the longest pieces that the vocabulary has.

use std::collections::HashMap;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Tokens of a text that the model sees, those that begin and end it included: as many as it was
/// trained with.
pub const MOST: usize = 256;

/// A longer word is unknown as a whole.
const LONGEST_WORD: usize = 100;

/// The pieces that there are, each with its number.
#[derive(Debug)]
pub struct Vocabulary {
    numbers: HashMap<String, i64>,
    begin: i64,
    end: i64,
    unknown: i64,
}

impl Vocabulary {
    /// Of a file with a piece in each line; `None` where it lacks what every text needs.
    pub fn parse(file: &str) -> Option<Self> {
        let numbers: HashMap<String, i64> = file.lines().map(str::to_owned).zip(0..).collect();
        let number = |piece: &str| numbers.get(piece).copied();
        let (begin, end, unknown) = (number("[CLS]")?, number("[SEP]")?, number("[UNK]")?);
        Some(Self { begin, end, unknown, numbers })
    }

    /// The text as the model takes it. What is beyond [`MOST`] is cut off.
    pub fn tokens(&self, text: &str) -> Vec<i64> {
        let mut tokens = vec![self.begin];
        for word in words(text) {
            self.pieces(&word, &mut tokens);
            if tokens.len() >= MOST {
                break;
            }
        }
        tokens.truncate(MOST - 1);
        tokens.push(self.end);
        tokens
    }

    fn pieces(&self, word: &str, tokens: &mut Vec<i64>) {
        let before = tokens.len();
        let mut rest = word;
        while !rest.is_empty() && word.chars().count() <= LONGEST_WORD {
            let mark = if rest.len() == word.len() { "" } else { "##" };
            let ends = rest.char_indices().map(|(at, letter)| at + letter.len_utf8());
            let found = ends.rev().find_map(|end| {
                let (piece, rest) = rest.split_at(end);
                Some((*self.numbers.get(&format!("{mark}{piece}"))?, rest))
            });
            let Some((number, behind)) = found else { break };
            tokens.push(number);
            rest = behind;
        }
        if !rest.is_empty() {
            tokens.truncate(before);
            tokens.push(self.unknown);
        }
    }
}

/// Runs of letters and digits, and each other sign by itself.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for letter in text.chars().flat_map(char::to_lowercase).nfd() {
        let alone = is_punctuation(letter) || is_ideograph(letter);
        if letter.is_whitespace() || alone {
            words.push(String::new());
        }
        let visible = !letter.is_whitespace() && !letter.is_control() && letter != '\u{fffd}';
        if visible
            && !is_combining_mark(letter)
            && let Some(word) = words.last_mut()
        {
            word.push(letter);
        }
        if alone {
            words.push(String::new());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// All that ASCII has beside letters and digits, and what Unicode calls punctuation among the signs
/// of general use.
fn is_punctuation(letter: char) -> bool {
    letter.is_ascii_punctuation()
        || matches!(letter, '¡' | '§' | '«' | '¶' | '·' | '»' | '¿')
        || matches!(letter, '\u{2010}'..='\u{2027}' | '\u{2030}'..='\u{205e}')
        || matches!(letter, '\u{3001}'..='\u{3003}' | '\u{3008}'..='\u{3011}')
}

/// Whether it is a word by itself, as in Chinese.
fn is_ideograph(letter: char) -> bool {
    matches!(letter, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{2a6df}' | '\u{2a700}'..='\u{2ceaf}' | '\u{2f800}'..='\u{2fa1f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary() -> Vocabulary {
        let pieces = "[PAD]\n[UNK]\n[CLS]\n[SEP]\nembed\n##ding\n##s\ncafe\n,\n!\n中";
        Vocabulary::parse(pieces).unwrap()
    }

    #[test]
    fn a_word_is_cut_into_the_longest_pieces_that_there_are() {
        assert_eq!(vocabulary().tokens("embeddings"), [2, 4, 5, 6, 3]);
        assert_eq!(vocabulary().tokens(""), [2, 3]);
        assert_eq!(vocabulary().tokens("embedder embed"), [2, 1, 4, 3]);
    }

    #[test]
    fn case_and_accents_do_not_count_and_signs_are_words() {
        assert_eq!(vocabulary().tokens(" Café,\tcafe! 中中"), [2, 7, 8, 7, 9, 10, 10, 3]);
    }

    #[test]
    fn a_long_text_is_cut_and_a_long_word_is_unknown() {
        let tokens = vocabulary().tokens(&"embeddings ".repeat(200));
        assert_eq!((tokens.len(), tokens[MOST - 1]), (MOST, 3));
        assert_eq!(vocabulary().tokens(&"s".repeat(1_000_000)), [2, 1, 3]);
    }

    #[test]
    fn a_vocabulary_without_the_marks_of_a_text_is_none() {
        assert!(Vocabulary::parse("a\nb").is_none());
    }
}
