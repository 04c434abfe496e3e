//! Nodes come, drain, and leave.

use std::time::{Duration, Instant};

use harness::{Cluster, Settings};
use serde_json::Value;

use crate::desk::{guest, signal, stderr};
use crate::{Desk, until};

fn desk(workers: usize, grace: &str) -> Desk {
    let text = str::to_owned;
    Desk::of(Cluster::with(Settings {
        workers,
        grace: text(grace),
        lease: text("800ms"),
        heartbeat: text("100ms"),
        ..Settings::default()
    }))
}

fn node(desk: &Desk, name: &str) -> Value {
    let nodes = desk.json(&["nodes"]);
    let nodes = nodes["nodes"].as_array().unwrap();
    nodes.iter().find(|node| node["name"] == name).unwrap().clone()
}

/// The place in the cluster of the worker that runs the job's only task.
fn runs_on(page: &Value) -> usize {
    let name = page["tasks_shown"][0]["node_name"].as_str().unwrap();
    name.trim_start_matches('w').parse::<usize>().unwrap() - 1
}

#[test]
fn nodes_are_listed_with_what_they_have_and_what_is_taken() {
    let desk = desk(2, "5s");
    let job = desk.submit(&[&guest("sleep_forever"), "--memory", "512MiB"]);
    let name = format!("w{}", runs_on(&desk.running(&job)) + 1);
    let listing = desk.says(&["nodes"]);
    let line = listing.lines().find(|line| line.contains(&name)).unwrap();
    assert!(line.contains("ready") && line.contains("1/2"), "{listing}");
    assert!(line.contains("512 MiB/2 GiB"), "{listing}");
    assert_eq!(node(&desk, &name)["tasks"], 1);
}

#[test]
fn a_drained_node_finishes_and_takes_nothing_new_until_it_is_taken_back() {
    let desk = desk(2, "5s");
    let job = desk.submit(&[&guest("sleeper"), "--", "1500"]);
    let name = format!("w{}", runs_on(&desk.running(&job)) + 1);
    desk.says(&["drain", &name]);
    assert_eq!(node(&desk, &name)["state"], "draining");
    let array = desk.submit(&[&guest("noop"), "--count", "40"]);
    desk.ended(&array);
    let page = desk.json(&["job", &array, "--limit", "40"]);
    let elsewhere = |task: &Value| task["node_name"] != name.as_str();
    assert!(page["tasks_shown"].as_array().unwrap().iter().all(elsewhere));
    let page = desk.ended(&job);
    assert_eq!(
        (&page["state"], &page["tasks_shown"][0]["attempts"]),
        (&"succeeded".into(), &1.into())
    );
    desk.says(&["drain", &name, "--undo"]);
    assert_eq!(node(&desk, &name)["state"], "ready");
    assert_eq!(desk.wrun(&["drain", "nobody"]).status.code(), Some(66));
}

#[test]
fn a_worker_told_to_stop_finishes_what_its_grace_allows() {
    let mut desk = desk(2, "5s");
    let job = desk.submit(&[&guest("sleeper"), "--", "1000"]);
    let place = runs_on(&desk.running(&job));
    let worker = &mut desk.cluster().workers[place];
    worker.terminate();
    assert_eq!(worker.wait().code(), Some(0));
    let page = desk.ended(&job);
    assert_eq!(page["state"], "succeeded");
    assert_eq!(page["tasks_shown"][0]["attempts"], 1, "it was finished, not moved");
}

#[test]
fn what_the_grace_does_not_allow_is_handed_to_another() {
    let mut desk = desk(2, "300ms");
    let job = desk.submit(&[&guest("sleeper"), "--", "1500"]);
    let place = runs_on(&desk.running(&job));
    let worker = &mut desk.cluster().workers[place];
    worker.terminate();
    assert_eq!(worker.wait().code(), Some(0));
    let page = desk.ended(&job);
    assert_eq!(page["state"], "succeeded");
    assert_ne!(runs_on(&page), place);
}

