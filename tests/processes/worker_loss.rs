//! kill -9, suspension and drain of workers.

use harness::{Cluster, Settings};
use wrun_protocol::node::NodeState;
use wrun_protocol::wire::user::{JobState, TaskDetail, TaskState};

use crate::{sleeper, small_job, until};

fn two_workers() -> Settings {
    Settings {
        workers: 2,
        lease: "600ms".to_owned(),
        heartbeat: "100ms".to_owned(),
        ..Settings::default()
    }
}

/// The place in `cluster.workers` of the node with this name.
fn place(name: &str) -> usize {
    name.trim_start_matches('w').parse::<usize>().unwrap() - 1
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_a_killed_worker_run_elsewhere() {
    let mut cluster = Cluster::with(two_workers());
    let mut client = cluster.client().await;
    let job = client.submit(&sleeper(&client, 1500).await).await;
    until("the task runs", async || client.tasks(job).await[0].state == TaskState::Running).await;
    let first = client.tasks(job).await[0].node_name.clone().unwrap();

    cluster.workers[place(&first)].kill();
    assert_eq!(client.wait(job).await.state, JobState::Succeeded);

    let task = &client.tasks(job).await[0];
    assert_eq!(task.attempts, 2);
    assert_ne!(task.node_name.as_ref(), Some(&first));
}

#[tokio::test(flavor = "multi_thread")]
async fn late_results_of_a_worker_that_was_out_of_reach_are_refused() {
    let cluster = Cluster::with(two_workers());
    let mut client = cluster.client().await;
    let job = client.submit(&sleeper(&client, 2500).await).await;
    until("the task runs", async || client.tasks(job).await[0].state == TaskState::Running).await;
    let first = client.tasks(job).await[0].node_name.clone().unwrap();

    cluster.workers[place(&first)].suspend(true);
    until("the task is placed again", async || client.tasks(job).await[0].attempts == 2).await;
    cluster.workers[place(&first)].suspend(false);
    assert_eq!(client.wait(job).await.state, JobState::Succeeded);

    // The first attempt's sleep is over before the second's: had its result been taken,
    // the recorded one would be of the first node.
    let task = &client.tasks(job).await[0];
    assert_eq!(task.attempts, 2);
    assert_ne!(task.node_name.as_ref(), Some(&first));
    until("the node is back", async || {
        client.nodes().await.iter().all(|node| node.state == NodeState::Ready)
    })
    .await;
    let node = client.nodes().await.into_iter().find(|node| node.info.name == first).unwrap();
    assert_eq!(node.tasks, 0, "what it ran was stopped: {node:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_workers_share_an_array_while_one_is_killed() {
    let mut cluster = Cluster::with(Settings { workers: 3, ..two_workers() });
    let mut client = cluster.client().await;
    let mut spec = small_job(&client, "sleeper").await;
    spec.args = vec!["1".to_owned()];
    spec.count = 10_000;
    let job = client.submit(&spec).await;
    until("a tenth is done", async || client.job(job).await.summary.tasks.succeeded > 1000).await;

    cluster.workers[1].kill();
    let end = client.wait(job).await;

    assert_eq!((end.state, end.tasks.succeeded), (JobState::Succeeded, 10_000));
    let tasks = client.tasks(job).await;
    let indices: Vec<u32> = tasks.iter().map(|task| task.index).collect();
    assert_eq!(indices, (0..10_000).collect::<Vec<_>>(), "each task has exactly one result");
    assert!(tasks.iter().all(|task| task.state == TaskState::Succeeded));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_told_to_stop_finishes_what_runs_and_hands_back_the_rest() {
    let mut cluster = Cluster::with(two_workers());
    let mut client = cluster.client().await;
    let mut spec = sleeper(&client, 400).await;
    spec.count = 100;
    let job = client.submit(&spec).await;
    until("tasks run there", async || {
        let tasks = client.tasks(job).await;
        let there = |task: &TaskDetail| {
            task.state == TaskState::Running && task.node_name.as_deref() == Some("w1")
        };
        tasks.iter().any(there)
    })
    .await;

    cluster.workers[0].terminate();
    assert!(tokio::task::block_in_place(|| cluster.workers[0].wait()).success());
    let end = client.wait(job).await;

    assert_eq!((end.state, end.tasks.succeeded), (JobState::Succeeded, 100));
    let tasks = client.tasks(job).await;
    assert!(tasks.iter().any(|task| task.node_name.as_deref() == Some("w1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_node_takes_nothing_new_until_it_is_taken_back() {
    let cluster = Cluster::with(two_workers());
    let mut client = cluster.client().await;
    cluster.stdout(&["drain", "w1"]);
    let mut spec = small_job(&client, "noop").await;
    spec.count = 200;
    let job = client.submit(&spec).await;
    client.wait(job).await;
    let tasks = client.tasks(job).await;
    assert!(tasks.iter().all(|task| task.node_name.as_deref() == Some("w2")));

    cluster.stdout(&["drain", "w1", "--undo"]);
    cluster.stdout(&["drain", "w2"]);
    let job = client.submit(&spec).await;
    client.wait(job).await;
    let tasks = client.tasks(job).await;
    assert!(tasks.iter().all(|task| task.node_name.as_deref() == Some("w1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_started_again_needs_no_token() {
    let mut cluster = Cluster::start();
    let mut client = cluster.client().await;
    cluster.workers[0].kill();
    tokio::task::block_in_place(|| cluster.restart_worker(0, "w1"));
    let job = client.submit(&small_job(&client, "noop").await).await;
    assert_eq!(client.wait(job).await.state, JobState::Succeeded);
    assert_eq!(client.nodes().await.len(), 1, "it is the same node");
}
