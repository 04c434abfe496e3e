//! Submit and leave, come back and ask: jobs, job, logs, output, wait, cancel.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::Desk;
use crate::desk::{guest, stderr, stdout};

#[test]
fn submit_prints_an_id_and_does_not_wait() {
    let desk = Desk::start();
    let printed = desk.says(&["submit", &guest("sleeper"), "--", "2000"]);
    assert_eq!(printed, "1\n");
    let page = desk.json(&["job", "1"]);
    assert!(matches!(page["state"].as_str(), Some("pending" | "running")), "{page}");
    assert_eq!(desk.submit(&[&guest("noop")]), "2", "ids count up");
    assert_eq!(desk.ended("2")["state"], "succeeded", "and jobs run beside each other");
}

#[test]
fn jobs_are_listed_newest_first_and_by_state() {
    let desk = Desk::start();
    for (code, name) in [("0", "good"), ("4", "bad")] {
        let job = desk.submit(&[&guest("exit_with"), "--name", name, "--", code]);
        desk.ended(&job);
    }
    let listing = desk.says(&["jobs"]);
    let lines: Vec<&str> = listing.lines().collect();
    assert_eq!(lines.len(), 3, "{listing}");
    assert!(lines[0].contains("STATE") && lines[1].contains("bad") && lines[2].contains("good"));
    let failed = desk.says(&["jobs", "--state", "failed"]);
    assert!(failed.contains("bad") && !failed.contains("good"), "{failed}");
    let older = desk.says(&["jobs", "--before", "2"]);
    assert!(older.contains("good") && !older.contains("bad"), "{older}");
    assert_eq!(desk.says(&["jobs", "-n", "1"]).lines().count(), 2);
}

#[test]
fn a_job_is_one_page_with_its_tasks_and_why_it_failed() {
    let desk = Desk::start();
    let job = desk.submit(&[&guest("exit_with"), "--name", "sums", "--", "4"]);
    desk.ended(&job);
    let page = desk.says(&["job", &job]);
    for said in [
        "job        1 sums",
        "state      failed",
        "tasks      1 (1 failed)",
        "failure    exit code 4",
        "tenant     main",
        "submitted  20",
        "used       ",
        "arguments  4",
        "dev-1",
    ] {
        assert!(page.contains(said), "{said} is not in:\n{page}");
    }
    let task = &desk.json(&["job", &job])["tasks_shown"][0];
    assert_eq!((&task["attempts"], &task["outcome"]["code"]), (&1.into(), &4.into()));
    assert!(task["usage"]["wall_us"].as_u64() > Some(0), "{task}");
    assert!(task["usage"]["peak_memory"].as_u64() > Some(0), "{task}");
}

#[test]
fn a_job_that_waits_says_for_what() {
    let desk = Desk::with(&["--cpu", "1"]);
    let first = desk.submit(&[&guest("sleep_forever")]);
    desk.running(&first);
    let second = desk.submit(&[&guest("noop")]);
    let page = desk.says(&["job", &second]);
    let reason = page.lines().find(|line| line.starts_with("waits for")).expect(&page);
    assert!(reason.to_lowercase().contains("cpu"), "{reason}");
    desk.says(&["cancel", &first]);
    assert_eq!(desk.ended(&second)["state"], "succeeded");
}

#[test]
fn logs_follow_a_running_task_to_its_end() {
    let desk = Desk::start();
    let job = desk.submit(&[&guest("spinner"), "--", "1500"]);
    let mut command = desk.command();
    command.args(["logs", &job, "-f"]).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert_eq!(desk.json(&["job", &job])["state"], "running", "a line came while it runs");
    assert!(first.starts_with("0 "), "{first}");
    assert!(lines.count() > 50, "and the rest until its end");
    assert!(child.wait().unwrap().success());
    assert_eq!(desk.json(&["job", &job])["state"], "succeeded");
}

#[test]
fn logs_follow_a_task_across_its_retries() {
    let desk = Desk::start();
    let fields = "args = [\"3\"]\nretries = 4\nretry = { backoff = \"300ms\" }";
    let job = desk.submit_file("flaky", fields);
    assert_eq!(desk.says(&["logs", &job, "-f"]), "attempt 1\nattempt 2\nattempt 3\n");
    assert_eq!(desk.json(&["job", &job])["tasks_shown"][0]["attempts"], 3);
}

#[test]
fn logs_tell_standard_output_from_standard_error() {
    let desk = Desk::start();
    let job = desk.submit(&[&guest("hello"), "--", "--exit", "1"]);
    desk.ended(&job);
    let output = desk.wrun(&["logs", &job]);
    assert_eq!(stdout(&output), "Hello, wrun!\nI am task 0 of 1.\n");
    assert_eq!(stderr(&output), "ending with exit code 1, as asked\n");
}

#[test]
fn output_goes_to_standard_output_or_to_a_file() {
    let desk = Desk::start();
    let input = desk.write("in.txt", "kept as it is\u{0}\n");
    let job = desk.submit(&[&guest("cat"), "--input", input.to_str().unwrap()]);
    desk.ended(&job);
    assert_eq!(desk.says(&["output", &job]), "kept as it is\u{0}\n");
    assert_eq!(desk.says(&["output", &job, "--task", "0", "-o", "out.txt"]), "");
    assert_eq!(
        std::fs::read_to_string(desk.folder().join("out.txt")).unwrap(),
        "kept as it is\0\n"
    );
    assert_eq!(desk.wrun(&["output", &job, "--task", "1"]).status.code(), Some(66));
}

#[test]
fn wait_ends_as_the_job_does() {
    let desk = Desk::start();
    let good = desk.submit(&[&guest("sleeper"), "--", "300"]);
    let bad = desk.submit(&[&guest("exit_with"), "--", "9"]);
    assert_eq!(desk.wrun(&["wait", &good]).status.code(), Some(0));
    let output = desk.wrun(&["wait", &bad]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("exit code 9"), "{}", stderr(&output));
    let endless = desk.submit(&[&guest("sleep_forever")]);
    desk.says(&["cancel", &endless]);
    assert_eq!(desk.wrun(&["wait", &endless]).status.code(), Some(130));
}

#[test]
fn cancel_stops_what_runs_and_what_waits() {
    let desk = Desk::with(&["--cpu", "1"]);
    let runs = desk.submit(&[&guest("endless_loop")]);
    let waits = desk.submit(&[&guest("noop"), "--count", "100"]);
    desk.running(&runs);
    desk.says(&["cancel", &waits, &runs]);
    for (job, tasks) in [(&runs, 1), (&waits, 100)] {
        let page = desk.ended(job);
        assert_eq!(page["state"], "cancelled");
        assert_eq!(page["tasks"]["cancelled"], tasks);
    }
    assert_eq!(desk.wrun(&["cancel", "77"]).status.code(), Some(66));
    let last = desk.submit(&[&guest("noop")]);
    assert_eq!(desk.ended(&last)["state"], "succeeded", "the node is free again");
}
