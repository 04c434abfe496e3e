//! Arrays: many tasks, one job.

use crate::Desk;
use crate::desk::{guest, stderr, stdout};

#[test]
fn each_task_knows_its_index_and_outputs_come_in_order() {
    let desk = Desk::start();
    let output = desk.wrun(&["run", &guest("hello"), "--count", "12"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let expected: String =
        (0..12).map(|index| format!("Hello, wrun!\nI am task {index} of 12.\n")).collect();
    assert_eq!(stdout(&output), expected);
}

#[test]
fn progress_in_a_pipe_is_plain_lines() {
    let desk = Desk::start();
    let run = ["run", &guest("sleeper"), "--count", "60", "--cpu", "0.2", "--", "450"];
    let output = desk.wrun(&run);
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains('\u{1b}') && !said.contains('\r'), "{said:?}");
    assert!(said.lines().all(|line| line.contains("job 1 ")), "{said}");
    assert!(said.lines().any(|line| line.contains("/60 ended")), "{said}");
    assert!(said.lines().count() >= 3, "a line every two seconds: {said}");
    assert!(said.lines().last().unwrap().contains("60 succeeded"), "{said}");
    let again = stderr(&desk.wrun(&["wait", "1"]));
    assert!(again.contains("60 succeeded"), "{again}");
}

#[test]
fn outputs_of_all_tasks_become_one_stream_or_a_file_each() {
    let desk = Desk::start();
    let job = desk.submit(&[&guest("hello"), "--count", "3"]);
    desk.ended(&job);
    let of = |index: u32| format!("Hello, wrun!\nI am task {index} of 3.\n");
    assert_eq!(desk.says(&["output", &job]), [of(0), of(1), of(2)].concat());
    assert_eq!(desk.says(&["output", &job, "--task", "2"]), of(2));
    desk.says(&["output", &job, "-o", "all/"]);
    for index in 0..3 {
        let file = desk.folder().join("all").join(index.to_string());
        assert_eq!(std::fs::read_to_string(file).unwrap(), of(index));
    }
}

#[test]
fn logs_of_all_tasks_say_which_task_wrote_a_line() {
    let desk = Desk::start();
    let job = desk.submit(&[&guest("hello"), "--count", "11"]);
    desk.ended(&job);
    let logs = desk.says(&["logs", &job]);
    assert_eq!(logs.lines().count(), 22);
    assert!(logs.contains("\n 7 | I am task 7 of 11.\n 8 | Hello, wrun!\n"), "{logs}");
    assert_eq!(desk.says(&["logs", &job, "--task", "7"]), "Hello, wrun!\nI am task 7 of 11.\n");
    assert_eq!(desk.wrun(&["logs", &job, "-f"]).status.code(), Some(65), "only one is followed");
}

#[test]
fn tasks_are_listed_by_state_and_page() {
    let desk = Desk::start();
    let job = desk.submit(&[&guest("flaky"), "--count", "5", "--", "9"]);
    let page = desk.ended(&job);
    assert_eq!((&page["state"], &page["tasks"]["failed"]), (&"failed".into(), &5.into()));
    let listed = desk.json(&["job", &job, "--state", "failed", "--from", "2", "--limit", "2"]);
    let indexes: Vec<u64> = listed["tasks_shown"]
        .as_array()
        .unwrap()
        .iter()
        .map(|task| task["index"].as_u64().unwrap())
        .collect();
    assert_eq!(indexes, [2, 3]);
}