#[test]
fn a_second_signal_stops_a_worker_at_once() {
    let mut desk = desk(2, "50s");
    let job = desk.submit(&[&guest("sleeper"), "--", "2000"]);
    let place = runs_on(&desk.running(&job));
    let worker = &mut desk.cluster().workers[place];
    worker.terminate();
    std::thread::sleep(Duration::from_millis(300));
    let begun = Instant::now();
    signal(worker.id(), "TERM");
    worker.wait();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let page = desk.ended(&job);
    assert_eq!(page["state"], "succeeded", "elsewhere");
    assert_ne!(runs_on(&page), place);
}

#[test]
fn a_server_told_to_stop_ends_well_and_forgets_nothing() {
    let mut desk = desk(1, "5s");
    let job = desk.submit(&[&guest("sleeper"), "--", "1500"]);
    desk.running(&job);
    desk.cluster().server.terminate();
    assert_eq!(desk.cluster().server.wait().code(), Some(0));
    let output = desk.wrun(&["jobs"]);
    assert_eq!(output.status.code(), Some(69), "nobody answers");
    desk.cluster().restart_server();
    let page = desk.ended(&job);
    assert_eq!(
        (&page["state"], &page["tasks_shown"][0]["attempts"]),
        (&"succeeded".into(), &1.into())
    );
}

#[test]
fn labels_choose_the_node() {
    let mut desk = desk(1, "5s");
    let file = desk.job_file("sleeper", "labels = { disk = \"fast\" }\nargs = [\"100\"]");
    let refused = desk.wrun(&["submit", &file]);
    assert_eq!(refused.status.code(), Some(71), "no node has it");
    assert!(stderr(&refused).contains("disk=fast"), "{}", stderr(&refused));
    let token = desk.says(&["token", "create"]);
    let mut command = desk.command();
    command.args(["worker", "--name", "w2", "--data", "labelled", "--cpu", "1"]);
    command.args(["--memory", "1GiB", "--label", "disk=fast", "--join", token.trim()]);
    let folder = desk.folder().to_owned();
    desk.cluster().workers.push(harness::Process::start(command, &folder, "w2"));
    desk.cluster().workers[1].wait_for("it is ready", |out| out.contains('\n').then_some(()));
    for _ in 0..3 {
        let page = desk.ended(&desk.submit(&[&file]));
        assert_eq!((&page["state"], runs_on(&page)), (&"succeeded".into(), 1));
    }
    let by_flag = desk.submit(&[&guest("noop"), "--label", "disk=fast"]);
    assert_eq!(runs_on(&desk.ended(&by_flag)), 1);
}

#[test]
fn a_job_that_may_lose_no_node_fails_with_it() {
    let mut desk = desk(1, "5s");
    let job = desk.submit_file("sleep_forever", "retry = { requeues = 0 }");
    desk.running(&job);
    desk.cluster().workers[0].kill();
    let page = desk.ended(&job);
    assert_eq!(page["failure"]["kind"], "node-lost");
    until("the node is lost", || {
        matches!(node(&desk, "w1")["state"].as_str(), Some("lost" | "disconnected")).then_some(())
    });
}

/// The server dies for longer than the lease lasts.
#[test]
fn a_job_chooses_what_its_tasks_do_when_the_server_is_lost() {
    let mut desk = desk(1, "5s");
    let submit = |what: &str| {
        let fields = format!("args = [\"4000\"]\ncpu = 0.5\non_disconnect = \"{what}\"");
        let job = desk.submit_file("sleeper", &fields);
        desk.running(&job);
        job
    };
    let (goes_on, stops) = (submit("continue"), submit("stop"));
    desk.cluster().server.kill();
    std::thread::sleep(Duration::from_millis(2000));
    desk.cluster().restart_server();
    for (job, attempts) in [(goes_on, 1), (stops, 2)] {
        let page = desk.ended(&job);
        assert_eq!(page["state"], "succeeded");
        assert_eq!(page["tasks_shown"][0]["attempts"], attempts, "job {job}");
    }
}
