//! No network, no files, no environment beyond what the job declares.

use std::net::TcpListener;

use wrun_protocol::job::{HostGrant, Mount};
use wrun_protocol::wire::user::JobState;

use crate::{cluster, job_of, run, stdout};

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_sees_nothing_that_its_job_does_not_declare() {
    let cluster = cluster();
    let mut client = cluster.client().await;
    let mut spec = job_of(&client, "probe").await;
    spec.env = vec![("DECLARED".to_owned(), "yes".to_owned())];
    let (job, end) = run(&mut client, &spec).await;
    assert_eq!(end.state, JobState::Succeeded);
    let seen = stdout(&client, job).await;

    let names = |line: &str| {
        line.strip_prefix("env ").map(|rest| rest.split('=').next().unwrap().to_owned())
    };
    let mut environment: Vec<String> = seen.lines().filter_map(names).collect();
    environment.sort();
    assert_eq!(
        environment,
        [
            "DECLARED",
            "WRUN_ATTEMPT",
            "WRUN_JOB",
            "WRUN_TASK_COUNT",
            "WRUN_TASK_INDEX",
            "WRUN_TENANT"
        ]
    );
    let tries = ["open ", "write ", "connect ", "resolve ", "bind "];
    let tried = seen.lines().filter(|line| tries.iter().any(|start| line.starts_with(start)));
    let reached: Vec<&str> = tried.filter(|line| !line.contains("refused")).collect();
    // Its working directory is the scratch directory too, and the C library of a guest takes
    // absolute paths from there when no other directory was given to it.
    assert_eq!(reached, ["write /written yes", "write /scratch/written yes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_file_can_be_read_and_not_written() {
    let cluster = cluster();
    let mut client = cluster.client().await;
    let digest = client.upload(b"mounted").await;
    let mut spec = job_of(&client, "probe").await;
    spec.mounts = vec![Mount { path: "/data/a.txt".to_owned(), digest, size: 7 }];
    spec.args = vec![
        "open=/data/a.txt".to_owned(),
        "write=/data/a.txt".to_owned(),
        "write=/data/b".to_owned(),
    ];
    let (job, end) = run(&mut client, &spec).await;
    assert_eq!(end.state, JobState::Succeeded);
    let seen = stdout(&client, job).await;
    let line = |start: &str| seen.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
    assert!(line("open /data/a.txt").contains("7 bytes"), "{seen}");
    assert!(!line("write /data/a.txt").contains("yes"), "{seen}");
    assert!(!line("write /data/b").contains("yes"), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_network_is_reached_only_where_it_is_granted() {
    let open = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let (granted, denied) = (open.local_addr().unwrap(), other.local_addr().unwrap());
    let cluster = cluster();
    let mut client = cluster.client().await;
    let mut spec = job_of(&client, "probe").await;
    spec.args = vec![format!("connect={granted}"), format!("connect={denied}")];
    spec.network = vec![HostGrant { host: granted.ip().to_string(), port: Some(granted.port()) }];
    let (job, end) = run(&mut client, &spec).await;
    assert_eq!(end.state, JobState::Succeeded);
    let seen = stdout(&client, job).await;
    let line = |address| {
        let start = format!("connect {address}");
        seen.lines().find(|line| line.starts_with(&start)).unwrap().to_owned()
    };
    assert!(line(granted).contains("yes"), "{seen}");
    assert!(!line(denied).contains("yes"), "{seen}");
}
