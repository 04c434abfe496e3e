//! Why a job waits and when it will start, as its user is told, and that it is true.

use crate::desk::guest;
use crate::{Desk, until};

/// The codes of the reasons that hold a job, and its explanation.
fn explained(desk: &Desk, job: &str) -> (Vec<String>, serde_json::Value) {
    let page = desk.json(&["explain", job]);
    let reasons = page["reasons"].as_array().unwrap();
    let codes = reasons.iter().map(|reason| reason["code"].as_str().unwrap().to_owned());
    (codes.collect(), page)
}

#[test]
fn a_job_behind_a_promise_is_told_whose_until_when_and_what_would_help() {
    let desk = Desk::with(&["--cpu", "2", "--memory", "1GiB"]);
    let forever = guest("sleep_forever");
    let first = desk.submit(&[&forever, "--time-limit", "10m"]);
    desk.running(&first);
    let gang = desk.submit(&[&forever, "--count", "2", "--gang", "--time-limit", "5m"]);
    let long = desk.submit(&[&forever, "--time-limit", "1h"]);
    let (codes, page) = explained(&desk, &long);
    assert_eq!(codes, ["too-long", "behind", "promised"], "{page}");
    let (_, head) = explained(&desk, &gang);
    assert!(head["assumption"].as_str().unwrap().starts_with("promised, by time limits"), "{head}");
    let started = desk.json(&["job", &first])["started_ms"].as_u64().unwrap();
    let expected = head["expected_ms"].as_u64().unwrap();
    assert_eq!(expected, started + 600_000, "when the one that runs has to end");
    assert_eq!(page["expected_ms"].as_u64(), Some(expected + 300_000), "after the gang");

    let text = desk.says(&["explain", &long]);
    assert!(text.contains(&format!("promised to job {gang}")), "{text}");
    assert!(text.contains("\nstart    in "), "{text}");
    assert!(text.contains("\nadvice   a time limit of at most 9m"), "{text}");
    let queue = desk.json(&["queue"]);
    let rows = queue["queue"].as_array().unwrap();
    assert_eq!(rows[0]["expected_ms"].as_u64(), Some(expected), "{queue}");

    desk.says(&["update", &long, "--time-limit", "9m"]);
    until("it starts as was advised", || {
        let page = desk.json(&["job", &long]);
        (page["tasks"]["running"] == 1).then_some(())
    });
}

#[test]
fn tasks_that_are_frozen_are_shown_and_explained_so() {
    let desk = Desk::with(&["--cpu", "1", "--memory", "1GiB"]);
    desk.write(
        "policy.toml",
        "[qos.bulk]\npriority = 1\n[qos.urgent]\npriority = 2\npreempts = [\"bulk\"]\n",
    );
    desk.says(&["policy", "set", "policy.toml"]);
    let forever = guest("sleep_forever");
    let bulk = desk.submit(&[&forever, "--qos", "bulk"]);
    desk.running(&bulk);
    let urgent = desk.submit(&[&forever, "--qos", "urgent"]);
    desk.running(&urgent);
    let page = desk.json(&["job", &bulk]);
    assert_eq!(page["tasks_shown"][0]["state"], "frozen", "{page}");
    let (codes, page) = explained(&desk, &bulk);
    assert_eq!(codes, ["frozen"], "{page}");
    let text = desk.says(&["explain", &bulk]);
    assert!(text.contains(&format!("for job {urgent}")), "{text}");
    desk.says(&["cancel", &urgent]);
    until("it goes on", || {
        let page = desk.json(&["job", &bulk]);
        (page["tasks_shown"][0]["state"] == "running").then_some(())
    });
}

#[test]
fn a_reservation_for_others_is_not_shown_as_one_for_nobody() {
    let desk = Desk::start();
    desk.says(&["user", "add", "lab", "-o", "lab.toml"]);
    desk.says(&["user", "add", "shop", "-o", "shop.toml"]);
    let lasts = ["--start", "+1h", "--duration", "1h"];
    desk.says(&[&["reserve", "night", "--all", "--tenant", "lab"], &lasts[..]].concat());
    let seen = |credential: &str| desk.says(&["--credential", credential, "reservations"]);
    assert!(seen("lab.toml").trim_end().ends_with("lab"), "{}", seen("lab.toml"));
    assert!(seen("shop.toml").trim_end().ends_with("others"), "{}", seen("shop.toml"));
}
