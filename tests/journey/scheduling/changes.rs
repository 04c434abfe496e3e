//! Jobs are held, released and changed while they wait.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::desk::{guest, stderr};
use crate::{Desk, until};

#[test]
fn a_held_job_waits_until_it_is_released() {
    let desk = Desk::start();
    let job = desk.submit(&[&guest("hello"), "--hold"]);
    let page = desk.json(&["job", &job]);
    assert_eq!(page["state"], "pending");
    assert!(page["pending_reason"].as_str().unwrap().contains("held"), "{page}");
    assert_eq!(desk.says(&["release", &job]), format!("job {job} is released\n"));
    assert_eq!(desk.ended(&job)["state"], "succeeded");
    let late = desk.wrun(&["hold", &job]);
    assert!(stderr(&late).contains("has ended"), "{}", stderr(&late));
}

#[test]
fn a_job_begins_no_sooner_than_it_says() {
    let desk = Desk::start();
    // The client counts from when it is called, which may be long before the server has the job.
    let called = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let job = desk.submit(&[&guest("hello"), "--begin", "+1s"]);
    let page = desk.ended(&job);
    let started = page["started_ms"].as_u64().unwrap();
    assert!(u128::from(started) >= called + 1000, "{called}: {page}");
}

#[test]
fn what_has_not_ended_by_its_deadline_is_cancelled() {
    let desk = Desk::start();
    let job = desk.submit(&[&guest("sleep_forever"), "--deadline", "+1s"]);
    let page = desk.ended(&job);
    assert_eq!(page["state"], "cancelled", "{page}");
}

#[test]
fn a_job_that_waits_can_be_given_another_priority_and_place() {
    let desk = Desk::with(&["--cpu", "1", "--memory", "1GiB"]);
    let first = desk.submit(&[&guest("sleep_forever")]);
    desk.running(&first);
    let low = desk.submit(&[&guest("hello"), "--name", "low"]);
    let high = desk.submit(&[&guest("hello"), "--name", "high"]);
    let said = desk.says(&["update", &low, "--priority", "5", "--time-limit", "1m"]);
    assert_eq!(said, format!("job {low} is updated\n"));
    assert_eq!(desk.json(&["job", &low])["priority"], 5);
    desk.says(&["cancel", &first]);
    let (low, high) = (desk.ended(&low), desk.ended(&high));
    assert!(low["started_ms"].as_u64() <= high["started_ms"].as_u64(), "{low} {high}");
}

#[test]
fn limits_keep_tasks_waiting_and_say_so() {
    let desk = Desk::with(&["--cpu", "2", "--memory", "1GiB"]);
    desk.write(
        "policy.toml",
        "[qos.small]\ntenant_limits = { running = 1 }\n[tenant.main]\nlimits = { queued = 4 }\n",
    );
    desk.says(&["policy", "set", "policy.toml"]);
    let flags = ["--qos", "small", "--cpu", "0.1", "--count", "3"];
    let job = desk.submit(&[&[guest("sleep_forever").as_str()], &flags[..]].concat());
    let page = until("one task runs", || {
        let page = desk.json(&["job", &job]);
        (page["tasks"]["running"] == 1).then_some(page)
    });
    let reason = page["pending_reason"].as_str().unwrap();
    assert!(reason.contains("small"), "{reason}");
    let refused = desk.wrun(&["submit", &guest("hello"), "--count", "2"]);
    assert_eq!(refused.status.code(), Some(75), "{}", stderr(&refused));
    let refused = desk.wrun(&["submit", &guest("hello"), "--qos", "large"]);
    assert!(stderr(&refused).contains("large"), "{}", stderr(&refused));
}

#[test]
fn nothing_starts_that_would_run_into_maintenance() {
    let desk = Desk::start();
    assert_eq!(desk.wrun(&["update", "1"]).status.code(), Some(2), "nothing to change");
    let lasts = ["--start", "+0s", "--duration", "1h"];
    let made = desk.says(&[&["reserve", "upkeep", "--all"], &lasts[..]].concat());
    assert_eq!(made, "reservation upkeep is made\n");
    assert!(desk.says(&["reservations"]).contains("all nodes"));
    let job = desk.submit(&[&guest("hello"), "--time-limit", "5s"]);
    assert_eq!(desk.json(&["job", &job])["state"], "pending");
    assert_eq!(desk.says(&["unreserve", "upkeep"]), "reservation upkeep is given up\n");
    assert_eq!(desk.ended(&job)["state"], "succeeded");
}
