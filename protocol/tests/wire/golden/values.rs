//! The values of which the messages are made. They never change: what was written with them
//! is in `golden.txt`.

use super::*;

pub(super) const DIGEST: Digest = Digest([0xd1; 32]);
pub(super) const JOB: JobId = JobId(300);
pub(super) const TASK: TaskId = TaskId { job: JOB, index: 7 };
pub(super) const ATTEMPT: AttemptId = AttemptId { task: TASK, attempt: 2 };
pub(super) const TASKS: Assignment =
    Assignment { job: JOB, attempt: 1, tasks: IndexRange { first: 0, count: 1000 } };
pub(super) const USAGE: Usage =
    Usage { wall_us: 1500, cpu_us: 900, frozen_us: 0, peak_memory: 1 << 20 };
pub(super) const NODE: NodeId = NodeId(4);
pub(super) const AT: Timestamp = Timestamp(1_700_000_000_000);

pub(super) fn tenant() -> TenantName {
    "lab".parse().unwrap()
}

pub(super) fn refusal() -> RequestError {
    RequestError::new(ErrorCode::NotFound, "no such job")
}

pub(super) fn spec() -> JobSpec {
    let mut spec = JobSpec::new(DIGEST);
    spec.name = "resize".into();
    spec.args = vec!["-v".into()];
    spec.env = vec![("LANG".into(), "C".into())];
    spec.input = Input::Content(Content::Inline(Bytes::from_static(b"in")));
    spec.mounts = vec![Mount { path: "/data/a".into(), digest: DIGEST, size: 9 }];
    spec.limits.wall_ms = Some(60_000);
    spec.retry.on = vec![RetryOn::Exit(-1), RetryOn::Trap];
    spec.priority = -5;
    spec.labels = BTreeMap::from([("zone".into(), "a".into())]);
    spec.network = vec![HostGrant { host: "example.org".into(), port: Some(443) }];
    spec
}

pub(super) fn first_version() -> SpecV1 {
    match VersionedSpec::from(&spec()) {
        VersionedSpec::V1(spec)
        | VersionedSpec::V2(spec, _)
        | VersionedSpec::V3(spec, ..)
        | VersionedSpec::V4(spec, ..) => spec,
    }
}

pub(super) fn devices() -> Devices {
    let gpu = GpuRequest { milli: 500, memory: 8 << 30, models: vec!["a100".into()] };
    let named = BTreeMap::from([("fpga".into(), 2)]);
    Devices { gpu: Some(gpu), named, pools: BTreeMap::from([("licence".into(), 1)]) }
}

pub(super) fn wishes() -> Scheduling {
    Scheduling {
        partition: Some("long".into()),
        qos: Some("low".into()),
        nice: -7,
        hold: true,
        begin: Some(AT),
        deadline: Some(AT),
        devices: devices(),
        alternatives: vec![wanted()],
        refused_labels: BTreeMap::from([("zone".into(), "b".into())]),
        arrangement: Arrangement::Pack,
        gang: true,
        max_running: Some(9),
        depends_on: vec![Dependency { job: JOB, on: DependsOn::Success }],
        preemptible: Preemptible { freeze: true, checkpoint: false, requeue: true },
        reservation: Some("night".into()),
        cache: true,
    }
}

pub(super) fn wanted() -> Wanted {
    Wanted { resources: JobSpec::DEFAULT_RESOURCES, devices: devices() }
}

pub(super) fn offer() -> Offer {
    let gpus = vec![Gpu { model: "a100".into(), memory: 80 << 30 }];
    Offer { gpus, named: BTreeMap::from([("fpga".into(), 2)]) }
}

pub(super) fn policy() -> Policy {
    let limits = Limits {
        queued: Some(1),
        running: Some(2),
        cpu_milli: Some(3),
        memory: Some(4),
        gpu_milli: Some(5),
    };
    let partition = Partition {
        name: "long".into(),
        nodes: BTreeSet::from(["n-1".into()]),
        labels: BTreeMap::from([("zone".into(), "a".into())]),
        default: true,
        priority: 6,
        preempts: true,
        tenants: BTreeSet::from([tenant()]),
        max_time_ms: Some(7),
        limits,
    };
    let qos = Qos {
        name: "low".into(),
        priority: 8,
        preempts: BTreeSet::from(["lower".into()]),
        tenants: BTreeSet::from([tenant()]),
        max_time_ms: Some(9),
        tenant_limits: limits,
        limits,
        exempt: true,
    };
    let of_tenant = TenantPolicy {
        name: tenant(),
        parent: Some(tenant()),
        shares: 10,
        default_qos: Some("low".into()),
        limits,
    };
    Policy {
        order: QueueOrder::Balanced,
        fill_order: Some(QueueOrder::ShortestFirst),
        age_bound_ms: Some(11),
        partitions: vec![partition],
        qos: vec![qos],
        tenants: vec![of_tenant],
        pools: BTreeMap::from([("licence".into(), 12)]),
        ..Policy::default()
    }
}

