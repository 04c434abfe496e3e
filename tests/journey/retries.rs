//! Which failures run again, how often and when.

use serde_json::Value;

use crate::Desk;
use crate::desk::guest;

fn attempts(page: &Value) -> u64 {
    page["tasks_shown"][0]["attempts"].as_u64().unwrap()
}

fn milliseconds(page: &Value) -> u64 {
    page["ended_ms"].as_u64().unwrap() - page["submitted_ms"].as_u64().unwrap()
}

#[test]
fn the_wait_before_a_retry_doubles_up_to_its_bound() {
    let desk = Desk::start();
    let job =
        desk.submit_file("flaky", "args = [\"4\"]\nretries = 3\n[retry]\nbackoff = \"200ms\"");
    let page = desk.ended(&job);
    assert_eq!((&page["state"], attempts(&page)), (&"succeeded".into(), 4));
    assert!((1400..5000).contains(&milliseconds(&page)), "200 + 400 + 800 ms: {page:#}");
    let retry = "[retry]\nbackoff = \"100ms\"\nmax_backoff = \"100ms\"";
    let job = desk.submit_file("flaky", &format!("args = [\"7\"]\nretries = 6\n{retry}"));
    let page = desk.ended(&job);
    assert_eq!(attempts(&page), 7);
    assert!((600..3000).contains(&milliseconds(&page)), "not 6.3 s: {page:#}");
}

#[test]
fn only_the_failures_that_are_named_run_again() {
    let desk = Desk::start();
    for (guest, args, on, expected) in [
        ("flaky", "3", "\"exit:7\"", 3),
        ("flaky", "3", "\"exit:6\", \"trap\"", 1),
        ("panics", "", "\"trap\"", 3),
        ("panics", "", "\"exit:7\", \"limit\"", 1),
        ("grow_memory", "", "\"limit\"", 3),
        ("grow_memory", "", "\"handler\"", 1),
    ] {
        let fields = format!(
            "args = [\"{args}\"]\nmemory = \"16MiB\"\nretries = 2\n\
             retry = {{ backoff = \"10ms\", on = [{on}] }}"
        );
        let page = desk.ended(&desk.submit_file(guest, &fields));
        assert_eq!(attempts(&page), expected, "{guest} on {on}: {page:#}");
    }
}

#[test]
fn retries_end_and_the_last_failure_is_told() {
    let desk = Desk::start();
    let job = desk.submit(&[&guest("exit_with"), "--retries", "1", "--", "5"]);
    let page = desk.ended(&job);
    assert_eq!((&page["state"], attempts(&page)), (&"failed".into(), 2));
    assert_eq!(page["failure"]["code"], 5);
}
