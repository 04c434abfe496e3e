//! Fifty kills at moments that the seed chooses, of servers and workers, under load.

use std::collections::BTreeMap;
use std::time::Duration;

use harness::random::Random;
use harness::{Client, Cluster, Settings};
use wrun_protocol::wire::user::{JobState, TaskDetail, TaskState};
use wrun_protocol::{JobId, JobSpec, SubmitId};

use crate::small_job;

const KILLS: u32 = 50;
const JOBS: usize = 40;
const TASKS: u32 = 100;

/// What the test knows to be durable: a result once seen must never change.
type Recorded = BTreeMap<(JobId, u32), (u32, Option<String>)>;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_and_nothing_recorded_runs_again() {
    let mut random = Random::from_environment();
    let mut cluster = Cluster::with(Settings {
        workers: 3,
        lease: "500ms".to_owned(),
        heartbeat: "100ms".to_owned(),
        ..Settings::default()
    });
    let mut client = cluster.client().await;
    let mut spec = small_job(&client, "sleeper").await;
    spec.count = TASKS;
    spec.retry.requeues = 1000;

    let mut submitter = cluster.client().await;
    let submits = tokio::spawn(async move { submit_all(&mut submitter, spec).await });
    let mut recorded = Recorded::new();
    for kill in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(20 + random.below(230))).await;
        let victim = random.below(4) as usize;
        println!(
            "kill {kill}: {}",
            if victim == 0 { "server".to_owned() } else { format!("w{victim}") }
        );
        tokio::task::block_in_place(|| kill_and_restart(&mut cluster, victim));
        if victim == 0 {
            client.reconnect().await;
        }
        remember(&client, &mut recorded).await;
    }

    let jobs = submits.await.unwrap();
    client.reconnect().await;
    assert_eq!(client.jobs().await.len(), JOBS, "each submission is one job");
    for job in jobs.values() {
        let end = client.wait(*job).await;
        assert_eq!((end.state, end.tasks.succeeded), (JobState::Succeeded, TASKS), "job {job}");
        let tasks = client.tasks(*job).await;
        assert_eq!(tasks.len(), TASKS as usize);
        for task in &tasks {
            check(&mut recorded, *job, task);
        }
    }
    assert!(!recorded.is_empty());
}

/// Submits each job until it is acknowledged, with the same id each time.
async fn submit_all(client: &mut Client, mut spec: JobSpec) -> BTreeMap<SubmitId, JobId> {
    let mut jobs = BTreeMap::new();
    for number in 0..JOBS {
        spec.args = vec![(number % 20).to_string()];
        let id = client.submit_id();
        let job = loop {
            match client.submit_as(id, &spec).await {
                Ok(answer) => break answer.expect("the job is accepted"),
                Err(_) => client.reconnect().await,
            }
        };
        jobs.insert(id, job);
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    jobs
}

fn kill_and_restart(cluster: &mut Cluster, victim: usize) {
    if victim == 0 {
        cluster.restart_server();
    } else {
        cluster.workers[victim - 1].kill();
        cluster.restart_worker(victim - 1, &format!("w{victim}"));
    }
}

/// Looks at one job's results and holds them against what was seen before.
async fn remember(client: &Client, recorded: &mut Recorded) {
    let Some(job) = client.jobs().await.first().map(|job| job.id) else { return };
    for task in client.tasks(job).await {
        if task.state == TaskState::Succeeded {
            check(recorded, job, &task);
        }
    }
}

fn check(recorded: &mut Recorded, job: JobId, task: &TaskDetail) {
    let now = (task.attempts, task.node_name.clone());
    let before = recorded.entry((job, task.index)).or_insert_with(|| now.clone());
    assert_eq!(*before, now, "the result of {job}.{} was recorded and has changed", task.index);
}
