//! What cannot be: each is told in one line that says what, where and what to do, ends with
//! its documented exit code, and changes nothing. Through the real binary and real processes.

mod components;
mod credentials;
mod datagrams;
mod disks;
mod job_files;
mod journal;
mod names;
mod workflow_files;

use std::process::Output;

use harness::Cluster;

/// Exit codes of `docs/exit-codes.md`.
mod exit {
    pub const USAGE: i32 = 2;
    pub const INVALID_INPUT: i32 = 65;
    pub const NOT_FOUND: i32 = 66;
    pub const UNAVAILABLE: i32 = 69;
    pub const UNSATISFIABLE: i32 = 71;
    pub const CONFLICT: i32 = 72;
    pub const STORAGE_FULL: i32 = 73;
    pub const DENIED: i32 = 77;
    pub const SETUP: i32 = 123;
}

/// `output` is a refusal: nothing printed, this exit code, and one line that holds `words`.
#[track_caller]
fn refused(output: &Output, code: i32, words: &[&str]) -> String {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{said}");
    let line = said.strip_suffix('\n').unwrap_or_else(|| panic!("no whole line: {said:?}"));
    assert!(!line.contains('\n'), "more than a line: {said}");
    assert!(line.starts_with("error: "), "{line}");
    for word in words {
        assert!(line.contains(word), "`{word}` is not in: {line}");
    }
    line.to_owned()
}

/// The last line of a process that logs, which is its error.
#[track_caller]
fn last_words(logged: &str, words: &[&str]) {
    let is_error = |line: &&str| line.starts_with("error: ") || line.starts_with("{\"error\":");
    let errors: Vec<&str> = logged.lines().filter(is_error).collect();
    let [line] = errors[..] else { panic!("not one error:\n{logged}") };
    for word in words {
        assert!(line.contains(word), "`{word}` is not in: {line}");
    }
}

/// No job is there but those that were, and the next one runs.
#[track_caller]
fn goes_on(cluster: &Cluster, jobs_so_far: usize) {
    let listing = cluster.stdout(&["jobs"]);
    // Without a job there is not even a header.
    let jobs = listing.lines().count().saturating_sub(1);
    assert_eq!(jobs, jobs_so_far, "{listing}");
    let noop = harness::artefacts::guest("noop");
    cluster.stdout(&["run", noop.to_str().unwrap()]);
}
