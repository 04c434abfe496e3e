//! More urgent work comes and goes: what makes room for it loses nothing.

use std::time::Duration;

use harness::{Client, Cluster, Settings, artefacts};
use wrun_protocol::job::Input;
use wrun_protocol::policy::{Policy, Qos};
use wrun_protocol::scheduling::Preemptible;
use wrun_protocol::task::Content;
use wrun_protocol::wire::user::{JobState, Request, Response, TaskState};
use wrun_protocol::{JobId, JobSpec, Resources};

use crate::until;

/// One worker with one CPU, and a class that may pre-empt another.
async fn cluster() -> (Cluster, Client) {
    let cluster = Cluster::with(Settings { cpu: "1".to_owned(), ..Settings::default() });
    let client = cluster.client().await;
    let bulk = Qos { name: "bulk".to_owned(), priority: 1, ..Qos::default() };
    let preempts = ["bulk".to_owned()].into();
    let urgent = Qos { name: "urgent".to_owned(), priority: 2, preempts, ..Qos::default() };
    let mut policy = Policy { qos: vec![bulk, urgent], ..Policy::default() };
    policy.preemption.notice_ms = 60_000;
    let answer = client.ask(&Request::SetPolicy(Box::new(policy))).await;
    assert_eq!(answer, Ok(Response::Done));
    (cluster, client)
}

/// Counts, a step every millisecond or more, and returns from where to where it did.
async fn counter(client: &Client, upto: u64, allowed: Preemptible) -> JobSpec {
    let component = std::fs::read(artefacts::guest("obedient_handler")).unwrap();
    let mut spec = JobSpec::new(client.upload(&component).await);
    let orders = format!(r#"[{{"count": {upto}}}]"#);
    spec.input = Input::Content(Content::Inline(orders.into_bytes().into()));
    spec.resources = Resources { cpu_milli: 1000, memory: 64 << 20, scratch: 1 << 20, slots: 1 };
    spec.scheduling.qos = Some("bulk".to_owned());
    spec.scheduling.preemptible = allowed;
    spec
}

async fn urgent(client: &Client, milliseconds: u64) -> JobSpec {
    let mut spec = crate::sleeper(client, milliseconds).await;
    spec.resources.cpu_milli = 1000;
    spec.scheduling.qos = Some("urgent".to_owned());
    spec
}

/// How far the counter says it is.
async fn counted(client: &Client, job: JobId) -> u64 {
    let task = client.tasks(job).await.remove(0);
    task.progress.and_then(|(_, message)| message.parse().ok()).unwrap_or(0)
}

async fn output(client: &Client, job: JobId) -> String {
    match client.ask(&Request::Output { job, index: 0 }).await {
        Ok(Response::Output(Content::Inline(bytes))) => String::from_utf8(bytes.to_vec()).unwrap(),
        other => panic!("unexpected answer: {other:?}"),
    }
}

const ONLY_FREEZE: Preemptible = Preemptible { freeze: true, checkpoint: false, requeue: false };
const ONLY_CHECKPOINT: Preemptible =
    Preemptible { freeze: false, checkpoint: true, requeue: false };

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_is_frozen_while_more_urgent_work_runs_and_loses_nothing() {
    let (_cluster, mut client) = cluster().await;
    let bulk = client.submit(&counter(&client, 1500, ONLY_FREEZE).await).await;
    until("it counts", async || counted(&client, bulk).await > 50).await;

    let first = client.submit(&urgent(&client, 1000).await).await;
    until("it has made room", async || client.tasks(first).await[0].state == TaskState::Running)
        .await;
    let before = counted(&client, bulk).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(client.tasks(first).await[0].state, TaskState::Running);
    assert!(counted(&client, bulk).await <= before + 50, "it stands still meanwhile");

    assert_eq!(client.wait(first).await.state, JobState::Succeeded);
    assert_eq!(client.wait(bulk).await.state, JobState::Succeeded);
    assert_eq!(client.tasks(bulk).await[0].attempts, 1, "the same attempt went on");
    assert_eq!(output(&client, bulk).await, "0..1500", "from the beginning to the end");
    assert!(client.job(bulk).await.usage.frozen_us >= 400_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_that_is_told_saves_how_far_it_is_and_goes_on_from_there() {
    let (_cluster, mut client) = cluster().await;
    let bulk = client.submit(&counter(&client, 1500, ONLY_CHECKPOINT).await).await;
    until("it counts", async || counted(&client, bulk).await > 50).await;

    let first = client.submit(&urgent(&client, 100).await).await;
    assert_eq!(client.wait(first).await.state, JobState::Succeeded, "long before its notice ends");

    assert_eq!(client.wait(bulk).await.state, JobState::Succeeded);
    assert_eq!(client.tasks(bulk).await[0].attempts, 2);
    let counted = output(&client, bulk).await;
    let (from, upto) = counted.split_once("..").unwrap();
    assert_eq!(upto, "1500");
    assert!(from.parse::<u64>().unwrap() > 50, "it went on past what it had saved: {counted}");
}
