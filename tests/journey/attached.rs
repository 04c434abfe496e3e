//! `wrun run`: a job as if it were a process here.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::desk::{guest, signal, stderr, stdout};
use crate::{Desk, until};

fn piped(desk: &Desk, arguments: &[&str]) -> Child {
    let mut command = desk.command();
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn output_input_and_exit_code_are_those_of_the_guest() {
    let desk = Desk::start();
    let run = ["run", &guest("hello"), "--env", "GREETING=Good day", "--", "--exit", "3", "world"];
    let output = desk.fed(&run, b"two words");
    let said = "Good day, world!\nI am task 0 of 1.\nI was told 2 words.\n";
    assert_eq!(stdout(&output), said);
    assert_eq!(stderr(&output), "ending with exit code 3, as asked\n");
    assert_eq!(output.status.code(), Some(3));
    let output = desk.wrun(&["run", &guest("hello")]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!((stdout(&output), stderr(&output)).1, "");
}

#[test]
fn what_is_typed_reaches_the_guest_as_it_is_typed() {
    let desk = Desk::start();
    let mut child = piped(&desk, &["run", &guest("cat")]);
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    for typed in ["one\n", "two\n"] {
        stdin.write_all(typed.as_bytes()).unwrap();
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert_eq!(line, typed);
    }
    drop(stdin);
    assert_eq!(lines.lines().count(), 0);
    assert!(child.wait().unwrap().success());
}

/// Input that ends before the task has begun waits for it: again and again, since it was
/// once lost when the client was faster than the node.
#[test]
fn input_that_is_there_before_the_guest_is_not_lost() {
    let desk = Desk::start();
    for round in 0..40 {
        let output = desk.fed(&["run", &guest("cat")], b"all of it");
        assert_eq!(stdout(&output), "all of it", "round {round}");
    }
}

#[test]
fn a_megabyte_goes_through_unharmed() {
    let desk = Desk::start();
    let sent: Vec<u8> = (0..1_048_583_u32).map(|number| (number * 7 % 251) as u8).collect();
    let output = desk.fed(&["run", &guest("cat")], &sent);
    assert!(output.stdout == sent, "{} bytes came back", output.stdout.len());
}

#[test]
fn control_c_cancels_the_job() {
    let desk = Desk::start();
    let child = piped(&desk, &["run", &guest("sleep_forever")]);
    desk_has_running_job(&desk);
    signal(child.id(), "INT");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(stderr(&output).contains("cancelling job 1"), "{}", stderr(&output));
    assert_eq!(desk.json(&["job", "1"])["state"], "cancelled");
}

#[test]
fn a_second_control_c_leaves_at_once() {
    let mut desk = Desk::start();
    let mut child = piped(&desk, &["run", &guest("sleep_forever")]);
    desk_has_running_job(&desk);
    // The cluster cannot answer: only leaving without its answer ends the command.
    desk.dev().suspend(true);
    signal(child.id(), "INT");
    let mut first = [0; 1];
    child.stderr.as_mut().unwrap().read_exact(&mut first).unwrap();
    let begun = Instant::now();
    signal(child.id(), "INT");
    let code = child.wait().unwrap().code();
    desk.dev().suspend(false);
    assert_eq!(code, Some(130));
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

fn desk_has_running_job(desk: &Desk) {
    until("the job runs", || {
        let jobs = desk.json(&["jobs", "--state", "running"]);
        (jobs["jobs"].as_array()?.len() == 1).then_some(())
    });
    desk.running("1");
}

/// As documented in docs/exit-codes.md, each with one line that says why.
#[test]
fn what_ends_a_guest_other_than_itself_has_its_own_exit_code_and_line() {
    let desk = Desk::start();
    let limit = ["--time-limit", "300ms"];
    for (name, flags, input, code, reason) in [
        ("panics", &[][..], "", 121, "trap"),
        ("grow_memory", &["--memory", "16MiB"], "", 122, "memory"),
        ("endless_loop", &limit, "", 124, "time"),
        ("obedient_handler", &[], r#"[{"fail": {"message": "no luck"}}]"#, 120, "no luck"),
        ("obedient_handler", &[], "no orders", 120, "expected"),
    ] {
        let output = desk.fed(&[&["run", &guest(name)], flags].concat(), input.as_bytes());
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{name}: {said}");
        let last = said.lines().last().unwrap();
        assert!(last.starts_with("wrun: ") || last.starts_with("error: "), "{name}: {said}");
        assert!(last.contains(reason), "{name}: {said}");
    }
}

#[test]
fn a_job_whose_output_nobody_reads_any_more_is_cancelled() {
    let desk = Desk::start();
    let mut child = piped(&desk, &["run", &guest("spinner")]);
    let mut byte = [0; 1];
    child.stdout.take().unwrap().read_exact(&mut byte).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(141));
    assert_eq!(desk.ended("1")["state"], "cancelled");
}

#[test]
fn a_handler_takes_my_input_and_its_result_is_my_output() {
    let desk = Desk::start();
    let output = desk.fed(&["run", &guest("word_count")], b"one two\ntwo");
    assert!(output.status.success(), "{}", stderr(&output));
    let counts: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&counts["words"], &counts["distinct"]), (&3.into(), &2.into()));
}
