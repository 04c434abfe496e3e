//! A service that slept meets a burst of load: it is woken, scales out over work that gives
//! way, and sleeps again. Every response is counted.

use std::time::{Duration, Instant};

use harness::http::{self, Load};
use harness::process::PATIENCE;
use harness::{Cluster, Settings, artefacts};
use serde_json::Value;

use crate::services::{json, until};

/// Replicas of the service at most: all the CPUs that there are.
const MOST: usize = 4;

/// Each client has one request at a time, which takes 20 ms.
const CLIENTS: usize = 16;

fn job(cluster: &Cluster, id: &str) -> Value {
    json(&cluster.stdout(&["job", id, "--json"]))
}

/// Waits until the job is as it should be.
fn until_job(cluster: &Cluster, id: &str, what: &str, wanted: impl Fn(&Value) -> bool) {
    let begun = Instant::now();
    loop {
        let said = job(cluster, id);
        if wanted(&said) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: not in time: {said:#}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How many tasks of a job are in that state.
fn tasks(job: &Value, state: &str) -> usize {
    job["tasks_shown"].as_array().unwrap().iter().filter(|task| task["state"] == state).count()
}

#[test]
fn a_burst_is_served_from_zero_by_what_gives_way_and_that_comes_back() {
    let cluster = Cluster::with(Settings { workers: 2, ..Settings::default() });
    let file = |name: &str, text: &str| std::fs::write(cluster.folder().join(name), text).unwrap();
    file("policy.toml", "[qos.bulk]\n[qos.live]\npreempts = [\"bulk\"]\n");
    cluster.stdout(&["policy", "set", "policy.toml"]);
    file("orders.json", r#"[{"count": 8000}]"#);
    file(
        "bulk.toml",
        &format!(
            "component = {:?}\ninput = \"orders.json\"\ncount = {MOST}\ncpu = 1\n\
             memory = \"64MiB\"\nqos = \"bulk\"\npreemptible = [\"freeze\"]\n",
            artefacts::guest("obedient_handler")
        ),
    );
    file(
        "api.toml",
        &format!(
            "component = {:?}\nname = \"api\"\ncpu = 1\nqos = \"live\"\n\
             [http]\nroutes = [\"/\"]\nconcurrency = 8\n\
             [scale]\nmin = 0\nmax = {MOST}\ntarget = 4\nidle = \"1s\"\nwindow = \"2s\"\n\
             panic_window = \"1s\"\ndown_delay = \"1s\"\n",
            artefacts::guest("http_obedient")
        ),
    );
    cluster.stdout(&["deploy", "api.toml"]);
    let asleep = |service: &Value| service["state"] == "asleep";
    until(&cluster, "it sleeps", asleep);
    let bulk = cluster.stdout(&["submit", "bulk.toml"]).trim().to_owned();
    until_job(&cluster, &bulk, "all CPUs have work", |job| tasks(job, "running") == MOST);

    let load = Load::start(cluster.gateway(0), "/sleep?20", CLIENTS, Duration::ZERO);
    let serving = until(&cluster, "it has scaled out", |service| service["ready"] == MOST);
    let replicas = serving["replicas"].as_array().unwrap();
    let on: Vec<&Value> = replicas.iter().map(|replica| &replica["node"]).collect();
    for node in ["n1", "n2"] {
        assert_eq!(on.iter().filter(|on| **on == node).count(), MOST / 2, "spread: {on:?}");
    }
    assert_eq!(tasks(&job(&cluster, &bulk), "frozen"), MOST, "they have given way");
    let answers = load.stop();
    assert!(http::all_answered(&answers) > CLIENTS);

    until(&cluster, "it sleeps again", asleep);
    until_job(&cluster, &bulk, "they go on", |job| tasks(job, "frozen") == 0);
    cluster.stdout(&["wait", &bulk]);
    let ended = job(&cluster, &bulk);
    for task in ended["tasks_shown"].as_array().unwrap() {
        assert_eq!(task["attempts"], 1, "nothing of it was lost: {task:#}");
    }
}
