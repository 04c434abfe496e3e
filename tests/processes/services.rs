//! Services under a load that goes on: rollouts, drains, deaths. Every response is counted.

use std::net::SocketAddr;
use std::time::Duration;

use harness::http::{self, Load};
use harness::{Cluster, Process, Settings, artefacts};
use serde_json::Value;

/// A cluster of so many workers, each with a gateway.
fn cluster(workers: usize) -> Cluster {
    Cluster::with(Settings { workers, ..Settings::default() })
}

/// Deploys the guest as `api` at `/`, with further flags; waits until it is in place.
fn deploy(cluster: &Cluster, guest: &str, flags: &[&str]) -> Value {
    let guest = artefacts::guest(guest);
    let line = ["deploy", guest.to_str().unwrap(), "--name", "api", "--route", "/", "--json"];
    json(&cluster.stdout(&[&line[..], flags].concat()))
}

pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn service(cluster: &Cluster) -> Value {
    json(&cluster.stdout(&["service", "api", "--json"]))
}

/// Load on a gateway: four clients, one request after the other.
fn load(gateway: SocketAddr) -> Load {
    Load::start(gateway, "/hello", 4, Duration::from_millis(5))
}

/// Waits until the service is as it should be.
pub(crate) fn until(cluster: &Cluster, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let begun = std::time::Instant::now();
    loop {
        let service = service(cluster);
        if wanted(&service) {
            return service;
        }
        assert!(begun.elapsed() < harness::process::PATIENCE, "{what}: not in time: {service:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_rollout_under_load_loses_no_request_and_neither_does_going_back() {
    let cluster = cluster(2);
    let first = deploy(&cluster, "http_hello", &["--min", "2"]);
    assert_eq!(first["rollout_state"], "ready", "{first}");
    let load = load(cluster.gateway(0));
    std::thread::sleep(Duration::from_millis(300));
    let second = deploy(&cluster, "http_obedient", &["--min", "2"]);
    assert_eq!((&second["rollout_state"], &second["revision"]), (&"ready".into(), &2.into()));
    assert_eq!(http::get(cluster.gateway(1), "/hello").unwrap().text(), "hello");
    let undone = json(&cluster.stdout(&["rollout", "undo", "api", "--json"]));
    assert_eq!((&undone["rollout_state"], &undone["revision"]), (&"ready".into(), &1.into()));
    let answers = load.stop();
    assert!(http::all_answered(&answers) > 20);
    let text = |answer: &Result<http::Answer, String>| answer.as_ref().unwrap().text();
    assert!(answers.iter().any(|answer| text(answer) == "hello"), "the second one answered");
    assert!(answers.iter().any(|answer| text(answer) == "Hello, world!\n"), "and the first");
}

#[test]
fn a_revision_that_is_never_ready_is_taken_back_while_the_one_before_answers_everything() {
    let cluster = cluster(1);
    deploy(&cluster, "http_obedient", &[]);
    let load = load(cluster.gateway(0));
    let file = format!(
        "component = {:?}\nname = \"api\"\n[http]\nroutes = [\"/\"]\n\
         [readiness]\npath = \"/status?503\"\nstart = \"2s\"\ninterval = \"100ms\"\n",
        artefacts::guest("http_obedient")
    );
    std::fs::write(cluster.folder().join("bad.toml"), file).unwrap();
    let output = cluster.wrun(&["deploy", "bad.toml"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(119), "{said}");
    assert!(
        said.contains("api goes back from revision 2 to 1: it was not ready in time"),
        "{said}"
    );
    // What its node saw, and not only that the time was over.
    assert!(said.contains("GET /status?503: status 503"), "{said}");
    assert!(http::all_answered(&load.stop()) > 20);
    assert_eq!(service(&cluster)["revision"], 1);
}

#[test]
fn draining_a_node_moves_its_replicas_before_it_stops_them() {
    let mut cluster = cluster(2);
    deploy(&cluster, "http_obedient", &["--min", "2"]);
    let load = load(cluster.gateway(1));
    std::thread::sleep(Duration::from_millis(200));
    cluster.stdout(&["drain", "w1"]);
    until(&cluster, "both replicas are on the other node", |service| {
        let replicas = service["replicas"].as_array().unwrap();
        replicas.len() == 2
            && replicas.iter().all(|of| of["state"] == "ready" && of["node"] == "n2")
    });
    assert!(http::all_answered(&load.stop()) > 20);
    cluster.workers[0].kill();
}

#[test]
fn a_killed_worker_fails_no_safe_request_at_the_gateway_of_another() {
    let mut cluster = cluster(2);
    deploy(&cluster, "http_obedient", &["--min", "2"]);
    let load = load(cluster.gateway(1));
    std::thread::sleep(Duration::from_millis(300));
    cluster.workers[0].kill();
    until(&cluster, "a replica takes the place of the lost one", |service| {
        let replicas = service["replicas"].as_array().unwrap();
        let ready = replicas.iter().filter(|of| of["state"] == "ready" && of["node"] == "n2");
        ready.count() == 2
    });
    let answers = load.stop();
    // Each GET that was under way at the lost node is safe, and is tried at the other.
    assert!(http::all_answered(&answers) > 20);
}

#[test]
fn a_dead_server_is_missed_by_no_request() {
    let mut cluster = cluster(2);
    deploy(&cluster, "http_obedient", &["--min", "2"]);
    let load = load(cluster.gateway(0));
    cluster.server.kill();
    std::thread::sleep(Duration::from_millis(1500));
    cluster.restart_server();
    until(&cluster, "the replicas are adopted", |service| service["state"] == "ready");
    std::thread::sleep(Duration::from_millis(300));
    assert!(http::all_answered(&load.stop()) > 50);
    let replicas = service(&cluster)["replicas"].clone();
    assert!(replicas.as_array().unwrap().iter().all(|of| of["attempt"] == 1), "{replicas:#}");
}

/// The file of a service that sleeps after a second, with more of its tables.
fn sleeper(guest: &str, more: &str) -> String {
    format!(
        "component = {:?}\nname = \"api\"\n[http]\nroutes = [\"/\"]\n\
         [scale]\nmin = 0\nmax = 4\nidle = \"1s\"\nwindow = \"2s\"\npanic_window = \"1s\"\n\
         down_delay = \"1s\"\n{more}",
        artefacts::guest(guest)
    )
}

#[test]
fn a_broken_revision_of_a_service_that_sleeps_is_taken_back_before_anybody_asks() {
    let cluster = cluster(1);
    std::fs::write(cluster.folder().join("api.toml"), sleeper("http_hello", "")).unwrap();
    let first = json(&cluster.stdout(&["deploy", "api.toml", "--json"]));
    assert_eq!(first["rollout_state"], "ready", "it was tried: {first}");
    until(&cluster, "it sleeps", |service| service["state"] == "asleep");
    let broken = "[readiness]\npath = \"/status?503\"\nstart = \"1s\"\ninterval = \"100ms\"\n";
    let broken = sleeper("http_obedient", broken);
    std::fs::write(cluster.folder().join("bad.toml"), broken).unwrap();
    let output = cluster.wrun(&["deploy", "bad.toml"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(119), "{said}");
    assert!(said.contains("api goes back from revision 2 to 1"), "{said}");
    let answer = http::get(cluster.gateway(0), "/hello").unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "Hello, world!\n"));
    until(&cluster, "it sleeps again", |service| service["state"] == "asleep");
    let why: Vec<Value> = service(&cluster)["events"].as_array().unwrap().clone();
    let why: Vec<&str> = why.iter().filter_map(|event| event["why"].as_str()).collect();
    assert_eq!(why.last(), Some(&"trial"), "the first of all");
}

/// The gateway's node is started again while nobody could tell it of services.
#[test]
fn a_gateway_that_comes_back_without_a_server_knows_what_it_knew() {
    let mut cluster = cluster(2);
    let deployed = deploy(&cluster, "http_obedient", &[]);
    assert_eq!(deployed["rollout_state"], "ready", "{deployed}");
    // The replica is on one node; the other one's gateway is what comes back.
    let on = service(&cluster)["replicas"][0]["node"].clone();
    let (at, name) = if on == "n1" { (1, "w2") } else { (0, "w1") };
    assert_eq!(http::get(cluster.gateway(at), "/hello").unwrap().text(), "hello");
    let kept = cluster.worker_data(name).join("gateway/services");
    while !kept.exists() {
        std::thread::sleep(Duration::from_millis(50));
    }
    // Longer than it may take to write what it has heard last.
    std::thread::sleep(Duration::from_millis(1500));
    cluster.server.kill();
    cluster.workers[at].kill();
    cluster.restart_worker(at, name);
    for _ in 0..20 {
        assert_eq!(http::get(cluster.gateway(at), "/hello").unwrap().text(), "hello");
    }
    cluster.restart_server();
    until(&cluster, "the server has them all", |service| service["state"] == "ready");
    assert_eq!(http::get(cluster.gateway(at), "/hello").unwrap().text(), "hello");
}

#[test]
fn a_service_sleeps_and_is_woken_by_a_request() {
    let cluster = cluster(1);
    std::fs::write(cluster.folder().join("api.toml"), sleeper("http_hello", "")).unwrap();
    cluster.stdout(&["deploy", "api.toml"]);
    until(&cluster, "it sleeps", |service| service["state"] == "asleep");
    let answer = http::get(cluster.gateway(0), "/hello").unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "Hello, world!\n"));
    let woken = service(&cluster);
    assert_eq!(woken["ready"], 1, "{woken:#}");
    let load = Load::start(cluster.gateway(0), "/hello", 4, Duration::from_millis(1));
    std::thread::sleep(Duration::from_millis(500));
    http::all_answered(&load.stop());
    until(&cluster, "it sleeps again", |service| service["state"] == "asleep");
}

