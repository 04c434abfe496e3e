//! Workflows on real workers: what flows from step to step, and that kill -9 of the server
//! in any of its states loses nothing and does nothing twice.

use harness::{Client, Cluster};
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::wire::user::{ErrorCode, JobState, Request, TaskState};
use wrun_protocol::wire::workflow::StepDetail;
use wrun_protocol::workflow::{
    Condition, ForEach, Step, StepMount, StepReason, StepState, When, Workflow,
};
use wrun_protocol::{JobId, JobSpec};

use crate::{small_job, until};

/// A step that runs the guest `step` with these arguments.
fn step(guest: &JobSpec, name: &str, args: &[&str]) -> Step {
    let args = args.iter().map(|arg| (*arg).to_owned()).collect();
    Step::new(name, EncodedSpec::encode(&JobSpec { args, ..guest.clone() }).unwrap())
}

fn mounts(step: u16, path: &str) -> Vec<StepMount> {
    vec![StepMount { step, path: path.to_owned() }]
}

/// Lists numbers, squares each in a task of its own, gathers the squares, tidies up.
async fn squares(client: &Client) -> Workflow {
    let guest = small_job(client, "step").await;
    let list = step(&guest, "list", &["sleep=600", "lines=6"]);
    let square = Step {
        for_each: Some(ForEach::Lines(0)),
        ..step(&guest, "square", &["sleep=600", "square"])
    };
    let gather = Step { mounts: mounts(1, "/parts"), ..step(&guest, "gather", &["gather=/parts"]) };
    let finally = Some(step(&guest, "tidy", &["sleep=600", "say=tidy"]));
    Workflow { name: "squares".to_owned(), steps: vec![list, square, gather], finally }
}

async fn step_of(client: &Client, workflow: JobId, name: &str) -> StepDetail {
    let steps = client.workflow(workflow).await.steps;
    steps.into_iter().find(|step| step.name == name).expect("the step")
}

async fn runs(client: &Client, workflow: JobId, name: &str) -> bool {
    let Some(job) = step_of(client, workflow, name).await.job else { return false };
    client.tasks(job).await.iter().any(|task| task.state == TaskState::Running)
}

async fn kill_server(cluster: &mut Cluster, client: &mut Client) {
    tokio::task::block_in_place(|| cluster.restart_server());
    client.reconnect().await;
}

/// Tasks that a node has begun with, or that have ended.
async fn begun(client: &Client, workflow: JobId) -> Vec<(String, u32)> {
    let mut begun = Vec::new();
    for step in client.workflow(workflow).await.steps {
        let Some(job) = step.job else { continue };
        let tasks = client.tasks(job).await.into_iter();
        let tasks = tasks.filter(|task| task.state != TaskState::Pending);
        begun.extend(tasks.map(|task| (step.name.clone(), task.index)));
    }
    begun
}

