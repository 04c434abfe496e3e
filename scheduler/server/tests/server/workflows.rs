//! Workflows: what is refused, who may see them, and what is kept of them.

use wrun_protocol::task::Content;
use wrun_protocol::wire::user::{
    ErrorCode, JobFilter, JobState, LogStream, Request, RequestError, Response,
};
use wrun_protocol::wire::workflow::WorkflowDetail;
use wrun_protocol::workflow::{
    EncodedWorkflow, ForEach, Step, StepMount, StepReason, StepState, Workflow,
};
use wrun_protocol::{Digest, JobId, JobSpec, SubmitId};

use crate::harness::*;

fn step(name: &str, spec: &JobSpec) -> Step {
    Step::new(name, wrun_protocol::job::EncodedSpec::encode(spec).unwrap())
}

fn of(steps: Vec<Step>) -> Workflow {
    Workflow { name: "flow".to_owned(), steps, finally: None }
}

fn request(id: u8, workflow: &Workflow) -> Request {
    let workflow = EncodedWorkflow::encode(workflow).unwrap();
    Request::SubmitWorkflow { id: SubmitId([id; 16]), workflow }
}

fn submitted(answer: Response) -> Result<JobId, RequestError> {
    match answer {
        Response::Submitted(mut answers) => answers.pop().unwrap(),
        Response::Refused(error) => Err(error),
        other => panic!("{other:?}"),
    }
}

async fn submit(client: &Client, id: u8, workflow: &Workflow) -> Result<JobId, RequestError> {
    submitted(client.ask(request(id, workflow)).await)
}

async fn rerun(client: &Client, id: u8, job: JobId) -> Result<JobId, RequestError> {
    let id = SubmitId([id; 16]);
    submitted(client.ask(Request::Rerun { id, job, from: None }).await)
}

async fn detail(client: &Client, job: JobId) -> WorkflowDetail {
    match client.ask(Request::Workflow(job)).await {
        Response::Workflow(detail) => *detail,
        other => panic!("{other:?}"),
    }
}

/// The next task that the worker is given succeeds, and prints that.
async fn run(worker: &mut Worker, says: &str) -> JobId {
    let ran = attempt(worker.assigned().await);
    let recorded = Content::Inline(log(&[chunk(LogStream::Stdout, says)]).into());
    worker.succeed(ran, Some(recorded)).await;
    ran.task.job
}

#[tokio::test]
async fn a_step_that_cannot_be_is_refused_by_name_before_anything_runs() {
    let cluster = Cluster::start().await;
    let client = cluster.user("lab");
    let good = client.program().await;
    let unknown = JobSpec::new(Digest([9; 32]));
    let error =
        submit(&client, 1, &of(vec![step("a", &good), step("b", &unknown)])).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound);
    assert!(error.message.starts_with("step `b`: "), "{error}");
    let garbled = EncodedWorkflow::from(bytes::Bytes::from_static(b"?"));
    let asked = Request::SubmitWorkflow { id: SubmitId([2; 16]), workflow: garbled };
    assert_eq!(client.refusal(asked).await.code, ErrorCode::InvalidInput);
    let none = JobFilter { limit: 10, ..JobFilter::default() };
    assert_eq!(client.ask(Request::Jobs(none)).await, Response::Jobs(Vec::new()));
}

#[tokio::test]
async fn a_workflow_is_shown_live_and_from_the_history_and_repeated_submissions_are_one() {
    let cluster = Cluster::start().await;
    let client = cluster.user("lab");
    let mut worker = cluster.worker("a").await;
    let program = client.program().await;
    let mut second = step("b", &program);
    second.needs = vec![0];
    let workflow = of(vec![step("a", &program), second]);
    let job = submit(&client, 1, &workflow).await.unwrap();
    let first = run(&mut worker, "").await;
    let live = detail(&client, first).await;
    assert_eq!((live.summary.id, live.summary.name.as_str()), (job, "flow"));
    run(&mut worker, "").await;
    assert_eq!(client.end(job).await.state, JobState::Succeeded);
    let cluster = cluster.restart().await;
    let client = cluster.user("lab");
    assert_eq!(submit(&client, 1, &workflow).await, Ok(job));
    let ended = detail(&client, first).await;
    assert_eq!((ended.summary.id, ended.summary.state), (job, JobState::Succeeded));
    assert_eq!(client.ask(Request::Job(job)).await, Response::Workflow(Box::new(ended.clone())));
    assert!(ended.steps.iter().all(|step| step.state == StepState::Succeeded));
    let filter = JobFilter { limit: 10, ..JobFilter::default() };
    let Response::Jobs(rows) = client.ask(Request::Jobs(filter)).await else { panic!("no jobs") };
    let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["flow/b", "flow/a", "flow"]);
    assert_eq!(rows[2].tasks.succeeded, 2, "of steps");
}

