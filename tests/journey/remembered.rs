//! Results that are remembered, through the binary.

use harness::{Cluster, Settings};
use serde_json::Value;

use crate::desk::{Desk, guest, stderr};

const FIELDS: &str =
    "cache = true\nargs = [\"a\"]\nenv = { A = \"1\" }\nstdin = \"given\"\nscratch = \"4MiB\"";

fn remembered(page: &Value) -> Vec<u64> {
    let from = page["remembered"].as_array().unwrap().iter();
    from.map(|of| of["from"].as_u64().unwrap()).collect()
}

fn all_of(desk: &Desk, job: &str) -> (String, String) {
    (desk.says(&["output", job]), desk.says(&["logs", job]))
}

#[test]
fn a_second_submission_gives_the_recorded_result_without_running() {
    let mut desk = Desk::of(Cluster::with(Settings { workers: 2, ..Settings::default() }));
    desk.write("data/one.txt", "one");
    desk.write("data/two.txt", "two!");
    let fields = format!("{FIELDS}\nmounts = [\"../data:/data\"]");
    let first = desk.submit_file("observe", &fields);
    let page = desk.ended(&first);
    assert_eq!(page["state"], "succeeded", "{page:#}");
    assert!(remembered(&page).is_empty());
    let told = all_of(&desk, &first);
    assert!(told.0.contains("wall 946684800"), "{}", told.0);
    assert!(!told.0.contains("WRUN_JOB") && !told.0.contains("WRUN_ATTEMPT"), "{}", told.0);

    // A limit of time makes another key and the same world: it runs anew, on the other node.
    let ran_on = page["tasks_shown"][0]["node_name"].as_str().unwrap().to_owned();
    let place = if ran_on == "w1" { 0 } else { 1 };
    desk.cluster().workers[place].kill();
    let limited = format!("{fields}\ntime_limit = \"10m\"");
    let other = desk.submit_file("observe", &limited);
    let page = desk.ended(&other);
    assert_eq!(page["state"], "succeeded", "{page:#}");
    assert!(remembered(&page).is_empty());
    assert_ne!(page["tasks_shown"][0]["node_name"].as_str().unwrap(), ran_on);
    assert_eq!(all_of(&desk, &other), told, "two nodes, two moments, one result");

    // Nobody is left to run anything.
    desk.cluster().workers[1 - place].kill();
    let again = desk.submit_file("observe", &fields);
    let page = desk.ended(&again);
    assert_eq!((&page["state"], remembered(&page)), (&"succeeded".into(), vec![1]), "{page:#}");
    assert_eq!(page["tasks_shown"][0]["attempts"], 0);
    assert_eq!(all_of(&desk, &again), told);
    let said = desk.says(&["job", &again]);
    assert!(said.contains("1 succeeded, 1 remembered") && said.contains("from job 1"), "{said}");
    let ran = desk.wrun(&["run", &desk.job_file("observe", &fields)]);
    assert!(stderr(&ran).contains("remembered from job 1, not run"), "{}", stderr(&ran));
    assert_eq!(String::from_utf8(ran.stdout).unwrap(), told.0);

    desk.cluster().restart_server();
    let later = desk.submit_file("observe", &fields);
    assert_eq!(remembered(&desk.ended(&later)), [1], "the server was killed meanwhile");

    let misses = [
        fields.replace("\"a\"", "\"b\""),
        fields.replace("given", "taken"),
        format!("{fields}\nmemory = \"64MiB\""),
    ];
    for miss in misses {
        let job = desk.submit_file("observe", &miss);
        let page = desk.json(&["job", &job]);
        assert_eq!((&page["state"], remembered(&page)), (&"pending".into(), vec![]), "{miss}");
    }
    desk.write("data/two.txt", "new!");
    let job = desk.submit_file("observe", &fields);
    assert_eq!(desk.json(&["job", &job])["state"], "pending", "a mounted file has changed");
}

