//! What every message looks like as bytes, for ever: a newer wrun reads what an older one
//! wrote, and nodes of both work together. `golden.txt` holds a line for each; a line is
//! only ever added.

mod models;
mod services;
mod values;
mod workers;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::Serialize;
use wrun_protocol::codec::append_frame;
use wrun_protocol::job::*;
use wrun_protocol::node::{NodeInfo, NodeState};
use wrun_protocol::policy::*;
use wrun_protocol::reservation::{Reservation, Reserved};
use wrun_protocol::schedule::{Missed, Overlap, Schedule};
use wrun_protocol::scheduling::{
    Arrangement, Dependency, DependsOn, Devices, Gpu, GpuRequest, Offer, Preemptible,
    Request as Wanted, Scheduling,
};
use wrun_protocol::task::{Content, Failure, Limit, Outcome, Usage};
use wrun_protocol::wire::forward::*;
use wrun_protocol::wire::join::{JoinReply, JoinRequest};
use wrun_protocol::wire::peer::*;
use wrun_protocol::wire::policy::*;
use wrun_protocol::wire::schedule::*;
use wrun_protocol::wire::user::*;
use wrun_protocol::wire::worker::*;
use wrun_protocol::wire::workflow::{JobKind, StepDetail, WorkflowDetail};
use wrun_protocol::workflow::*;
use wrun_protocol::*;

use values::*;
use workers::{add_peer_messages, add_worker_messages};

const GOLDEN: &str = include_str!("golden.txt");

#[derive(Default)]
struct Lines(Vec<(String, String)>);

impl Lines {
    fn add<M: Serialize>(&mut self, name: &str, message: M) {
        let mut frame = Vec::new();
        append_frame(&mut frame, &message).unwrap();
        let hex = frame[4..].iter().map(|byte| format!("{byte:02x}")).collect();
        self.0.push((name.to_owned(), hex));
    }

    /// Messages of one enum, in the order of their variants: after those of it that are there.
    fn add_all<M: Serialize, const N: usize>(&mut self, name: &str, messages: [M; N]) {
        let of_it =
            |line: &&(String, String)| line.0.rsplit_once('.').is_some_and(|(of, _)| of == name);
        let first = self.0.iter().filter(of_it).count();
        for (number, message) in (first..).zip(messages) {
            self.add(&format!("{name}.{number}"), message);
        }
    }
}

#[test]
fn every_message_is_encoded_as_it_ever_was() {
    let mut lines = Lines::default();
    add_user_messages(&mut lines);
    add_worker_messages(&mut lines);
    add_peer_messages(&mut lines);
    add_stored_values(&mut lines);
    let golden: BTreeMap<&str, &str> =
        GOLDEN.lines().filter_map(|line| line.split_once(" = ")).collect();
    let mut wrong = String::new();
    for (name, hex) in &lines.0 {
        match golden.get(name.as_str()) {
            Some(known) if known == hex => {}
            Some(known) => wrong += &format!("changed: {name}: was {known}, is {hex}\n"),
            None => wrong += &format!("add to golden.txt: {name} = {hex}\n"),
        }
    }
    for name in golden.keys().filter(|name| !lines.0.iter().any(|line| line.0 == **name)) {
        wrong += &format!("no longer tested: {name}\n");
    }
    assert!(
        wrong.is_empty(),
        "messages are only ever added, at the end of their enum; nothing sent or stored may \
         change:\n{wrong}"
    );
}

