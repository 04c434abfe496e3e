//! Jobs that come again and again.

use std::time::Duration;

use harness::{Cluster, Settings};
use serde_json::Value;

use crate::desk::{guest, stderr, stdout};
use crate::schema::Schema;
use crate::{Desk, until};

/// A cluster whose schedules may be due every second, and are late or missed just as soon.
fn desk() -> Desk {
    let server_file = "least_schedule_period = \"1s\"\nmissed_after = \"500ms\"\n".to_owned();
    Desk::of(Cluster::with(Settings { server_file, ..Settings::default() }))
}

impl Desk {
    fn schedule(&self) -> Value {
        self.json(&["schedules"])["schedules"][0].clone()
    }

    fn jobs_so_far(&self) -> u64 {
        self.schedule()["last_run"]["job"].as_u64().unwrap_or(0)
    }

    fn has_run(&self, times: u64) {
        until("it has run so often", || (self.jobs_so_far() >= times).then_some(()));
    }
}

#[test]
fn a_job_runs_at_every_time_that_is_due_until_its_schedule_is_paused_or_removed() {
    let desk = desk();
    let schema = Schema::of(&desk);
    let work = [&guest("hello"), "--name", "tick-job"];
    let add = ["schedule", "add", "tick", "--cron", "@every 1s", "--overlap", "queue", "--json"];
    let added = desk.wrun(&[&add[..], &work[..]].concat());
    let added: Value = serde_json::from_str(&stdout(&added))
        .unwrap_or_else(|error| panic!("{error}: {}", stderr(&added)));
    schema.check("schedule", &added);
    desk.has_run(2);
    schema.check("schedules", &desk.json(&["schedules"]));
    let first = desk.ended("1");
    assert_eq!((&first["state"], &first["name"]), (&"succeeded".into(), &"tick-job".into()));

    assert_eq!(desk.says(&["schedule", "pause", "tick"]), "schedule tick is paused\n");
    let paused = desk.schedule();
    assert_eq!((&paused["paused"], &paused["next_ms"]), (&true.into(), &Value::Null));
    let last = paused["last_run"]["job"].as_u64().unwrap();
    desk.ended(&last.to_string());
    let seen = desk.says(&["schedules"]);
    let row: Vec<&str> = seen.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..4], ["tick", "@every", "1s", "paused"], "{seen}");
    assert!(row.contains(&"succeeded"), "the history tells how it ended: {seen}");
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(desk.jobs_so_far(), last);

    desk.says(&["schedule", "resume", "tick"]);
    desk.has_run(last + 1);
    assert_eq!(desk.says(&["schedule", "remove", "tick"]), "schedule tick is removed\n");
    assert_eq!(desk.json(&["schedules"])["schedules"], Value::Array(Vec::new()));
    let gone = desk.wrun(&["schedule", "remove", "tick"]);
    assert_eq!(gone.status.code(), Some(66), "{}", stderr(&gone));
}

#[test]
fn a_server_that_dies_again_and_again_makes_each_run_once() {
    let mut desk = desk();
    let cron = ["--cron", "@every 1s", "--overlap", "queue", "--missed", "all"];
    let add = ["schedule", "add", "tick", &guest("hello")];
    desk.says(&[&add[..], &cron[..]].concat());
    // Only the schedule submits: were a run made twice or not at all, its numbers and its
    // times would part.
    let pace = |desk: &Desk| {
        let last = desk.schedule()["last_run"].clone();
        last["due_ms"].as_u64().unwrap() - 1000 * last["job"].as_u64().unwrap()
    };
    desk.has_run(1);
    let begun = pace(&desk);
    for down in [0, 700, 2500] {
        let before = desk.jobs_so_far();
        desk.cluster().server.kill();
        std::thread::sleep(Duration::from_millis(down));
        desk.cluster().restart_server();
        desk.has_run(before + 2);
        assert_eq!(pace(&desk), begun, "{}", desk.schedule());
    }
    desk.says(&["schedule", "pause", "tick"]);
    let last = desk.jobs_so_far();
    let ended = (1..=last).map(|job| desk.ended(&job.to_string())["state"].clone());
    assert!(ended.into_iter().all(|state| state == "succeeded"));
}

#[test]
fn a_run_that_would_overlap_is_left_out_and_says_so() {
    let desk = desk();
    let work = guest("sleep_forever");
    desk.says(&["schedule", "add", "slow", "--cron", "@every 1s", &work]);
    let left_out = until("a run is left out", || {
        let schedule = desk.schedule();
        schedule["left_out"].is_object().then_some(schedule)
    });
    assert_eq!(left_out["left_out"]["why"], "overlaps");
    assert_eq!(left_out["live_runs"], 1);
    let seen = desk.says(&["schedules"]);
    assert!(seen.contains("job 1 had not ended"), "{seen}");
}

#[test]
fn what_cannot_be_a_schedule_is_refused_with_what_to_do() {
    let desk = Desk::start();
    let hello = guest("hello");
    for (arguments, code, says) in [
        (["tick", "--cron", "61 * * * *"], 2, "`61` in the field minute: use 0 to 59"),
        (["tick", "--cron", "@every 5s"], 65, "60s is the least allowed"),
        (["a b", "--cron", "@daily"], 65, "beginning with a letter or digit"),
    ] {
        let arguments = [&["schedule", "add"], &arguments[..], &[hello.as_str()]].concat();
        let refused = desk.wrun(&arguments);
        assert_eq!(refused.status.code(), Some(code), "{arguments:?}: {}", stderr(&refused));
        assert!(stderr(&refused).contains(says), "{arguments:?}: {}", stderr(&refused));
    }
    let again = ["schedule", "add", "nightly", "--cron", "0 3 * * *", &hello];
    desk.says(&again);
    desk.says(&again);
    let other = desk.wrun(&["schedule", "add", "nightly", "--cron", "0 4 * * *", &hello]);
    assert!(stderr(&other).contains("remove it first"), "{}", stderr(&other));
}
