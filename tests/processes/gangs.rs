//! Gangs on real workers: their tasks reach each other, begin anew as a whole when a node
//! dies, and no other work notices what they do.

use std::time::Duration;

use harness::{Client, Cluster, Settings};
use wrun_protocol::job::Input;
use wrun_protocol::scheduling::Arrangement;
use wrun_protocol::task::{Content, Outcome};
use wrun_protocol::wire::user::{JobState, TaskState};
use wrun_protocol::{JobId, JobSpec};

use crate::{sleeper, small_job, until};

fn three_workers() -> Settings {
    Settings {
        workers: 3,
        lease: "800ms".to_owned(),
        heartbeat: "100ms".to_owned(),
        ..Settings::default()
    }
}

/// A gang of the test guest, each task on a node of its own.
async fn gang(client: &Client, count: u32, args: &[&str]) -> JobSpec {
    let mut spec = small_job(client, "gang-member").await;
    spec.args = args.iter().map(|arg| (*arg).to_owned()).collect();
    spec.count = count;
    spec.scheduling.gang = true;
    spec.scheduling.arrangement = Arrangement::DifferentNodes;
    spec
}

async fn succeeded(client: &mut Client, spec: &JobSpec) -> JobId {
    let job = client.submit(spec).await;
    let end = client.wait(job).await;
    assert_eq!(end.state, JobState::Succeeded, "{:?}", client.tasks(job).await);
    job
}