fn add_user_messages(lines: &mut Lines) {
    let submission = Submission { id: SubmitId([5; 16]), spec: encoded() };
    let filter = JobFilter {
        all_tenants: true,
        state: Some(JobState::Running),
        before: Some(JOB),
        limit: 100,
    };
    lines.add_all(
        "user.Request",
        [
            Request::Hello,
            Request::Submit(vec![submission]),
            Request::MissingBlobs(vec![DIGEST]),
            Request::PutBlob { digest: DIGEST, size: 70_000 },
            Request::GetBlob(DIGEST),
            Request::Jobs(filter),
            Request::Job(JOB),
            Request::Tasks { job: JOB, from: 1, limit: 2, state: Some(TaskState::Failed) },
            Request::Watch(JOB),
            Request::Logs { job: JOB, index: 7, follow: true },
            Request::Output { job: JOB, index: 7 },
            Request::Attach(JOB),
            Request::Cancel(JOB),
            Request::Nodes,
            Request::Drain { node: "n4".into(), drain: true },
            Request::RemoveNode("n4".into()),
            Request::CreateToken { ttl_ms: 3_600_000 },
            Request::CreateUser { tenant: tenant(), role: Role::Admin, csr: vec![0x30], ttl_ms: 9 },
            Request::Policy,
            Request::SetPolicy(Box::new(policy())),
            Request::Change { job: JOB, change: JobChange::Hold(true) },
            Request::CancelTasks { job: JOB, tasks: TaskSet::Ranges(vec![TASKS.tasks]) },
            Request::Requeue { job: JOB, tasks: TaskSet::All },
            Request::Retry { job: JOB, tasks: TaskSet::All },
            Request::Priority(JOB),
            Request::Shares,
            Request::Queue { limit: 100 },
            Request::Explain(JOB),
            Request::Reserve(Box::new(reservation())),
            Request::Unreserve("night".into()),
            Request::Reservations,
            Request::NodeDetails,
            Request::AddSchedule(Box::new(schedule())),
            Request::RemoveSchedule(schedule_id()),
            Request::PauseSchedule { schedule: schedule_id(), pause: true },
            Request::Schedules(ScheduleFilter {
                all_tenants: true,
                after: Some((tenant(), "nightly".into())),
                limit: 100,
            }),
            Request::SubmitWorkflow {
                id: SubmitId([5; 16]),
                workflow: Bytes::from_static(b"workflow").into(),
            },
            Request::Workflow(JOB),
            Request::Rerun { id: SubmitId([5; 16]), job: JOB, from: Some("train".into()) },
            Request::JobKinds(vec![JOB]),
            Request::Remembered { job: JOB, from: 3 },
            Request::Why(JOB),
            Request::ReservationRows,
        ],
    );
    lines.add_all("user.Request", services::requests());
    lines.add_all("user.Request", models::requests());
    add_responses(lines);
    lines.add_all("user.Response", services::responses());
    lines.add_all("user.Response", models::responses());
    lines.add_all("user.Stdin", [Stdin::Data(Bytes::from_static(b"in")), Stdin::End]);
    lines.add_all(
        "join.JoinRequest",
        [JoinRequest::Node { secret: [6; 32], csr: vec![0x30], name: "n-1".into() }],
    );
    lines.add_all(
        "join.JoinReply",
        [
            JoinReply::Welcome { node: NODE, certificate: vec![0x30], authority: vec![0x31] },
            JoinReply::Refused(refusal()),
        ],
    );
}