#[tokio::test]
async fn a_workflow_of_another_tenant_is_not_there() {
    let cluster = Cluster::start().await;
    let (client, other) = (cluster.user("lab"), cluster.user("rival"));
    let job = submit(&client, 1, &of(vec![step("a", &client.program().await)])).await.unwrap();
    for request in [Request::Workflow(job), Request::Job(job), Request::Cancel(job)] {
        assert_eq!(other.refusal(request).await.code, ErrorCode::NotFound);
    }
    assert_eq!(rerun(&other, 2, job).await.unwrap_err().code, ErrorCode::NotFound);
    let admin = cluster.admin();
    assert_eq!(detail(&admin, job).await.summary.id, job);
    client.ask(Request::Cancel(job)).await;
    client.end(job).await;
    assert_eq!(rerun(&other, 3, job).await.unwrap_err().code, ErrorCode::NotFound);
    assert_eq!(rerun(&admin, 4, job).await.unwrap_err().code, ErrorCode::Denied);
}

#[tokio::test]
async fn what_only_a_job_has_is_refused_of_a_workflow() {
    let cluster = Cluster::start().await;
    let client = cluster.user("lab");
    let job = submit(&client, 1, &of(vec![step("a", &client.program().await)])).await.unwrap();
    for ended in [false, true] {
        if ended {
            client.ask(Request::Cancel(job)).await;
            client.end(job).await;
        }
        for asked in [
            Request::Logs { job, index: 0, follow: true },
            Request::Output { job, index: 0 },
            Request::Tasks { job, from: 0, limit: 10, state: None },
        ] {
            let error = client.refusal(asked.clone()).await;
            assert!(error.message.contains("is a workflow"), "{asked:?}: {error}");
        }
    }
}

#[tokio::test]
async fn only_a_workflow_that_has_ended_and_not_succeeded_runs_again() {
    let cluster = Cluster::start().await;
    let client = cluster.user("lab");
    let mut worker = cluster.worker("a").await;
    let job = submit(&client, 1, &of(vec![step("a", &client.program().await)])).await.unwrap();
    assert_eq!(rerun(&client, 2, job).await.unwrap_err().code, ErrorCode::Conflict);
    let child = run(&mut worker, "").await;
    client.end(job).await;
    let error = rerun(&client, 2, job).await.unwrap_err();
    assert_eq!(error.message, "every step succeeded: say from which one to run it again");
    assert_eq!(rerun(&client, 2, child).await.unwrap_err().code, ErrorCode::Conflict);
}

#[tokio::test]
async fn outputs_of_many_tasks_are_mounted_by_index_and_no_items_make_no_job() {
    let cluster = Cluster::start().await;
    let client = cluster.user("lab");
    let mut worker = cluster.worker("a").await;
    let program = client.program().await;
    let each = Step { for_each: Some(ForEach::Lines(0)), ..step("each", &program) };
    let none = Step { for_each: Some(ForEach::Json(3)), ..step("none", &program) };
    let mount = |step, path: &str| StepMount { step, path: path.to_owned() };
    let gather =
        Step { mounts: vec![mount(1, "/in"), mount(4, "/no")], ..step("gather", &program) };
    let steps = vec![step("list", &program), each, gather, step("empty", &program), none];
    let job = submit(&client, 1, &of(steps)).await.unwrap();
    let said = |job: JobId, names: &[(JobId, &'static str)]| {
        names.iter().find(|(of, _)| *of == job).map_or("part", |(_, says)| *says)
    };
    let (list, empty) = (JobId(job.0 + 1), JobId(job.0 + 2));
    let names = [(list, "one\ntwo\n"), (empty, "[]")];
    // Those two, then two tasks, then the one that gathers them.
    for _ in 0..5 {
        let assigned = worker.assigned().await;
        for index in assigned.tasks.indices() {
            let ran = assigned.job.task(index).attempt(assigned.attempt);
            let chunks = [chunk(LogStream::Stdout, said(assigned.job, &names))];
            worker.succeed(ran, Some(Content::Inline(log(&chunks).into()))).await;
        }
        if assigned.tasks.count == 2 || assigned.job.0 > job.0 + 3 {
            break;
        }
    }
    let mut seen = detail(&client, job).await;
    while seen.steps[2].job.is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        seen = detail(&client, job).await;
    }
    let gathers = client.job(seen.steps[2].job.unwrap()).await.spec.decode().unwrap();
    let paths: Vec<&str> = gathers.mounts.iter().map(|mount| mount.path.as_str()).collect();
    assert_eq!(paths, ["/in/0", "/in/1"]);
    assert_eq!(gathers.mounts[0].digest, sha256(b"part"));
    assert_eq!(seen.steps[4].job, None);
    assert_eq!(seen.steps[4].state, StepState::Succeeded);
    assert_eq!(seen.steps[4].why, Some(StepReason::NoItems("empty".to_owned())));
}
