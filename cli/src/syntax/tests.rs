//! Help texts as files, so that a change of one shows in review; and what the command line
//! takes and refuses.

use std::path::Path;

use clap::{CommandFactory, Parser};

use super::*;

/// Set, it writes the files in place of comparing with them.
const BLESS: &str = "WRUN_BLESS";

/// No line is broken that is not broken in the source: terminals differ.
fn help(mut command: clap::Command) -> String {
    let text = command.render_long_help().to_string();
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn each(command: &clap::Command, name: &str, seen: &mut Vec<(String, String)>) {
    seen.push((name.to_owned(), help(command.clone())));
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        each(sub, &format!("{name}-{}", sub.get_name()), seen);
    }
}

#[test]
fn help_is_as_it_was_reviewed() {
    let mut command = Cli::command().term_width(100);
    command.build();
    let mut seen = Vec::new();
    each(&command, "wrun", &mut seen);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/syntax/help");
    let bless = std::env::var_os(BLESS).is_some();
    if bless {
        std::fs::create_dir_all(&folder).unwrap();
    }
    for (name, text) in seen {
        let path = folder.join(format!("{name}.txt"));
        if bless {
            std::fs::write(&path, &text).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            text == expected,
            "the help of {name} has changed; look at it and run the tests with {BLESS}=1:\n{text}"
        );
    }
}

#[test]
fn the_definition_has_no_contradictions() {
    Cli::command().debug_assert();
}

fn refusal(line: &[&str]) -> String {
    let line = ["wrun"].iter().chain(line);
    Cli::try_parse_from(line).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn values_that_cannot_be_are_refused_by_name() {
    for (line, expected) in [
        (
            &["submit", "a.wasm", "--count", "0"][..],
            "--count <N>': `0`: write a whole number from 1",
        ),
        (
            &["submit", "a.wasm", "--memory", "-1"],
            "--memory <SIZE>': `-1` is not a size: it is neg",
        ),
        (&["submit", "a.wasm", "--memory", "x"], "--memory <SIZE>': `x` is not a size"),
        (&["submit", "a.wasm", "--cpu", "-1"], "--cpu <CORES>': `-1` is not an amount of CPU"),
        (
            &["submit", "a.wasm", "--time-limit", "90"],
            "`90` is not a duration: a number has no unit",
        ),
        (&["submit", "a.wasm", "--env", "A"], "`A`: write KEY=VALUE"),
        (&["submit", "a.wasm", "--retries", "-1"], "`-1`: write a whole number from 0 to 1000"),
        (&["job", "0"], "`0` is not a job id"),
        (&["job", "x"], "`x` is not a job id"),
        (&["worker", "--join", "x"], "the `@` is missing"),
        (&["user", "add", "Lab"], "`Lab` is not a tenant name"),
        (&["worekr", "a.wasm"], "similar subcommands exist: 'retry', 'worker'"),
    ] {
        let error = refusal(line);
        assert!(error.contains(expected), "{line:?}: {error}");
    }
}

#[test]
fn arguments_after_the_dashes_are_the_programs() {
    let cli = Cli::try_parse_from(["wrun", "run", "a.wasm", "--count", "2", "--", "--count", "x"])
        .unwrap();
    let Command::Run(run) = cli.command else { panic!() };
    assert_eq!(run.work.args, ["--count", "x"]);
    assert_eq!(run.work.count.unwrap().0, 2);
}

#[test]
fn a_negative_priority_is_a_value_and_no_flag() {
    let cli = Cli::try_parse_from(["wrun", "submit", "a.wasm", "--priority", "-5"]).unwrap();
    let Command::Submit(submit) = cli.command else { panic!() };
    assert_eq!(submit.work.priority.unwrap().0, -5);
}

#[test]
fn a_line_that_is_not_understood_is_told_in_one() {
    for (line, expected) in [
        (
            &["job"][..],
            "the following required arguments were not provided: <ID>; see `wrun job --help`",
        ),
        (
            &["token", "create", "--tll", "1h"],
            "unexpected argument '--tll' found; a similar argument exists: '--ttl'; see \
             `wrun token create --help`",
        ),
        (
            &["worekr"],
            "unrecognized subcommand 'worekr'; some similar subcommands exist: 'retry', 'worker'; see \
             `wrun --help`",
        ),
        (
            &["submit", "a.wasm", "--count", "0"],
            "invalid value '0' for '--count <N>': `0`: write a whole number from 1 to 10000000; \
             see `wrun --help`",
        ),
    ] {
        let problem = Cli::try_parse_from(["wrun"].iter().chain(line)).map(|_| ()).unwrap_err();
        assert_eq!(explain(&problem).to_string(), expected);
    }
}