fn add_responses(lines: &mut Lines) {
    let tasks = TaskCounts { pending: 1, running: 2, succeeded: 3, failed: 4, cancelled: 5 };
    let summary = JobSummary {
        id: JOB,
        name: "resize".into(),
        tenant: tenant(),
        state: JobState::Running,
        tasks,
        priority: -5,
        submitted: AT,
        started: Some(AT),
        ended: None,
    };
    let detail = JobDetail {
        summary: summary.clone(),
        spec: encoded(),
        usage: USAGE,
        pending_reason: Some("no node is free".into()),
        failure: Some(Outcome::Failed(Failure::NodeLost)),
    };
    let task = TaskDetail {
        index: 7,
        state: TaskState::Running,
        attempts: 2,
        node: Some(NODE),
        node_name: Some("n-1".into()),
        started: Some(AT),
        ended: None,
        outcome: None,
        usage: USAGE,
        progress: Some((500, "half".into())),
    };
    let node = NodeSummary {
        id: NODE,
        info: info(),
        state: NodeState::Ready,
        used: Resources::default(),
        tasks: 3,
        last_seen: AT,
    };
    let chunk = LogChunk { stream: LogStream::Stderr, data: Bytes::from_static(b"line\n") };
    let factor = PriorityFactor { name: "age".into(), factor: 500_000, weight: 7, points: 3 };
    let share = ShareRow {
        tenant: tenant(),
        depth: 1,
        shares: 2,
        share: 300_000,
        usage: 4,
        usage_part: 500_000,
        factor: 600_000,
        cpu_milli_ms: 7 << 70,
        memory_byte_ms: 8 << 70,
        gpu_milli_ms: 9,
    };
    let queued = QueueRow {
        job: JOB,
        name: "resize".into(),
        tenant: tenant(),
        partition: Some("long".into()),
        qos: Some("low".into()),
        waiting: 5,
        priority: -6,
        reason: "held".into(),
        expected: Some(AT),
    };
    let explanation = Explanation {
        job: JOB,
        waiting: 5,
        position: Some(1),
        reasons: vec![ReasonRow { code: "held".into(), text: "held".into(), nodes: Some(3) }],
        expected: Some(Expectation { at: AT, assumption: "time limits".into() }),
        advice: vec!["release it".into()],
    };
    let detail_of_node = NodeDetail {
        summary: node.clone(),
        offer: offer(),
        gpu_used: vec![500],
        named_used: BTreeMap::from([("fpga".into(), 1)]),
        partitions: vec!["long".into()],
    };
    lines.add_all(
        "user.Response",
        [
            Response::Refused(refusal()),
            Response::Done,
            Response::Hello { version: "0.1.0".into(), tenant: tenant(), role: Role::User },
            Response::Submitted(vec![Ok(JOB), Err(refusal())]),
            Response::Missing(vec![DIGEST]),
            Response::Blob { size: 70_000 },
            Response::Jobs(vec![summary]),
            Response::Job(Box::new(detail)),
            Response::Tasks(vec![task]),
            Response::Progress(JobProgress { state: JobState::Succeeded, tasks, failure: None }),
            Response::Log(chunk),
            Response::Output(Content::Blob { digest: DIGEST, size: 70_000 }),
            Response::Nodes(vec![node]),
            Response::Token { secret: [6; 32], expires: AT },
            Response::Certificate(vec![0x30]),
            Response::Policy(Box::new(policy())),
            Response::Priority(PriorityDetail { total: 3, factors: vec![factor] }),
            Response::Shares(vec![share]),
            Response::Queue(vec![queued]),
            Response::Explanation(Box::new(explanation.clone())),
            Response::Reservations(vec![reservation()]),
            Response::NodeDetails(vec![detail_of_node]),
            Response::Schedules(vec![schedule_row()]),
            Response::Workflow(Box::new(workflow_detail())),
            Response::JobKinds(vec![JobKind::Job, JobKind::Workflow, JobKind::Step(JOB)]),
            Response::Remembered(vec![RememberedTasks {
                tasks: IndexRange { first: 1, count: 2 },
                from: JOB,
            }]),
            Response::Why(Box::new(Why { explanation, unknown: Some("held".into()) })),
            Response::ReservationRows(vec![ReservationRow {
                reservation: reservation(),
                others: 2,
            }]),
        ],
    );
}

