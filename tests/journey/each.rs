//! An input for each task: lines of a file, texts of a job file.

use std::time::{Duration, Instant};

use crate::Desk;
use crate::desk::{guest, stderr, stdout};

#[test]
fn each_line_of_a_file_is_the_input_of_a_task() {
    let desk = Desk::start();
    desk.write("names.txt", "Ada\nGrace\r\n\nAlan");
    let job = desk.submit(&["--each-line", "names.txt", &guest("cat")]);
    let page = desk.ended(&job);
    assert_eq!((&page["state"], &page["spec"]["count"]), (&"succeeded".into(), &4.into()));
    assert_eq!(page["spec"]["input"], "each");
    let of = |index: &str| desk.says(&["output", &job, "--task", index]);
    assert_eq!(["0", "1", "2", "3"].map(of), ["Ada", "Grace", "", "Alan"]);
    let shown = desk.says(&["job", &job]);
    assert!(shown.contains("input      one of 4 items\n"), "{shown}");
}

#[test]
fn a_handler_is_given_its_item_and_lines_come_through_a_pipe() {
    let desk = Desk::start();
    let orders = b"[{\"log\": \"the first\"}]\n[{\"log\": \"the second\"}]\n";
    let output = desk.fed(&["run", "--each-line", "-", &guest("obedient_handler")], orders);
    assert!(output.status.success(), "{}", stderr(&output));
    let logs = desk.wrun(&["logs", "1"]);
    let logs = stdout(&logs) + &stderr(&logs);
    assert!(logs.contains("0 | INFO the first") && logs.contains("1 | INFO the second"), "{logs}");
}

#[test]
fn texts_of_a_job_file_are_items_and_one_line_is_one_task() {
    let desk = Desk::start();
    let job = desk.submit_file("cat", "for_each = [\"a\\n\", \"b\\n\", \"c\\n\"]");
    desk.ended(&job);
    assert_eq!(desk.says(&["output", &job]), "a\nb\nc\n");
    desk.write("jobs/one.txt", "alone");
    let file = desk.job_file("cat", "for_each_line = \"one.txt\"");
    assert_eq!(desk.says(&["run", &file]), "alone");
    // The flag gives other items than the file.
    desk.write("two.txt", "x\ny\n");
    assert_eq!(desk.says(&["run", &file, "--each-line", "two.txt"]), "xy");
}

#[test]
fn ten_thousand_lines_are_ten_thousand_tasks_in_little_time() {
    let desk = Desk::start();
    let lines: Vec<String> = (0..10_000).map(|number| format!("line {number}")).collect();
    desk.write("many.txt", lines.join("\n"));
    let begun = Instant::now();
    let job = desk.submit(&["--each-line", "many.txt", &guest("cat")]);
    let page = desk.ended(&job);
    assert_eq!(page["tasks"]["succeeded"], 10_000, "{page}");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    for index in [0, 1, 4_321, 9_999] {
        let output = desk.says(&["output", &job, "--task", &index.to_string()]);
        assert_eq!(output, lines[index]);
    }
}

#[test]
fn a_large_line_travels_as_a_blob_of_its_own() {
    let desk = Desk::start();
    let large = "x".repeat(3 << 20);
    let text = format!("small\n{large}\n{large}!\nlast\n");
    let job = desk.fed(&["submit", "--each-line", "-", &guest("cat")], text.as_bytes());
    let job = stdout(&job).trim_end().to_owned();
    let page = desk.ended(&job);
    assert_eq!(page["state"], "succeeded", "{page:#}");
    let of = |index: &str| desk.says(&["output", &job, "--task", index]);
    assert_eq!(of("0"), "small");
    assert!(of("1") == large, "the large line came whole");
    assert!(of("2") == large + "!", "the other one too");
    assert_eq!(of("3"), "last");
}

#[test]
fn some_tasks_of_a_job_are_waited_for() {
    let desk = Desk::start();
    let job = desk.submit(&["--count", "60", "--cpu", "0.5", &guest("sleeper"), "--", "300"]);
    let part = desk.wrun(&["wait", &job, "--task", "0-3"]);
    assert_eq!(part.status.code(), Some(0), "{}", stderr(&part));
    let last = stderr(&part);
    assert!(last.ends_with(&format!("tasks 0-3 of job {job} succeeded (4 succeeded)\n")), "{last}");
    assert_eq!(desk.json(&["job", &job])["state"], "running", "the others go on");

    desk.says(&["cancel", &job, "--task", "50-59"]);
    let part = desk.wrun(&["wait", &job, "--task", "1,55-57"]);
    assert_eq!(part.status.code(), Some(130), "{}", stderr(&part));
    let beyond = desk.wrun(&["wait", &job, "--task", "58-60"]);
    assert_eq!(beyond.status.code(), Some(66), "{}", stderr(&beyond));
    assert!(stderr(&beyond).contains("has no task 60; its tasks are 0 to 59"));
    desk.says(&["cancel", &job]);

    let job = desk.submit(&["--count", "3", &guest("flaky"), "--", "9"]);
    assert_eq!(desk.wrun(&["wait", &job, "-t", "1"]).status.code(), Some(1));
}
