//! Any message, drawn from bytes: proptest makes the bytes and shrinks them, shorter and
//! smaller bytes give simpler messages. Draws reach every variant and edge of the numbers.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use wrun_protocol::cron::Cron;
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
use wrun_protocol::wire::join::{JoinReply, JoinRequest};
use wrun_protocol::wire::peer::*;
use wrun_protocol::wire::policy::*;
use wrun_protocol::wire::schedule::*;
use wrun_protocol::wire::user::*;
use wrun_protocol::wire::worker::*;
use wrun_protocol::wire::workflow::{JobKind, StepDetail, WorkflowDetail};
use wrun_protocol::workflow::*;
use wrun_protocol::*;

/// Where draws come from; zeros once the bytes are used up.
pub(crate) struct Source<'a>(std::slice::Iter<'a, u8>);

impl<'a> Source<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes.iter())
    }

    pub(crate) fn draw<T: Sample>(&mut self) -> T {
        T::sample(self)
    }

    fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }

    fn below(&mut self, bound: u8) -> u8 {
        self.byte() % bound
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }
}

pub(crate) trait Sample {
    fn sample(source: &mut Source<'_>) -> Self;
}

/// Small numbers, the ends of the type, and anything.
macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Sample for $number {
            fn sample(s: &mut Source<'_>) -> Self {
                match s.below(4) {
                    0 => s.byte() as $number,
                    1 => <$number>::MAX,
                    2 => <$number>::MIN,
                    _ => <$number>::from_le_bytes(s.bytes()),
                }
            }
        }
    )*};
}

numbers!(u16, u32, u64, u128, i32, i64);

/// A struct whose fields are all drawn.
macro_rules! structs {
    ($($name:ident { $($field:ident),* })*) => {$(
        impl Sample for $name {
            fn sample(s: &mut Source<'_>) -> Self {
                Self { $($field: s.draw()),* }
            }
        }
    )*};
}

/// A struct around one value.
macro_rules! wrappers {
    ($($name:ident),*) => {$(
        impl Sample for $name {
            fn sample(s: &mut Source<'_>) -> Self {
                Self(s.draw())
            }
        }
    )*};
}

/// An enum with each variant as likely. A variant is written as in a pattern; a match
/// without a wildcard makes the compiler ask for a variant that was added and not listed.
macro_rules! enums {
    ($($name:ident { $($variant:ident $(($($one:ident),*))? $({$($field:ident),*})?),* })*) => {$(
        impl Sample for $name {
            #[allow(unused_assignments)]
            fn sample(s: &mut Source<'_>) -> Self {
                #[allow(dead_code, unused_variables)]
                fn every_variant_is_listed(value: &$name) {
                    match value {
                        $($name::$variant $(($($one),*))? $({$($field),*})? => {})*
                    }
                }
                let count = [$(stringify!($variant)),*].len() as u8;
                let mut chosen = s.below(count);
                $(
                    if chosen == 0 {
                        return Self::$variant $(($({ let $one = s.draw(); $one }),*))?
                            $({$($field: s.draw()),*})?;
                    }
                    chosen -= 1;
                )*
                unreachable!("chosen below the count")
            }
        }
    )*};
}

mod models;
mod services;

impl Sample for bool {
    fn sample(s: &mut Source<'_>) -> Self {
        s.below(2) == 1
    }
}

impl<const N: usize> Sample for [u8; N] {
    fn sample(s: &mut Source<'_>) -> Self {
        s.bytes()
    }
}

impl Sample for u8 {
    fn sample(s: &mut Source<'_>) -> Self {
        s.byte()
    }
}

impl Sample for std::net::SocketAddr {
    fn sample(s: &mut Source<'_>) -> Self {
        let port = s.draw();
        match s.draw() {
            true => (s.bytes::<4>(), port).into(),
            false => (s.bytes::<16>(), port).into(),
        }
    }
}

impl Sample for String {
    fn sample(s: &mut Source<'_>) -> Self {
        let alphabet = ['a', 'é', '\0', '中', '\n', '😀', '/', '=', 'Z', ' '];
        let length = s.below(12);
        (0..length).map(|_| alphabet[usize::from(s.byte()) % alphabet.len()]).collect()
    }
}

