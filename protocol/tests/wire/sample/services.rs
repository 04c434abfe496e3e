//! What is said of services.

use wrun_protocol::service::{
    CanaryStep, HeaderMatch, HttpService, ProgramService, Readiness, Restart, RestartWhen, Reuse,
    Rollout, Route, Scale, ScaleOn, ServiceId, ServiceKind, ServiceName, ServiceSpec, Strategy,
};
use wrun_protocol::wire::forward::*;
use wrun_protocol::wire::service::*;
use wrun_protocol::wire::worker::ComponentKind;

use super::{Sample, Source};

impl Sample for ServiceName {
    fn sample(s: &mut Source<'_>) -> Self {
        ["a", "api-2", "thumbs"][usize::from(s.below(3))].parse().unwrap()
    }
}

structs! {
    ServiceSpec { kind, scale, rollout, restart }
    HttpService { routes, callers, concurrency, reuse, timeout_ms, idle_timeout_ms, max_body,
        max_waiting, wait_ms, retries, readiness }
    Reuse { requests, concurrent, idle_ms }
    Readiness { path, interval_ms, timeout_ms, failures, start_ms }
    ProgramService { ports, ready_after_ms }
    Scale { min, max, on, window_ms, panic_window_ms, down_delay_ms, idle_ms }
    Rollout { strategy, surge, unavailable, max_errors_milli, drain_ms, keep }
    CanaryStep { percent, wait_ms }
    HeaderMatch { name, value }
    Restart { when, backoff_ms, max_backoff_ms }
    Route { host, prefix }
    ServiceId { tenant, name }
    ServiceRef { tenant, name }
    Deployed { revision, job, changed }
    ServiceRow { id, kind, state, revision, wanted, ready, routes, deployed }
    ServiceDetail { row, scaling, revisions, replicas, rollout, load, events }
    Scaling { min, max, on, overridden }
    RevisionRow { revision, job, component, resources, deployed, percent, wanted, ready }
    ReplicaRow { revision, index, attempt, node, state, failures, outcome, not_before, why }
    RolloutRow { from, to, ready, step, next, paused }
    LoadRow { window_ms, requests, errors, concurrency_milli, waiting, p50_us, p99_us }
    ServiceEvent { at, what }
    Endpoints { id, http, revisions }
    RevisionEndpoints { revision, job, weight, header, concurrency, replicas }
    Endpoint { index, attempt, node }
    GatewayAddresses { http, https }
    GatewayRow { node, name, addresses }
    ServiceLoad { id, over_ms, waiting, revisions }
    ModelLoad { job, over_ms, busy_ms, requests, latency }
    RevisionLoad { revision, in_flight, busy_ms, requests, errors, latency }
    RequestHead { method, uri, fields, within_ms, has_body }
    ResponseHead { status, fields, has_body }
    Field { name, value }
}

enums! {
    Piece { Data { size }, End, Trailers(fields), Broken { why } }
    Answer { Response(head), Failed(failure) }
    CallFailure { NotHere, Busy, Draining, TimedOut { begun }, Request { problem },
        Setup { message }, Guest { message }, Stopped }
    ServiceKind { Http(http), Program(program) }
    ScaleOn { Concurrency { milli }, Rate { milli }, Latency { ms }, Waiting { requests },
        ModelQueue { milli }, ModelLatency { ms } }
    Strategy { Rolling, Canary { steps, header }, BlueGreen { header, keep_ms } }
    RestartWhen { Always, OnFailure, Never }
    RolloutAction { Pause, Resume, Undo { to } }
    ScaleTo { Replicas(count), Bounds { min, max }, Specified }
    ServiceState { Asleep, Starting, Ready, RollingOut, Paused, Failing, Stopping }
    ReplicaState { Pending, Starting, Ready, NotReady, Draining, BackingOff }
    ServiceHappened { Deployed { revision }, Scaled { from, to, why },
        ReplicaFailed { revision, index, outcome }, RolledOut { revision },
        RolledBack { from, to, why } }
    ScaledBy { User, Load, Request, Idle, Specification, Trial }
    RolledBackBy { User, NotReady, Errors }
    Readied { Ready, NotReady { why } }
    ComponentKind { Command, Handler, Http }
}
