//! The name that was likely meant, for errors about one that is not there.

/// The one of `known` that is at most two slips away: letters too many, missing or wrong.
pub fn closest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|name| (distance(unknown, name), *name))
        .filter(|(slips, name)| *slips <= 2 && *slips < name.len())
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein's distance, one row at a time.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut last = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (to, above) in b.iter().zip(row.iter().skip(1)) {
            left = (last + usize::from(from != *to)).min(left + 1).min(above + 1);
            last = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_slips_are_forgiven_and_three_are_not() {
        let known = ["magika", "silero-vad", "a"];
        assert_eq!(closest("magica", &known), Some("magika"));
        assert_eq!(closest("silerovad", &known), Some("silero-vad"));
        assert_eq!(closest("magnolia", &known), None);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(closest("b", &known), None, "one letter is no likeness");
    }
}
