//! The encoding of every fact, byte for byte: a journal written today is read for ever.
//! A new variant adds a line at the end of the file and edits none.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test: it may stop at what it did not expect, and read clocks and files"
)]

use std::collections::{BTreeMap, BTreeSet};

use wrun_core::fact::{Fact, Next, Remembered, RequeueCause, Success};
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::model::{Encoding, ModelId, ModelSpec, ModelVersion};
use wrun_protocol::node::NodeInfo;
use wrun_protocol::reservation::{Reservation, Reserved};
use wrun_protocol::schedule::{Missed, Overlap, Schedule};
use wrun_protocol::scheduling::{Dependency, DependsOn, Gpu, Offer};
use wrun_protocol::service::ServiceId;
use wrun_protocol::task::{Content, Failure, Outcome, Usage};
use wrun_protocol::wire::policy::JobChange;
use wrun_protocol::wire::schedule::WhyLeftOut;
use wrun_protocol::wire::service::{Readied, RolledBackBy, ScaleTo, ScaledBy};
use wrun_protocol::wire::user::{JobState, TaskCounts};
use wrun_protocol::wire::worker::{Assignment, ComponentKind, Grant, TaskResult};
use wrun_protocol::workflow::{Reused, StepReason, StepState};
use wrun_protocol::{
    Digest, IndexRange, JobId, NodeId, Resources, SubmitId, TenantName, Timestamp,
};