#[test]
fn a_failure_is_not_remembered() {
    let desk = Desk::start();
    let fields = FIELDS.replace("\"a\"", "\"fail\"");
    for _ in 0..2 {
        let page = desk.ended(&desk.submit_file("observe", &fields));
        assert_eq!((&page["state"], remembered(&page)), (&"failed".into(), vec![]), "{page:#}");
        assert_eq!(page["tasks_shown"][0]["attempts"], 1);
    }
}

#[test]
fn of_an_array_each_task_is_remembered() {
    let desk = Desk::start();
    let fields = format!("{FIELDS}\ncount = 3");
    let first = desk.submit_file("observe", &fields);
    assert_eq!(desk.ended(&first)["state"], "succeeded");
    let again = desk.submit_file("observe", &fields);
    let page = desk.ended(&again);
    let of = &page["remembered"][0];
    assert_eq!((&of["first"], &of["count"], &of["from"]), (&0.into(), &3.into(), &1.into()));
    let output = |job: &str, task: &str| desk.says(&["output", job, "--task", task]);
    assert_eq!(output(&again, "2"), output(&first, "2"));
    assert_ne!(output(&again, "2"), output(&again, "1"), "each has randomness of its own");
}

#[test]
fn what_is_remembered_is_looked_up_when_a_job_that_waited_would_start() {
    let mut desk = Desk::of(Cluster::with(Settings { workers: 1, ..Settings::default() }));
    let before = desk.submit_file("observe", &format!("{FIELDS}\nhold = true"));
    let first = desk.submit_file("observe", FIELDS);
    assert_eq!(desk.ended(&first)["state"], "succeeded");
    let slow = desk.submit(&[&guest("sleep_forever")]);
    desk.running(&slow);
    let after = desk.submit_file("observe", &format!("{FIELDS}\ndepends_on = [\"end:{slow}\"]"));
    let array = format!("{FIELDS}\ncount = 3");
    let many = desk.submit_file("observe", &array);
    assert_eq!(desk.ended(&many)["state"], "succeeded");
    let waiting = desk.submit(&[&guest("sleep_forever"), "--count", "3", "--hold"]);
    let each = format!("{array}\ndepends_on = [\"each-success:{waiting}\"]");
    let elements = desk.submit_file("observe", &each);
    let later = desk.submit(&["--begin", "+3s", &desk.job_file("observe", FIELDS)]);

    // The server is another one, and nobody is left to run anything.
    desk.cluster().workers[0].kill();
    desk.cluster().restart_server();
    desk.says(&["release", &before]);
    desk.says(&["cancel", &slow]);
    let given = |job: &str| {
        let page = desk.ended(job);
        assert_eq!((&page["state"], &remembered(&page)[..]), (&"succeeded".into(), &[2][..]));
        let said = desk.says(&["job", job]);
        assert!(said.contains("from job 2: these results are not of this job"), "{said}");
        assert_eq!(all_of(&desk, job), all_of(&desk, &first));
    };
    [before, after, later].iter().for_each(|job| given(job));
    let page = desk.json(&["job", &elements]);
    assert_eq!((&page["state"], remembered(&page)), (&"pending".into(), vec![]), "{page:#}");
}

#[test]
fn what_observes_the_outside_is_refused_by_name() {
    let desk = Desk::start();
    let grants = [
        ("network", "network = [\"example.com:80\"]"),
        ("gang", "gang = true"),
        ("gpu", "gpu = { cards = 1 }"),
        ("resources", "resources = { dongle = 1 }"),
        ("alternatives", "[[alternatives]]\ncpu = 0.5"),
    ];
    for (name, grant) in grants {
        let refused =
            desk.wrun(&["submit", &desk.job_file("noop", &format!("cache = true\n{grant}"))]);
        let said = stderr(&refused);
        assert!(!refused.status.success(), "{name}");
        assert!(said.contains(name) && said.contains("not with `cache`"), "{name}: {said}");
    }
}
