//! kill -9 of the server.

use harness::Cluster;
use wrun_protocol::items::ItemsEncoder;
use wrun_protocol::job::Input;
use wrun_protocol::task::Content;
use wrun_protocol::wire::user::{JobState, TaskState};

use crate::{sleeper, small_job, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_running_task_goes_on_while_the_server_is_dead_and_is_adopted() {
    let mut cluster = Cluster::start();
    let mut client = cluster.client().await;
    let job = client.submit(&sleeper(&client, 1500).await).await;
    until("the task runs", async || client.tasks(job).await[0].state == TaskState::Running).await;

    tokio::task::block_in_place(|| cluster.restart_server());
    client.reconnect().await;
    let end = client.wait(job).await;

    assert_eq!(end.state, JobState::Succeeded);
    let task = &client.tasks(job).await[0];
    assert_eq!(task.attempts, 1, "it ran once: {task:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_reached_while_the_server_was_dead_is_delivered_later() {
    let mut cluster = Cluster::start();
    let mut client = cluster.client().await;
    let job = client.submit(&sleeper(&client, 700).await).await;
    until("the task runs", async || client.tasks(job).await[0].state == TaskState::Running).await;

    cluster.server.kill();
    tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
    tokio::task::block_in_place(|| cluster.restart_server());
    client.reconnect().await;

    assert_eq!(client.wait(job).await.state, JobState::Succeeded);
    assert_eq!(client.tasks(job).await[0].attempts, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submit_repeated_after_a_lost_answer_is_the_same_job() {
    let mut cluster = Cluster::start();
    let mut client = cluster.client().await;
    let spec = small_job(&client, "noop").await;
    let id = client.submit_id();
    let job = client.submit_as(id, &spec).await.unwrap().unwrap();
    client.wait(job).await;

    tokio::task::block_in_place(|| cluster.restart_server());
    client.reconnect().await;

    assert_eq!(client.submit_as(id, &spec).await.unwrap(), Ok(job));
    assert_eq!(client.jobs().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_told_to_stop_ends_well_and_forgets_nothing() {
    let mut cluster = Cluster::start();
    let mut client = cluster.client().await;
    let spec = small_job(&client, "noop").await;
    let job = client.submit(&spec).await;
    client.wait(job).await;

    cluster.server.terminate();
    assert!(tokio::task::block_in_place(|| cluster.server.wait()).success());
    tokio::task::block_in_place(|| cluster.restart_server());
    client.reconnect().await;

    assert_eq!(client.job(job).await.summary.state, JobState::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_task_is_given_its_own_item_though_the_server_dies_in_between() {
    const TASKS: u32 = 60;
    let mut cluster = Cluster::start();
    let mut client = cluster.client().await;
    let mut spec = small_job(&client, "cat").await;
    let mut items = ItemsEncoder::new();
    for index in 0..TASKS {
        // Some large ones, which come by blobs of their own.
        let text = format!("item {index}").repeat(if index % 7 == 0 { 20_000 } else { 1 });
        let item = match text.len() as u64 {
            0..=1000 => Content::Inline(text.into()),
            size => Content::Blob { digest: client.upload(text.as_bytes()).await, size },
        };
        items.push(&item).unwrap();
    }
    spec.input = Input::Each(Content::Inline(items.finish().unwrap()));
    spec.count = TASKS;
    let job = client.submit(&spec).await;
    until("a task has ended", async || client.job(job).await.summary.tasks.succeeded > 0).await;

    tokio::task::block_in_place(|| cluster.restart_server());
    client.reconnect().await;

    assert_eq!(client.wait(job).await.state, JobState::Succeeded);
    for index in 0..TASKS {
        let (job, index_text) = (job.to_string(), index.to_string());
        let output = cluster.stdout(&["output", &job, "--task", &index_text]);
        let wanted = format!("item {index}").repeat(if index % 7 == 0 { 20_000 } else { 1 });
        assert!(output == wanted, "task {index} was given its own item");
    }
}