fn facts() -> Vec<Fact> {
    let (at, node, job) = (Timestamp(300), NodeId(2), JobId(9));
    let tasks = Assignment { job, attempt: 1, tasks: IndexRange { first: 4, count: 200 } };
    let usage = Usage { wall_us: 1, cpu_us: 2, frozen_us: 3, peak_memory: 4 };
    let capacity = Resources { cpu_milli: 1000, memory: 2, scratch: 3, slots: 4 };
    let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let info = NodeInfo { name: "n".to_owned(), capacity, labels, version: "1".to_owned() };
    let attempt = job.task(4).attempt(1);
    let outcome = Outcome::Failed(Failure::Exit { code: -1 });
    let output = Some(Content::Inline(vec![7].into()));
    let result = Box::new(TaskResult { outcome, usage, output, log: None });
    let ended = |next| Fact::Ended { at, node, attempt, result: result.clone(), next };
    let success = |ends_job| Success { tasks, usage, ends_job };
    let gpu = Gpu { model: "a100".to_owned(), memory: 80 };
    let named = BTreeMap::from([("fpga".to_owned(), 2)]);
    let on = Dependency { job: JobId(8), on: DependsOn::Success };
    let reservation = Reservation {
        name: "night".to_owned(),
        start: Timestamp(500),
        end: Timestamp(600),
        every_ms: Some(1000),
        what: Reserved::All,
        tenants: BTreeSet::new(),
    };
    let schedule = Schedule {
        name: "nightly".to_owned(),
        cron: "0 3 * * *".parse().unwrap(),
        overlap: Overlap::Replace,
        missed: Missed::All,
        until: Some(Timestamp(500)),
        spec: EncodedSpec::from(bytes::Bytes::from_static(b"spec")),
    };
    let due = |run| Fact::ScheduleDue {
        at,
        tenant: "ann".parse().unwrap(),
        name: "nightly".to_owned(),
        due: Timestamp(299),
        run,
    };
    let service = ServiceId { tenant: "ann".parse().unwrap(), name: "web".parse().unwrap() };
    let model = ModelId { tenant: "ann".parse().unwrap(), name: "vad".parse().unwrap() };
    let version =
        ModelVersion { digest: Digest([3; 32]), size: 300, spec: ModelSpec::new(Encoding::Onnx) };
    let (tag, with): (_, TenantName) = ("v2".parse().unwrap(), "bob".parse().unwrap());
    let requeued = |cause| Fact::Requeued { at, node, cause, tasks: vec![tasks] };
    vec![
        Fact::TokenCreated { at, hash: [1; 32], expires: Timestamp(301) },
        Fact::NodeJoined { at, node, name: "n".to_owned(), token: [1; 32] },
        Fact::NodeConnected { at, node, info: Box::new(info), incarnation: 77 },
        Fact::NodeLost { at, node },
        Fact::NodeDrained { at, node, drain: true },
        Fact::NodeRemoved { at, node },
        Fact::JobSubmitted {
            at,
            job,
            tenant: "ann".parse().unwrap(),
            id: SubmitId([5; 16]),
            kind: ComponentKind::Handler,
            spec: EncodedSpec::from(bytes::Bytes::from_static(b"spec")),
        },
        Fact::Placed { at, node, tasks: vec![tasks] },
        Fact::Started { at, node, tasks: vec![tasks] },
        Fact::Succeeded {
            at,
            node,
            tasks: vec![success(None), success(Some(JobState::Succeeded))],
        },
        ended(Next::Final { ends_job: Some(JobState::Failed) }),
        ended(Next::Retry { not_before: Timestamp(400) }),
        requeued(RequeueCause::Returned),
        requeued(RequeueCause::NodeLost),
        requeued(RequeueCause::Preempted),
        requeued(RequeueCause::Requested),
        requeued(RequeueCause::Gang),
        Fact::Checkpointed { at, attempt, content: Content::Inline(vec![8].into()) },
        Fact::JobCancelled { at, job },
        Fact::Reported { at, node, report: 500 },
        Fact::PolicySet { at, policy: Box::default() },
        Fact::NodeOffered { at, node, offer: Offer { gpus: vec![gpu], named } },
        Fact::JobChanged { at, job, change: JobChange::Hold(true) },
        Fact::TasksCancelled { at, job, tasks: vec![tasks.tasks], ends_job: None },
        Fact::TasksRetried { at, tasks: vec![tasks] },
        Fact::PlacedWith { at, node, tasks: vec![(tasks, Grant { request: 1, gpus: vec![0, 3] })] },
        Fact::Frozen { at, node, tasks: vec![tasks], frozen: true },
        Fact::Noticed { at, node, attempt, until: Timestamp(400) },
        Fact::Reserved { at, reservation: Box::new(reservation), nodes: vec![(node, 3)] },
        Fact::Unreserved { at, name: "night".to_owned() },
        Fact::DependencySettled { at, job, on, tasks: Some(tasks.tasks), met: true },
        Fact::ScheduleAdded {
            at,
            tenant: "ann".parse().unwrap(),
            kind: ComponentKind::Command,
            schedule: Box::new(schedule),
        },
        Fact::ScheduleRemoved { at, tenant: "ann".parse().unwrap(), name: "nightly".to_owned() },
        Fact::SchedulePaused {
            at,
            tenant: "ann".parse().unwrap(),
            name: "nightly".to_owned(),
            paused: true,
        },
        due(Ok(job)),
        due(Err(WhyLeftOut::Missed)),
        Fact::GangPlaced {
            at,
            parts: vec![
                (node, tasks, None),
                (node, tasks, Some(Grant { request: 1, gpus: vec![2] })),
            ],
        },
        Fact::WorkflowSubmitted {
            at,
            job,
            tenant: "ann".parse().unwrap(),
            id: SubmitId([6; 16]),
            workflow: Box::new(bytes::Bytes::from_static(b"workflow").into()),
            kinds: vec![ComponentKind::Handler],
            rerun_of: Some(JobId(8)),
            reused: vec![Reused { step: 0, job: Some(JobId(7)), tasks: TaskCounts::default() }],
        },
        Fact::StepStarted { at, workflow: JobId(8), step: 1, job },
        Fact::StepEnded {
            at,
            workflow: JobId(8),
            step: 1,
            state: StepState::Failed,
            why: Some(StepReason::TimedOut(9)),
        },
        Fact::WorkflowCancelled { at, job },
        Fact::WorkflowEnded { at, job, state: JobState::Cancelled },
        Fact::Remembered {
            at,
            job,
            tasks: vec![Remembered {
                index: 4,
                from: JobId(1),
                output: Some(Content::Inline(vec![8].into())),
                log: None,
            }],
            ends_job: Some(JobState::Succeeded),
        },
        Fact::ServiceDeployed {
            at,
            service: service.clone(),
            revision: 2,
            job,
            id: SubmitId([7; 16]),
            kind: ComponentKind::Http,
            spec: EncodedSpec::from(bytes::Bytes::from_static(b"spec")),
        },
        Fact::ServiceUndeployed { at, service: service.clone() },
        Fact::ServiceScaleSet {
            at,
            service: service.clone(),
            to: ScaleTo::Bounds { min: 1, max: 300 },
        },
        Fact::ServiceScaled { at, service: service.clone(), to: 3, why: ScaledBy::Request },
        Fact::ReplicasWoken { at, job, replicas: vec![tasks.tasks] },
        Fact::ReplicasSlept { at, job, replicas: vec![tasks.tasks] },
        Fact::ReplicaReadied { at, node, attempt, state: Readied::Ready },
        Fact::ReplicaReadied {
            at,
            node,
            attempt,
            state: Readied::NotReady { why: "503".to_owned() },
        },
        Fact::ReplicaDraining { at, node, attempt, until: Timestamp(400) },
        ended(Next::Restart { not_before: Timestamp(400), failures: 2, late: true }),
        Fact::RolloutMoved {
            at,
            service: service.clone(),
            step: 2,
            reached: Some(Timestamp(299)),
            paused: true,
        },
        Fact::RolledOut { at, service: service.clone(), revision: 300 },
        Fact::RolledBack { at, service, to: 2, why: RolledBackBy::Errors },
        Fact::LookedUp { at, job, tasks: vec![tasks.tasks] },
        Fact::ModelPushed { at, model: model.clone(), tag, version: Box::new(version) },
        Fact::ModelRemoved { at, model: model.clone(), tag: "v2".parse().unwrap() },
        Fact::ModelShared { at, model, with, shared: true },
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_fact_is_encoded_as_it_always_was() {
    let lines = facts().into_iter().map(|fact| hex(&postcard::to_stdvec(&fact).unwrap()));
    let now: Vec<String> = lines.collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/facts.golden");
    if std::env::var_os("WRUN_WRITE_GOLDEN").is_some() {
        std::fs::write(path, now.join("\n") + "\n").unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    assert_eq!(now, golden.lines().collect::<Vec<_>>());
}

#[test]
fn every_fact_reads_back() {
    for fact in facts() {
        let bytes = postcard::to_stdvec(&fact).unwrap();
        assert_eq!(postcard::from_bytes::<Fact>(&bytes).unwrap(), fact);
    }
}
