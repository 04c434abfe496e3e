//! Every reason has a code, and every code a case in these tests.

use std::collections::BTreeSet;

/// Where the enum says its codes.
const REASONS: &str = include_str!("../../../src/reason/mod.rs");

/// Every file that has cases.
const CASES: [&str; 4] = [
    include_str!("in_time.rs"),
    include_str!("nodes.rs"),
    include_str!("reasons.rs"),
    include_str!("stopped.rs"),
];

fn codes() -> BTreeSet<&'static str> {
    let arms = REASONS.lines().filter_map(|line| line.trim().split_once(" => \""));
    arms.filter_map(|(_, code)| code.strip_suffix("\",")).collect()
}

#[test]
fn every_reason_has_a_case() {
    let codes = codes();
    assert!(codes.len() > 30, "the codes are not where they are looked for: {codes:?}");
    let is_tested = |code: &str| {
        let quoted = format!("\"{code}\"");
        CASES.iter().any(|cases| cases.contains(&quoted))
    };
    let untested: Vec<_> = codes.into_iter().filter(|code| !is_tested(code)).collect();
    assert!(untested.is_empty(), "write a case for each of {untested:?}");
}

#[test]
fn codes_are_kebab_case_and_each_stands_for_one_reason() {
    let arms = REASONS.lines().filter(|line| line.trim().contains(" => \"")).count();
    assert_eq!(codes().len(), arms, "two reasons share a code");
    let plain = |code: &&str| code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    assert!(codes().iter().all(plain), "{:?}", codes());
}