fn add_stored_values(lines: &mut Lines) {
    lines.add_all(
        "job.VersionedSpec",
        [
            VersionedSpec::V1(first_version()),
            VersionedSpec::V2(first_version(), Box::new(wishes())),
            VersionedSpec::V3(first_version(), Box::new(wishes()), Box::new(services::service())),
            VersionedSpec::V4(
                first_version(),
                Box::new(wishes()),
                Some(Box::new(services::service())),
                Box::new(models::inference()),
            ),
        ],
    );
    services::add_values(lines);
    models::add_values(lines);
    lines.add_all(
        "scheduling.Arrangement",
        [
            Arrangement::Spread,
            Arrangement::Pack,
            Arrangement::SameNode,
            Arrangement::DifferentNodes,
        ],
    );
    lines.add_all(
        "scheduling.DependsOn",
        [
            DependsOn::Start,
            DependsOn::Success,
            DependsOn::Failure,
            DependsOn::End,
            DependsOn::EachSuccess,
        ],
    );
    lines.add_all(
        "policy.QueueOrder",
        [
            QueueOrder::Multifactor,
            QueueOrder::Fcfs,
            QueueOrder::ShortestFirst,
            QueueOrder::SmallestAreaFirst,
            QueueOrder::Balanced,
        ],
    );
    lines.add_all("policy.Favour", [Favour::Small, Favour::Large]);
    lines.add_all(
        "policy.BackfillMode",
        [BackfillMode::Off, BackfillMode::Easy, BackfillMode::Conservative],
    );
    lines.add_all(
        "reservation.Reserved",
        [Reserved::All, Reserved::Nodes(BTreeSet::from(["n-1".into()])), reservation().what],
    );
    lines.add_all(
        "policy.JobChange",
        [
            JobChange::Hold(true),
            JobChange::Priority(-1),
            JobChange::Nice(2),
            JobChange::TimeLimit(Some(3)),
            JobChange::Begin(Some(AT)),
            JobChange::Deadline(None),
            JobChange::Partition(Some("long".into())),
            JobChange::Qos(None),
            JobChange::MaxRunning(Some(4)),
        ],
    );
    lines.add_all("schedule.Overlap", [Overlap::Skip, Overlap::Queue, Overlap::Replace]);
    lines.add_all("schedule.Missed", [Missed::Skip, Missed::Once, Missed::All]);
    lines.add_all("workflow.VersionedWorkflow", [VersionedWorkflow::V1(Box::new(workflow()))]);
    lines.add_all("workflow.When", [When::Success, When::Failure, When::End]);
    lines.add_all("workflow.ForEach", [ForEach::Lines(1), ForEach::Json(1), ForEach::Tasks(1)]);
    lines.add_all(
        "workflow.StepState",
        [
            StepState::Waiting,
            StepState::Preparing,
            StepState::Running,
            StepState::Succeeded,
            StepState::Failed,
            StepState::Skipped,
            StepState::Cancelled,
            StepState::Reused,
        ],
    );
    lines.add_all(
        "workflow.StepReason",
        [
            StepReason::NoSuccess("x".into()),
            StepReason::NoFailure,
            StepReason::Condition("x".into()),
            StepReason::NoItems("x".into()),
            StepReason::Unprepared("x".into()),
            StepReason::Refused(refusal()),
            StepReason::TimedOut(9),
            StepReason::Cancelled,
        ],
    );
    lines.add("workflow.Reused", Reused { step: 1, job: Some(JOB), tasks: TaskCounts::default() });
    lines.add_all(
        "schedule.WhyLeftOut",
        [WhyLeftOut::Missed, WhyLeftOut::Overlaps(JOB), WhyLeftOut::Refused(refusal())],
    );
    lines.add_all("policy.TaskSet", [TaskSet::All, TaskSet::Ranges(vec![TASKS.tasks])]);

    let items = Content::Inline(Bytes::from_static(b"items"));
    lines.add_all("job.Input", [Input::Empty, spec().input, Input::Attached, Input::Each(items)]);
    lines.add_all("job.OnDisconnect", [OnDisconnect::Continue, OnDisconnect::Stop]);
    lines.add_all(
        "job.RetryOn",
        [RetryOn::Exit(-1), RetryOn::Trap, RetryOn::Handler, RetryOn::Limit, RetryOn::Setup],
    );
    lines.add_all(
        "task.Failure",
        [
            Failure::Exit { code: -1 },
            Failure::Handler { message: "bad input".into(), retryable: true },
            Failure::Trap { message: "unreachable".into() },
            Failure::Limit { limit: Limit::Memory, allowed: 1 << 27 },
            Failure::Setup { message: "no such export".into() },
            Failure::Cancelled,
            Failure::NodeLost,
            Failure::Dependency { on: Dependency { job: JobId(8), on: DependsOn::Success } },
        ],
    );
    lines.add_all("task.Outcome", [Outcome::Succeeded, Outcome::Failed(Failure::Cancelled)]);
    lines.add_all(
        "task.Limit",
        [
            Limit::Memory,
            Limit::WallTime,
            Limit::CpuTime,
            Limit::Output,
            Limit::Log,
            Limit::Scratch,
            Limit::Handles,
            Limit::Stack,
            Limit::LogRate,
            Limit::Fibers,
        ],
    );
    lines.add_all(
        "worker.ComponentKind",
        [ComponentKind::Command, ComponentKind::Handler, ComponentKind::Http],
    );
    lines.add_all("tenant.Role", [Role::User, Role::Admin]);
    lines.add_all(
        "node.NodeState",
        [NodeState::Ready, NodeState::Draining, NodeState::Disconnected, NodeState::Lost],
    );
    lines.add_all(
        "user.ErrorCode",
        [
            ErrorCode::InvalidInput,
            ErrorCode::NotFound,
            ErrorCode::Denied,
            ErrorCode::Unsatisfiable,
            ErrorCode::Conflict,
            ErrorCode::LimitReached,
            ErrorCode::Unavailable,
            ErrorCode::StorageFull,
            ErrorCode::Internal,
        ],
    );
    lines.add_all(
        "user.JobState",
        [
            JobState::Pending,
            JobState::Running,
            JobState::Succeeded,
            JobState::Failed,
            JobState::Cancelled,
        ],
    );
    lines.add_all(
        "user.TaskState",
        [
            TaskState::Pending,
            TaskState::Assigned,
            TaskState::Running,
            TaskState::Succeeded,
            TaskState::Failed,
            TaskState::Cancelled,
            TaskState::Frozen,
            TaskState::Stopping,
        ],
    );
}