/// Waits for the end and holds that the squares are right, and that no task that was `begun`
/// before the server died ran twice. One that was placed, and of which no node had heard yet,
/// has a second attempt: its placement was recorded.
async fn ends_well(client: &Client, workflow: JobId, begun: &[(String, u32)]) {
    assert_eq!(client.wait(workflow).await.state, JobState::Succeeded);
    let detail = client.workflow(workflow).await;
    assert!(detail.steps.iter().all(|step| step.state == StepState::Succeeded), "{detail:?}");
    for step in &detail.steps {
        let tasks = client.tasks(step.job.expect("its job")).await;
        for task in &tasks {
            let was_begun = begun.contains(&(step.name.clone(), task.index));
            let most = if was_begun { 1 } else { 2 };
            assert!(task.attempts <= most, "{}: {task:?}", step.name);
        }
    }
    let gathered = step_of(client, workflow, "gather").await.job.unwrap();
    assert_eq!(client.output(gathered, 0).await, b"0\n1\n4\n9\n16\n25\n");
    assert_eq!(client.jobs().await.len(), 1 + detail.steps.len(), "each step has one job");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_survives_the_server_s_death_right_after_its_acknowledgement() {
    let mut cluster = Cluster::start();
    let mut client = cluster.client().await;
    let workflow = squares(&client).await;
    let job = client.submit_workflow(&workflow).await;
    kill_server(&mut cluster, &mut client).await;
    ends_well(&client, job, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_survives_the_server_s_death_while_a_step_runs_and_ends() {
    let mut cluster = Cluster::start();
    let mut client = cluster.client().await;
    let workflow = squares(&client).await;
    let job = client.submit_workflow(&workflow).await;
    until("the step runs", async || runs(&client, job, "list").await).await;
    let begun = begun(&client, job).await;
    cluster.server.kill();
    // The step ends meanwhile, and nobody is told.
    tokio::time::sleep(std::time::Duration::from_millis(900)).await;
    kill_server(&mut cluster, &mut client).await;
    ends_well(&client, job, &begun).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_survives_the_server_s_death_between_two_steps() {
    let mut cluster = Cluster::start();
    let mut client = cluster.client().await;
    let workflow = squares(&client).await;
    let job = client.submit_workflow(&workflow).await;
    until("the first step is over", async || {
        step_of(&client, job, "list").await.state == StepState::Succeeded
    })
    .await;
    let begun = begun(&client, job).await;
    kill_server(&mut cluster, &mut client).await;
    ends_well(&client, job, &begun).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_survives_the_server_s_death_amid_a_fan_out() {
    let mut cluster = Cluster::start();
    let mut client = cluster.client().await;
    let workflow = squares(&client).await;
    let job = client.submit_workflow(&workflow).await;
    until("the tasks run", async || runs(&client, job, "square").await).await;
    let begun = begun(&client, job).await;
    kill_server(&mut cluster, &mut client).await;
    ends_well(&client, job, &begun).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_survives_the_server_s_death_in_its_last_step() {
    let mut cluster = Cluster::start();
    let mut client = cluster.client().await;
    let workflow = squares(&client).await;
    let job = client.submit_workflow(&workflow).await;
    until("the last step runs", async || runs(&client, job, "tidy").await).await;
    let begun = begun(&client, job).await;
    kill_server(&mut cluster, &mut client).await;
    ends_well(&client, job, &begun).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_workflow_still_tidies_up_after_the_server_s_death() {
    let mut cluster = Cluster::start();
    let mut client = cluster.client().await;
    let workflow = squares(&client).await;
    let job = client.submit_workflow(&workflow).await;
    until("the step runs", async || runs(&client, job, "list").await).await;
    client.ask(&Request::Cancel(job)).await.unwrap();
    kill_server(&mut cluster, &mut client).await;
    assert_eq!(client.wait(job).await.state, JobState::Cancelled);
    let states: Vec<_> = client.workflow(job).await.steps.iter().map(|step| step.state).collect();
    use StepState::{Cancelled, Skipped, Succeeded};
    assert_eq!(states, [Cancelled, Skipped, Skipped, Succeeded]);
    let tidy = step_of(&client, job, "tidy").await.job.unwrap();
    assert_eq!(client.output(tidy, 0).await, b"tidy\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_step_is_told_what_became_of_the_others_also_after_the_server_s_death() {
    let mut cluster = Cluster::start();
    let mut client = cluster.client().await;
    let mut guest = small_job(&client, "step").await;
    guest.retry.retries = 1;
    guest.retry.backoff_ms = 10;
    let bad = Step { needs: vec![0], may_fail: true, ..step(&guest, "bad", &["fail=7"]) };
    let many = Step { for_each: Some(ForEach::Lines(0)), ..step(&guest, "many", &["square"]) };
    let steps = vec![
        step(&guest, "list", &["lines=3"]),
        bad,
        many,
        Step { needs: vec![1], ..step(&guest, "after", &["say=never"]) },
        step(&guest, "long", &["sleep=1500"]),
    ];
    let finally = Some(step(&guest, "told", &["sleep=700", "show=/workflow.json"]));
    let workflow = Workflow { name: "flow".to_owned(), steps, finally };
    let job = client.submit_workflow(&workflow).await;
    until("one has failed", async || step_of(&client, job, "bad").await.state == StepState::Failed)
        .await;
    // Once before the last step is due, and once while it runs.
    kill_server(&mut cluster, &mut client).await;
    until("the last step runs", async || runs(&client, job, "told").await).await;
    kill_server(&mut cluster, &mut client).await;

    assert_eq!(client.wait(job).await.state, JobState::Succeeded);
    let told = step_of(&client, job, "told").await.job.expect("its job");
    let told = client.output(told, 0).await;
    let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
    assert_eq!(told["workflow"], job.0);
    assert_eq!((&told["name"], &told["cancelled"]), (&"flow".into(), &false.into()));
    let steps = told["steps"].as_array().unwrap();
    let of = |field: &str| steps.iter().map(|step| step[field].clone()).collect::<Vec<_>>();
    let null = || serde_json::Value::Null;
    assert_eq!(of("name"), ["list", "bad", "many", "after", "long"]);
    assert_eq!(of("state"), ["succeeded", "failed", "succeeded", "skipped", "succeeded"]);
    assert_eq!(of("exit_code"), [0.into(), 1.into(), 0.into(), null(), 0.into()]);
    assert_eq!(of("attempts"), [1.into(), 2.into(), 1.into(), null(), 1.into()]);
    assert_eq!(of("may_fail"), [false, true, false, false, false]);
    assert_eq!(steps[1]["failure"], "exit code 1", "{told:#}");
    assert_eq!(steps[2]["tasks"]["succeeded"], 3);
    assert_eq!(steps[3]["why"], "`bad` did not succeed");
    let jobs = client.workflow(job).await.steps.into_iter().map(|step| step.job);
    let jobs: Vec<_> = jobs.map(|job| serde_json::json!(job.map(|job| job.0))).collect();
    assert_eq!(of("job"), jobs[..5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_flow_from_step_to_step_and_a_second_run_does_only_what_is_left() {
    let cluster = Cluster::start();
    let mut client = cluster.client().await;
    let guest = small_job(&client, "step").await;
    let only_if = |equals| Some(Condition { step: 0, equals, text: "[3, 4]".to_owned() });
    let steps = vec![
        step(&guest, "list", &["say=[3, 4]"]),
        Step { for_each: Some(ForEach::Json(0)), ..step(&guest, "square", &["square"]) },
        Step { for_each: Some(ForEach::Tasks(1)), ..step(&guest, "again", &["square"]) },
        Step { only_if: only_if(true), ..step(&guest, "taken", &["say=16"]) },
        Step { only_if: only_if(false), ..step(&guest, "left", &["say=never"]) },
        Step { input: Some(3), ..step(&guest, "read", &["square"]) },
        Step { needs: vec![5], ..step(&guest, "bad", &["fail"]) },
        Step { mounts: mounts(2, "/a"), needs: vec![6], ..step(&guest, "sum", &["gather=/a"]) },
        Step { when: When::Failure, ..step(&guest, "mend", &["gather=/a"]) },
    ];
    let mut workflow = Workflow { name: "flow".to_owned(), steps, finally: None };
    workflow.steps[8].needs = vec![6];
    workflow.steps[8].mounts = mounts(2, "/a");
    let job = client.submit_workflow(&workflow).await;

    assert_eq!(client.wait(job).await.state, JobState::Failed);
    let detail = client.workflow(job).await;
    use StepState::{Failed, Skipped, Succeeded};
    let states: Vec<_> = detail.steps.iter().map(|step| step.state).collect();
    let (ok, no) = (Succeeded, Skipped);
    assert_eq!(states, [ok, ok, ok, ok, no, ok, Failed, no, ok]);
    assert_eq!(detail.steps[4].why, Some(StepReason::Condition("list".to_owned())));
    assert_eq!(detail.steps[7].why, Some(StepReason::NoSuccess("bad".to_owned())));
    let job_of = |at: usize| detail.steps[at].job.expect("its job");
    assert_eq!(client.output(job_of(5), 0).await, b"256\n");
    assert_eq!(client.output(job_of(8), 0).await, b"81\n256\n");
    assert_eq!(client.workflow(job_of(2)).await, detail, "a step's job tells its workflow");
    let child = client.job(job_of(2)).await.summary;
    assert_eq!((child.name.as_str(), child.tasks.succeeded), ("flow/again", 2));

    let second = client.rerun(job, None).await.unwrap();
    assert_eq!(client.wait(second).await.state, JobState::Failed);
    let again = client.workflow(second).await;
    assert_eq!(again.rerun_of, Some(job));
    let reused: Vec<_> =
        again.steps.iter().filter(|step| step.state == StepState::Reused).collect();
    let names: Vec<&str> = reused.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["list", "square", "again", "taken", "read"]);
    assert_eq!(reused[2].job, Some(job_of(2)));
    let mended = again.steps[8].job.expect("its job");
    assert_ne!(mended, job_of(8));
    assert_eq!(client.output(mended, 0).await, b"81\n256\n", "of the first run's tasks");

    let third = client.rerun(second, Some("square")).await.unwrap();
    client.wait(third).await;
    let states: Vec<_> = client.workflow(third).await.steps.iter().map(|it| it.state).collect();
    assert_eq!(states[..4], [StepState::Reused, ok, ok, StepState::Reused]);
    let unknown = client.rerun(job, Some("nowhere")).await.unwrap_err();
    assert_eq!(unknown.code, ErrorCode::NotFound, "{unknown}");
    assert!(unknown.message.contains("list, square"), "{unknown}");
}