impl Sample for Bytes {
    fn sample(s: &mut Source<'_>) -> Self {
        Bytes::from(s.draw::<Vec<u8>>())
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(s: &mut Source<'_>) -> Self {
        let length = s.below(5);
        (0..length).map(|_| s.draw()).collect()
    }
}

impl<T: Sample> Sample for Option<T> {
    fn sample(s: &mut Source<'_>) -> Self {
        s.draw::<bool>().then(|| s.draw())
    }
}

impl<T: Sample> Sample for Box<T> {
    fn sample(s: &mut Source<'_>) -> Self {
        Box::new(s.draw())
    }
}

impl<A: Sample, B: Sample> Sample for (A, B) {
    fn sample(s: &mut Source<'_>) -> Self {
        (s.draw(), s.draw())
    }
}

impl<T: Sample, E: Sample> Sample for Result<T, E> {
    fn sample(s: &mut Source<'_>) -> Self {
        if s.draw() { Ok(s.draw()) } else { Err(s.draw()) }
    }
}

impl<K: Sample + Ord, V: Sample> Sample for BTreeMap<K, V> {
    fn sample(s: &mut Source<'_>) -> Self {
        s.draw::<Vec<(K, V)>>().into_iter().collect()
    }
}

impl<T: Sample + Ord> Sample for BTreeSet<T> {
    fn sample(s: &mut Source<'_>) -> Self {
        s.draw::<Vec<T>>().into_iter().collect()
    }
}

impl Sample for Wanted {
    fn sample(s: &mut Source<'_>) -> Self {
        Self { resources: s.draw(), devices: s.draw() }
    }
}

impl Sample for TenantName {
    fn sample(s: &mut Source<'_>) -> Self {
        let names = ["a", "lab-7", "t0", "z-----------z"];
        let name = names[usize::from(s.byte()) % names.len()];
        name.parse().expect("a tenant's name")
    }
}

impl Sample for Cron {
    fn sample(s: &mut Source<'_>) -> Self {
        let all = ["@daily", "0 3 * * *", "*/5 1-3,9 1,15 jan-jun mon", "@every 366d"];
        let text = all[usize::from(s.byte()) % all.len()];
        text.parse().expect("a cron expression")
    }
}

impl Sample for EncodedSpec {
    fn sample(s: &mut Source<'_>) -> Self {
        s.draw::<Bytes>().into()
    }
}

impl Sample for EncodedWorkflow {
    fn sample(s: &mut Source<'_>) -> Self {
        s.draw::<Bytes>().into()
    }
}

wrappers!(JobId, NodeId, SubmitId, Digest, Timestamp);

structs! {
    TaskId { job, index }
    AttemptId { task, attempt }
    IndexRange { first, count }
    Resources { cpu_milli, memory, scratch, slots }
    JobSpec { name, component, args, env, input, mounts, count, resources, limits, retry,
        priority, labels, network, on_disconnect, scheduling, service, inference }
    SpecV1 { name, component, args, env, input, mounts, count, resources, limits, retry,
        priority, labels, network, on_disconnect }
    Scheduling { partition, qos, nice, hold, begin, deadline, devices, alternatives,
        refused_labels, arrangement, gang, max_running, depends_on, preemptible, reservation,
        cache }
    Devices { gpu, named, pools }
    GpuRequest { milli, memory, models }
    Gpu { model, memory }
    Offer { gpus, named }
    Dependency { job, on }
    Preemptible { freeze, checkpoint, requeue }
    Grant { request, gpus }
    GangMember { tasks, attempt, node, address }
    Route { from, to }
    Policy { order, fill_order, age_bound_ms, weights, balance, max_age_ms, favour, half_life_ms, charge,
        backfill, preemption, partitions, qos, tenants, pools }
    Weights { age, fair_share, size, qos, partition, user }
    Charge { cpu, memory_gib, gpu }
    Balance { patience_ms, full_area_ms }
    Backfill { mode, promises, depth, headroom, short_ms, default_time_ms, predict }
    PreemptionPolicy { notice_ms, max_frozen_ms }
    Partition { name, nodes, labels, default, priority, preempts, tenants, max_time_ms, limits }
    Qos { name, priority, preempts, tenants, max_time_ms, tenant_limits, limits, exempt }
    TenantPolicy { name, parent, shares, default_qos, limits }
    Limits { queued, running, cpu_milli, memory, gpu_milli }
    Reservation { name, start, end, every_ms, what, tenants }
    Schedule { name, cron, overlap, missed, until, spec }
    ScheduleId { tenant, name }
    ScheduleFilter { all_tenants, after, limit }
    ScheduleRow { tenant, name, cron, overlap, missed, until, paused, next, live, last, left_out }
    ScheduledRun { due, job, state }
    LeftOut { due, why }
    PriorityDetail { total, factors }
    PriorityFactor { name, factor, weight, points }
    ShareRow { tenant, depth, shares, share, usage, usage_part, factor, cpu_milli_ms,
        memory_byte_ms, gpu_milli_ms }
    QueueRow { job, name, tenant, partition, qos, waiting, priority, reason, expected }
    Explanation { job, waiting, position, reasons, expected, advice }
    Why { explanation, unknown }
    ReservationRow { reservation, others }
    ReasonRow { code, text, nodes }
    Expectation { at, assumption }
    NodeDetail { summary, offer, gpu_used, named_used, partitions }
    Mount { path, digest, size }
    TaskLimits { wall_ms, cpu_ms, output_bytes, log_bytes, log_rate, handles }
    RetryPolicy { retries, backoff_ms, max_backoff_ms, on, requeues }
    HostGrant { host, port }
    NodeInfo { name, capacity, labels, version }
    Usage { wall_us, cpu_us, frozen_us, peak_memory }
    Submission { id, spec }
    JobFilter { all_tenants, state, before, limit }
    RequestError { code, message }
    TaskCounts { pending, running, succeeded, failed, cancelled }
    JobSummary { id, name, tenant, state, tasks, priority, submitted, started, ended }
    JobDetail { summary, spec, usage, pending_reason, failure }
    TaskDetail { index, state, attempts, node, node_name, started, ended, outcome, usage,
        progress }
    JobProgress { state, tasks, failure }
    LogChunk { stream, data }
    NodeSummary { id, info, state, used, tasks, last_seen }
    Assignment { job, attempt, tasks }
    TaskResult { outcome, usage, output, log }
    Workflow { name, steps, finally }
    Step { name, job, needs, when, only_if, for_each, input, mounts, timeout_ms, may_fail }
    Condition { step, equals, text }
    RememberedTasks { tasks, from }
    StepMount { step, path }
    WorkflowDetail { summary, rerun_of, steps }
    StepDetail { name, finally, needs, when, may_fail, state, job, tasks, started, ended, why }
}

enums! {
    Role { User, Admin }
    NodeState { Ready, Draining, Disconnected, Lost }
    Input { Empty, Content(content), Attached, Each(items) }
    RetryOn { Exit(code), Trap, Handler, Limit, Setup }
    OnDisconnect { Continue, Stop }
    VersionedSpec { V1(spec), V2(spec, scheduling), V3(spec, scheduling, service),
        V4(spec, scheduling, service, inference) }
    Arrangement { Spread, Pack, SameNode, DifferentNodes }
    DependsOn { Start, Success, Failure, End, EachSuccess }
    QueueOrder { Multifactor, Fcfs, ShortestFirst, SmallestAreaFirst, Balanced }
    Favour { Small, Large }
    BackfillMode { Off, Easy, Conservative }
    Reserved { All, Nodes(names), Amount { each, count, partition } }
    Overlap { Skip, Queue, Replace }
    Missed { Skip, Once, All }
    WhyLeftOut { Missed, Overlaps(job), Refused(error) }
    JobChange { Hold(hold), Priority(priority), Nice(points), TimeLimit(ms), Begin(at),
        Deadline(at), Partition(name), Qos(name), MaxRunning(most) }
    TaskSet { All, Ranges(ranges) }
    Content { Inline(bytes), Blob { digest, size } }
    Outcome { Succeeded, Failed(failure) }
    Failure { Exit { code }, Handler { message, retryable }, Trap { message },
        Limit { limit, allowed }, Setup { message }, Cancelled, NodeLost, Dependency { on } }
    Limit { Memory, WallTime, CpuTime, Output, Log, Scratch, Handles, Stack, LogRate, Fibers }
    Request { Hello, Submit(submissions), MissingBlobs(digests), PutBlob { digest, size },
        GetBlob(digest), Jobs(filter), Job(job), Tasks { job, from, limit, state }, Watch(job),
        Logs { job, index, follow }, Output { job, index }, Attach(job), Cancel(job), Nodes,
        Drain { node, drain }, RemoveNode(node), CreateToken { ttl_ms },
        CreateUser { tenant, role, csr, ttl_ms }, Policy, SetPolicy(policy),
        Change { job, change }, CancelTasks { job, tasks }, Requeue { job, tasks },
        Retry { job, tasks }, Priority(job), Shares, Queue { limit }, Explain(job),
        Reserve(reservation), Unreserve(name), Reservations, NodeDetails, AddSchedule(schedule),
        RemoveSchedule(id), PauseSchedule { schedule, pause }, Schedules(filter),
        SubmitWorkflow { id, workflow }, Workflow(job), Rerun { id, job, from },
        JobKinds(jobs), Remembered { job, from },
        Why(job), ReservationRows, Deploy { id, spec }, Services { all_tenants, after },
        Service(service), Scale { service, to }, Rollout { service, action }, Undeploy(service),
        Gateways, PushModel { name, tag, version }, Models(filter), Model(model),
        RemoveModel { model, force }, ShareModel { model, with },
        UnshareModel { model, with, force }, ResolveModels(models), NodeInference { after },
        NodeCards { after } }
    Stdin { Data(bytes), End }
    Response { Refused(error), Done, Hello { version, tenant, role }, Submitted(answers),
        Missing(digests), Blob { size }, Jobs(jobs), Job(job), Tasks(tasks), Progress(progress),
        Log(chunk), Output(content), Nodes(nodes), Token { secret, expires }, Certificate(der),
        Policy(policy), Priority(detail), Shares(rows), Queue(rows), Explanation(explanation),
        Reservations(reservations), NodeDetails(nodes), Schedules(rows),
        Workflow(detail), JobKinds(kinds), Remembered(tasks),
        Why(why), ReservationRows(rows), Deployed(deployed), Services(rows), Service(detail),
        Gateways(rows), ModelPushed(pushed), Models(rows), Model(detail),
        ModelWithdrawn { uses }, ResolvedModels(versions),
        NodeInference(nodes), NodeCards(nodes) }
    JobKind { Job, Workflow, Step(workflow), Revision(revision) }
    When { Success, Failure, End }
    ForEach { Lines(step), Json(step), Tasks(step) }
    StepState { Waiting, Preparing, Running, Succeeded, Failed, Skipped, Cancelled, Reused }
    StepReason { NoSuccess(step), NoFailure, Condition(step), NoItems(step), Unprepared(text),
        Refused(error), TimedOut(ms), Cancelled }
    VersionedWorkflow { V1(workflow) }
    ErrorCode { InvalidInput, NotFound, Denied, Unsatisfiable, Conflict, LimitReached,
        Unavailable, StorageFull, Internal }
    JobState { Pending, Running, Succeeded, Failed, Cancelled }
    TaskState { Pending, Assigned, Running, Succeeded, Failed, Cancelled, Frozen, Stopping }
    LogStream { Stdout, Stderr }
    ToWorker { Welcome { lease_ms, heartbeat_ms, now, stale }, Job { job, tenant, kind, spec },
        Assign(assignments), Resume { attempt, checkpoint }, Stop(assignments),
        Recall(assignments), Forget(job), Freeze { attempt, frozen }, Acknowledge { report },
        HeartbeatAck { beat }, AssignWith { tasks, grant }, Preempt { attempt, notice_ms },
        ResumeWith { attempt, checkpoint, grant }, Gang { job, attempt, members },
        Services { whole, services }, ServicesGone(services), Nodes(nodes),
        Drain { attempt, within_ms } }
    FromWorker { Hello { info, incarnation, attempts }, Reports { first, reports },
        Progress { attempt, permille, message }, Heartbeat { beat }, Draining, Goodbye,
        Offer(offer), Listens(address), Load(loads), Gateway(addresses),
        Models(models), ModelLoad(loads),
        Inference(inference), Cards(cards), AskMembers(job) }
    FromPeer { Open { job, attempt }, Begin(route), Message { route, size },
        Offer { route, size }, AtBarrier(route), Ended(route), Request { attempt } }
    ToPeer { Opened, Refused(refusal), Credit { route, bytes }, Wanted(route), Gone(route) }
    Refusal { Stale { current }, Unknown, NotAMember }
    Report { Started(tasks), Succeeded { tasks, usage }, Ended { attempt, result },
        Returned(tasks), Checkpoint { attempt, content }, Preempted { attempt, usage },
        Readied { attempt, state } }
    BlobRequest { Get { job, digest }, Put { job, digest, size }, Model { job, digest, held } }
    BlobReply { Found { size }, Stored, Refused(error) }
    LiveRequest { Follow(task), Attach(task), Model { owner, version } }
    LiveReply { Log(chunk), NotHere, Here, Model(model) }
    JoinRequest { Node { secret, csr, name } }
    JoinReply { Welcome { node, certificate, authority }, Refused(error) }
}
