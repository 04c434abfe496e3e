//! Jobs that wait for others.

use crate::Desk;
use crate::desk::{guest, stderr, stdout};

#[test]
fn a_job_runs_once_what_it_waits_for_has_succeeded() {
    let desk = Desk::start();
    let first = desk.submit(&[&guest("sleeper"), "--", "400"]);
    let second = desk.submit(&[&guest("hello"), "--depends-on", &first]);
    let page = desk.json(&["job", &second]);
    let reason = page["pending_reason"].as_str().unwrap();
    assert!(reason.contains(&format!("job {first}")), "{reason}");
    let (first, second) = (desk.ended(&first), desk.ended(&second));
    assert_eq!(second["state"], "succeeded");
    assert!(second["started_ms"].as_u64() >= first["ended_ms"].as_u64(), "{first} {second}");
}

#[test]
fn a_job_that_waits_in_vain_is_cancelled_with_the_reason() {
    let desk = Desk::start();
    let first = desk.submit(&[&guest("exit_with"), "--", "3"]);
    let hopes = desk.submit(&[&guest("hello"), "--depends-on", &first]);
    let fears = desk.submit(&[&guest("hello"), "--depends-on", &format!("failure:{first}")]);
    let after = desk.submit(&[&guest("hello"), "--depends-on", &format!("end:{first}")]);
    let hopes = desk.ended(&hopes);
    assert_eq!(hopes["state"], "cancelled", "{hopes}");
    let failure = hopes["failure"].to_string();
    assert!(failure.contains(&format!("job {first}")), "{failure}");
    assert_eq!(desk.ended(&fears)["state"], "succeeded");
    assert_eq!(desk.ended(&after)["state"], "succeeded");
}

#[test]
fn jobs_that_ended_before_count_too() {
    let desk = Desk::start();
    let good = desk.submit(&[&guest("hello")]);
    desk.ended(&good);
    let bad = desk.submit(&[&guest("exit_with"), "--", "3"]);
    desk.ended(&bad);
    let after = desk.submit(&[&guest("hello"), "--depends-on", &good]);
    assert_eq!(desk.ended(&after)["state"], "succeeded");
    let refused = desk.wrun(&["submit", &guest("hello"), "--depends-on", &bad]);
    assert!(!refused.status.success(), "{}", stdout(&refused));
    let said = stderr(&refused);
    assert!(said.contains(&format!("job {bad}")), "{said}");
    let refused = desk.wrun(&["submit", &guest("hello"), "--depends-on", "end:99"]);
    assert_eq!(refused.status.code(), Some(66), "{}", stderr(&refused));
}

#[test]
fn arrays_wait_task_by_task() {
    let desk = Desk::with(&["--cpu", "2", "--memory", "1GiB"]);
    let first = desk.submit(&[&guest("sleeper"), "--count", "6", "--", "150"]);
    let each = format!("each-success:{first}");
    let second = desk.submit(&[&guest("hello"), "--count", "6", "--depends-on", &each]);
    assert_eq!(desk.ended(&second)["tasks"]["succeeded"], 6);
    assert_eq!(desk.ended(&first)["tasks"]["succeeded"], 6);
    let short = desk.wrun(&["submit", &guest("hello"), "--count", "5", "--depends-on", &each]);
    assert!(!short.status.success(), "arrays of different lengths");
}