#[test]
fn a_replica_that_is_let_go_leaves_what_it_wrote() {
    let cluster = cluster(1);
    deploy(&cluster, "http_obedient", &[]);
    assert_eq!(http::get(cluster.gateway(0), "/log").unwrap().text(), "logged");
    deploy(&cluster, "http_hello", &[]);
    until(&cluster, "the old one is gone", |service| {
        service["replicas"].as_array().unwrap().iter().all(|of| of["revision"] == 2)
    });
    let output = cluster.wrun(&["logs", "api", "--revision", "1", "--task", "0"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("api/1/0 | a line\n"), "{said}");
    let events = service(&cluster)["events"].clone();
    let failed = |event: &Value| event["what"] == "replica-failed";
    assert!(!events.as_array().unwrap().iter().any(failed), "{events:#}");
}

#[test]
fn logs_are_followed_on_when_the_server_is_back_and_nothing_is_told_twice() {
    let mut cluster = cluster(1);
    deploy(&cluster, "http_obedient", &[]);
    let gateway = cluster.gateway(0);
    let mut follow = cluster.command();
    follow.args(["logs", "api", "--follow"]);
    let follow = Process::start(follow, cluster.folder(), "follow");
    let lines = |wanted: usize| {
        let begun = std::time::Instant::now();
        while follow.logged().matches("api/1/0 | a line\n").count() < wanted {
            let late = begun.elapsed() > harness::process::PATIENCE;
            assert!(!late, "{wanted} lines: not in time: {}", follow.logged());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    assert_eq!(http::get(gateway, "/log").unwrap().status, 200);
    lines(1);
    cluster.restart_server();
    assert_eq!(http::get(gateway, "/log").unwrap().status, 200);
    lines(2);
    let said = follow.logged();
    assert!(said.contains("lost the server"), "{said}");
    assert_eq!(said.matches("a line").count(), 2, "{said}");
}
