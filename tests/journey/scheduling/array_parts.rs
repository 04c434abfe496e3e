//! A part of an array is cancelled, bounded, put back, tried again.

use crate::desk::{guest, stderr};
use crate::{Desk, until};

#[test]
fn a_part_of_an_array_is_cancelled_and_the_rest_goes_on() {
    let desk = Desk::start();
    let job = desk.submit(&[&guest("sleeper"), "--count", "12", "--", "120"]);
    let said = desk.says(&["cancel", &job, "--task", "3,8-11"]);
    assert_eq!(said, format!("these tasks of job {job} are cancelled\n"));
    let page = desk.ended(&job);
    assert_eq!((&page["tasks"]["succeeded"], &page["tasks"]["cancelled"]), (&7.into(), &5.into()));
    let listed = desk.json(&["job", &job, "--state", "cancelled"]);
    let tasks = listed["tasks_shown"].as_array().unwrap();
    let indices: Vec<u64> = tasks.iter().map(|task| task["index"].as_u64().unwrap()).collect();
    assert_eq!(indices, [3, 8, 9, 10, 11]);
    let late = desk.wrun(&["cancel", &job, "--task", "1"]);
    assert!(stderr(&late).contains("has ended"), "{}", stderr(&late));
}

#[test]
fn no_more_tasks_run_at_once_than_the_job_allows() {
    let desk = Desk::with(&["--cpu", "2", "--memory", "1GiB"]);
    let flags = ["--count", "9", "--cpu", "0.1", "--max-running", "2", "--", "100"];
    let job = desk.submit(&[&[guest("sleeper").as_str()], &flags[..]].concat());
    let most = until("the job ends", || {
        let page = desk.json(&["job", &job]);
        let running = page["tasks"]["running"].as_u64().unwrap();
        assert!(running <= 2, "{running} at once");
        page["ended_ms"].is_u64().then_some(running)
    });
    assert_eq!(most, 0);
}

#[test]
fn placed_tasks_are_put_back_at_a_users_wish() {
    let desk = Desk::start();
    let job = desk.submit(&[&guest("sleep_forever")]);
    desk.running(&job);
    assert_eq!(desk.says(&["requeue", &job]), format!("job {job} is requeued\n"));
    until("the second attempt runs", || {
        let page = desk.json(&["job", &job]);
        let task = &page["tasks_shown"][0];
        (task["attempts"] == 2 && task["state"] == "running").then_some(())
    });
    desk.says(&["cancel", &job]);
}

#[test]
fn tasks_of_a_job_that_has_ended_are_not_tried_again() {
    let desk = Desk::start();
    let job = desk.submit(&[&guest("exit_with"), "--count", "2", "--", "3"]);
    desk.ended(&job);
    let late = desk.wrun(&["retry", &job, "--task", "1"]);
    let said = format!("error: job {job} has ended already: submit it anew to run it again\n");
    assert_eq!(stderr(&late), said);
}