fn printed(cluster: &Cluster, job: JobId) -> String {
    cluster.stdout(&["output", &job.to_string(), "--task", "0"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gang_of_three_computes_through_messages_and_barriers() {
    let cluster = Cluster::with(three_workers());
    let mut client = cluster.client().await;
    let spec = gang(&client, 3, &["ring", "20"]).await;
    let job = succeeded(&mut client, &spec).await;

    // Each time around adds 1 + 2 + 3.
    assert_eq!(printed(&cluster, job), "120 in attempt 1\n");
    let tasks = client.tasks(job).await;
    let mut nodes: Vec<_> = tasks.iter().map(|task| task.node_name.clone().unwrap()).collect();
    nodes.sort();
    assert_eq!(nodes, ["w1", "w2", "w3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_every_size_arrive_in_order_on_one_node_and_across_nodes() {
    let cluster = Cluster::with(three_workers());
    let mut client = cluster.client().await;
    for arrangement in [Arrangement::DifferentNodes, Arrangement::SameNode] {
        for args in [["order", "200"], ["large", "5000000"]] {
            let mut spec = gang(&client, 3, &args).await;
            spec.resources.memory = 64 << 20;
            spec.scheduling.arrangement = arrangement;
            succeeded(&mut client, &spec).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_computes_the_same_however_many_tasks_there_are() {
    let cluster = Cluster::with(three_workers());
    let mut client = cluster.client().await;
    let mut rods = Vec::new();
    for count in [1, 3] {
        let mut spec = small_job(&client, "heat").await;
        let request = br#"{"cells": 50, "steps": 300}"#;
        spec.input = Input::Content(Content::Inline(request.as_slice().into()));
        spec.count = count;
        spec.scheduling.gang = true;
        spec.scheduling.arrangement = Arrangement::DifferentNodes;
        let job = succeeded(&mut client, &spec).await;
        rods.push(printed(&cluster, job));
    }
    assert_eq!(rods[0], rods[1]);
    assert!(rods[0].starts_with(r#"{"rod":[100.0,9"#), "{}", rods[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gang_that_loses_a_node_begins_anew_and_hears_nothing_of_before() {
    let mut cluster = Cluster::with(three_workers());
    let mut client = cluster.client().await;
    let spec = gang(&client, 3, &["ring", "150"]).await;
    let job = client.submit(&spec).await;
    until("the gang runs", async || {
        client.tasks(job).await.iter().all(|task| task.state == TaskState::Running)
    })
    .await;
    tokio::time::sleep(Duration::from_millis(200)).await;

    cluster.workers[1].kill();
    tokio::task::block_in_place(|| cluster.add_worker("w4"));
    let end = client.wait(job).await;

    assert_eq!(end.state, JobState::Succeeded, "{:?}", client.tasks(job).await);
    assert_eq!(printed(&cluster, job), "900 in attempt 2\n");
    assert!(client.tasks(job).await.iter().all(|task| task.attempts == 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gang_talks_on_while_the_server_is_away() {
    let mut cluster = Cluster::with(Settings { lease: "20s".to_owned(), ..three_workers() });
    let mut client = cluster.client().await;
    let spec = gang(&client, 3, &["ring", "100"]).await;
    let job = client.submit(&spec).await;
    until("the gang runs", async || {
        client.tasks(job).await.iter().all(|task| task.state == TaskState::Running)
    })
    .await;

    cluster.server.kill();
    tokio::time::sleep(Duration::from_secs(3)).await;
    tokio::task::block_in_place(|| cluster.restart_server());
    let client = cluster.client().await;

    assert_eq!(client.wait(job).await.state, JobState::Succeeded);
    assert_eq!(printed(&cluster, job), "600 in attempt 1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_waits_for_others_that_ended_without_a_word_hears_so() {
    let cluster = Cluster::with(three_workers());
    let mut client = cluster.client().await;
    let spec = gang(&client, 3, &["leave"]).await;
    let job = succeeded(&mut client, &spec).await;
    let ended = |rank| format!("the task of rank {rank} has ended\n");
    assert_eq!(printed(&cluster, job), [2, 1, 1].map(ended).concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_that_nobody_takes_waits_and_hurts_no_neighbour() {
    let cluster = Cluster::with(three_workers());
    let mut client = cluster.client().await;
    let flood = client.submit(&gang(&client, 2, &["flood"]).await).await;
    let sent = |cluster: &Cluster| {
        let log = cluster.stdout(&["logs", &flood.to_string(), "--task", "0"]);
        log.lines().count()
    };
    until("the flood has begun", async || sent(&cluster) > 10).await;
    let rings = gang(&client, 3, &["ring", "20"]).await;
    let job = succeeded(&mut client, &rings).await;
    assert_eq!(printed(&cluster, job), "120 in attempt 1\n");
    let neighbour = sleeper(&client, 1).await;
    succeeded(&mut client, &neighbour).await;

    // Two windows of messages of 1000 bytes: one on its way, one there.
    let after = sent(&cluster);
    assert!((60..=124).contains(&after), "{after} were sent");
    cluster.stdout(&["cancel", &flood.to_string()]);
    client.wait(flood).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_no_gang_has_nobody_to_talk_to() {
    let cluster = Cluster::start();
    let mut client = cluster.client().await;
    // A gang is there at the same time.
    let flood = gang(&client, 2, &["flood"]).await;
    let mut flood = JobSpec { count: 2, ..flood };
    flood.scheduling.arrangement = Arrangement::SameNode;
    let flood = client.submit(&flood).await;
    let mut spec = gang(&client, 2, &["alone"]).await;
    spec.scheduling.gang = false;
    spec.scheduling.arrangement = Arrangement::SameNode;
    let job = succeeded(&mut client, &spec).await;
    assert_eq!(printed(&cluster, job), "NotAGang NotAGang\n");
    cluster.stdout(&["cancel", &flood.to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_failure_of_a_task_is_the_failure_of_its_gang() {
    let cluster = Cluster::with(three_workers());
    let mut client = cluster.client().await;
    // Two tasks wait for a rank that is not there.
    let job = client.submit(&gang(&client, 1, &["flood"]).await).await;
    let end = client.wait(job).await;
    assert_eq!(end.state, JobState::Failed);
    let task = &client.tasks(job).await[0];
    assert!(matches!(task.outcome, Some(Outcome::Failed(_))), "{task:?}");
}
