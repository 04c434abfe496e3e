//! Guests share a node's cores by the CPU they asked for.

use std::time::Duration;

use wrun_protocol::JobSpec;
use wrun_protocol::wire::user::{JobState, TaskState};

use crate::{cluster, job_of, run};

/// Spinners with these shares of a core, for so many milliseconds; returns the CPU time of
/// each in seconds.
async fn spin(shares: &[u32], milliseconds: u64) -> Vec<f64> {
    let cluster = cluster();
    let mut client = cluster.client().await;
    let mut spec = job_of(&client, "spinner").await;
    spec.limits.wall_ms = None;
    spec.args = vec![milliseconds.to_string()];
    let mut jobs = Vec::new();
    for share in shares {
        let resources = wrun_protocol::Resources { cpu_milli: *share, ..spec.resources };
        jobs.push(client.submit(&JobSpec { resources, ..spec.clone() }).await);
    }
    let mut seconds = Vec::new();
    for job in jobs {
        assert_eq!(client.wait(job).await.state, JobState::Succeeded);
        seconds.push(client.tasks(job).await[0].usage.cpu_us as f64 / 1e6);
    }
    seconds
}

#[tokio::test(flavor = "multi_thread")]
async fn twice_as_many_spinners_as_cores_each_get_their_share() {
    let used = spin(&[500, 500, 500, 500], 10_000).await;
    let mean = used.iter().sum::<f64>() / 4.0;
    for one in &used {
        assert!((one / mean - 1.0).abs() < 0.1, "shares of {used:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_asked_for_more_gets_more() {
    let used = spin(&[750, 250, 750, 250], 10_000).await;
    let part = (used[0] + used[2]) / used.iter().sum::<f64>();
    assert!((part / 0.75 - 1.0).abs() < 0.1, "shares of {used:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_small_task_starts_at_once() {
    let cluster = cluster();
    let mut client = cluster.client().await;
    let mut spinner = job_of(&client, "spinner").await;
    spinner.limits.wall_ms = None;
    spinner.args = vec!["6000".to_owned()];
    spinner.resources.cpu_milli = 450;
    spinner.count = 4;
    let mut small = job_of(&client, "noop").await;
    small.resources.cpu_milli = 50;
    run(&mut client, &small).await;
    let spinners = client.submit(&spinner).await;
    until_running(&client, spinners, 4).await;

    let mut waits = Vec::new();
    for _ in 0..20 {
        let begun = std::time::Instant::now();
        assert_eq!(run(&mut client, &small).await.1.state, JobState::Succeeded);
        waits.push(begun.elapsed());
    }
    waits.sort();
    assert!(waits[10] < Duration::from_millis(100), "it waited behind the spinners: {waits:?}");
}

async fn until_running(client: &harness::Client, job: wrun_protocol::JobId, count: usize) {
    loop {
        let tasks = client.tasks(job).await;
        if tasks.iter().filter(|task| task.state == TaskState::Running).count() == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