pub(super) fn reservation() -> Reservation {
    Reservation {
        name: "night".into(),
        start: AT,
        end: Timestamp(AT.0 + 1000),
        every_ms: Some(86_400_000),
        what: Reserved::Amount { each: wanted(), count: 3, partition: Some("long".into()) },
        tenants: BTreeSet::from([tenant()]),
    }
}

pub(super) fn schedule() -> Schedule {
    Schedule {
        name: "nightly".into(),
        cron: "0 3 * * *".parse().unwrap(),
        overlap: Overlap::Queue,
        missed: Missed::Once,
        until: Some(AT),
        spec: encoded(),
    }
}

pub(super) fn schedule_id() -> ScheduleId {
    ScheduleId { tenant: Some(tenant()), name: "nightly".into() }
}

pub(super) fn schedule_row() -> ScheduleRow {
    ScheduleRow {
        tenant: tenant(),
        name: "nightly".into(),
        cron: "0 3 * * *".parse().unwrap(),
        overlap: Overlap::Replace,
        missed: Missed::All,
        until: None,
        paused: false,
        next: Some(AT),
        live: 1,
        last: Some(ScheduledRun { due: AT, job: JOB, state: Some(JobState::Running) }),
        left_out: Some(LeftOut { due: AT, why: WhyLeftOut::Refused(refusal()) }),
    }
}

pub(super) fn workflow() -> Workflow {
    let step = Step {
        needs: vec![1],
        when: When::End,
        only_if: Some(Condition { step: 1, equals: true, text: "yes".into() }),
        for_each: Some(ForEach::Json(1)),
        input: Some(1),
        mounts: vec![StepMount { step: 1, path: "/in".into() }],
        timeout_ms: Some(9),
        may_fail: true,
        ..Step::new("train", encoded())
    };
    let finally = Some(Step::new("tidy", encoded()));
    Workflow { name: "learn".into(), steps: vec![step, Step::new("fetch", encoded())], finally }
}

pub(super) fn workflow_detail() -> WorkflowDetail {
    let summary = JobSummary {
        id: JOB,
        name: "learn".into(),
        tenant: tenant(),
        state: JobState::Running,
        tasks: TaskCounts::default(),
        priority: 0,
        submitted: AT,
        started: Some(AT),
        ended: None,
    };
    let step = StepDetail {
        name: "train".into(),
        finally: false,
        needs: vec![1],
        when: When::Success,
        may_fail: false,
        state: StepState::Skipped,
        job: Some(JOB),
        tasks: TaskCounts::default(),
        started: Some(AT),
        ended: Some(AT),
        why: Some(StepReason::NoSuccess("fetch".into())),
    };
    WorkflowDetail { summary, rerun_of: Some(JOB), steps: vec![step] }
}

pub(super) fn info() -> NodeInfo {
    NodeInfo {
        name: "n-1".into(),
        capacity: Resources { cpu_milli: 2000, memory: 1 << 30, scratch: 1 << 30, slots: 64 },
        labels: BTreeMap::from([("zone".into(), "a".into())]),
        version: "0.1.0".into(),
    }
}

pub(super) fn result() -> TaskResult {
    TaskResult {
        outcome: Outcome::Failed(Failure::Exit { code: 3 }),
        usage: USAGE,
        output: Some(Content::Inline(Bytes::from_static(b"out"))),
        log: Some(Content::Blob { digest: DIGEST, size: 5000 }),
    }
}

pub(super) fn encoded() -> EncodedSpec {
    EncodedSpec::from(Bytes::from_static(b"spec"))
}

pub(super) fn address() -> std::net::SocketAddr {
    "192.0.2.7:4433".parse().unwrap()
}

pub(super) fn member() -> GangMember {
    GangMember { tasks: TASKS.tasks, attempt: 2, node: NODE, address: Some(address()) }
}
