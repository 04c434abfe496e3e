//! The bounds of a service's specification, one by one.

use super::*;
use crate::job::{EncodedSpec, JobSpec};
use crate::limits::MAX_REPLICAS;
use crate::{Digest, Resources};

fn http() -> JobSpec {
    of(ServiceKind::Http(HttpService::default()))
}

fn program() -> JobSpec {
    of(ServiceKind::Program(ProgramService::default()))
}

fn of(kind: ServiceKind) -> JobSpec {
    let mut spec = JobSpec::new(Digest([1; 32]));
    spec.name = "api".to_owned();
    spec.count = MAX_REPLICAS;
    spec.service = Some(Box::new(ServiceSpec::new(kind)));
    let instances = spec.instances();
    let memory = u64::from(instances) * (32 << 20);
    spec.resources = Resources { memory, slots: instances, ..JobSpec::DEFAULT_RESOURCES };
    spec
}

fn refused(spec: &JobSpec) -> String {
    EncodedSpec::encode(spec).unwrap_err().to_string()
}

fn with(mut spec: JobSpec, change: impl FnOnce(&mut ServiceSpec)) -> JobSpec {
    change(spec.service.as_mut().unwrap());
    spec
}

fn with_http(change: impl FnOnce(&mut HttpService)) -> JobSpec {
    with(http(), |service| match &mut service.kind {
        ServiceKind::Http(http) => change(http),
        ServiceKind::Program(_) => unreachable!(),
    })
}

#[test]
fn a_service_reads_back_as_it_was_written() {
    for spec in [http(), program()] {
        let encoded = EncodedSpec::encode(&spec).unwrap();
        assert_eq!(encoded.decode().unwrap(), spec);
    }
}

#[test]
fn a_replica_takes_a_slot_and_memory_for_each_of_its_instances() {
    assert_eq!(http().instances(), 16);
    assert_eq!(http().memory_of_instance(), 32 << 20);
    let reuse = |concurrent| Some(Reuse { requests: 0, concurrent, idle_ms: 1000 });
    let shared = with_http(|http| http.reuse = reuse(5));
    assert_eq!(shared.instances(), 4, "the last of the four takes the sixteenth request");
    assert!(refused(&shared).starts_with("`resources`: it takes 4 slots"), "{}", refused(&shared));
    let mut small = http();
    small.resources.memory = 16 << 19;
    assert!(refused(&small).contains("at least 1 MiB for each instance"), "{}", refused(&small));
    let mut wide = http();
    wide.resources.cpu_milli = 16_000;
    assert!(EncodedSpec::encode(&wide).is_ok(), "each instance has a thread");
    wide.resources.cpu_milli = 16_001;
    assert!(refused(&wide).contains("at most 16 CPU"), "{}", refused(&wide));
}

#[test]
fn an_instance_has_memory_for_each_request_that_it_handles_at_once() {
    let reuse = |concurrent| Some(Reuse { requests: 0, concurrent, idle_ms: 1000 });
    let mut shared = with_http(|http| http.reuse = reuse(8));
    shared.resources = Resources { memory: 192 << 20, slots: 2, ..shared.resources };
    assert!(EncodedSpec::encode(&shared).is_ok(), "{:?}", EncodedSpec::encode(&shared));
    shared.resources.memory -= 1;
    assert_eq!(
        refused(&shared),
        "`memory`: an instance that handles 8 requests at once needs 96 MiB: a replica with 2 of \
         them 192 MiB; or let it handle fewer with `http.reuse.concurrent`"
    );
    let wide = with_http(|http| {
        http.concurrency = 100;
        http.reuse = reuse(65);
    });
    assert!(refused(&wide).contains("use 1 to 64"), "{}", refused(&wide));
}

#[test]
fn a_service_has_a_name_that_can_be_a_host() {
    let mut spec = http();
    spec.name = "My API".to_owned();
    assert_eq!(
        refused(&spec),
        "`name`: `My API` is not a service name: use 1 to 63 of a-z, 0-9 and `-`, beginning with \
         a letter"
    );
}

#[test]
fn what_makes_no_sense_for_work_that_stays_is_refused_with_what_does() {
    let mut gang = http();
    gang.scheduling.gang = true;
    let mut limited = http();
    limited.limits.wall_ms = Some(1000);
    let mut some = http();
    some.scheduling.max_running = Some(2);
    let mut few = http();
    few.count = 3;
    let cases = [(gang, "gang"), (limited, "time_limit"), (some, "max_running"), (few, "count")];
    for (spec, field) in cases {
        let error = refused(&spec);
        assert!(error.starts_with(&format!("`{field}`: cannot be set for a service")), "{error}");
    }
}

#[test]
fn every_number_of_a_service_has_its_bounds() {
    let cases: [(JobSpec, &str); 14] = [
        (with_http(|http| http.concurrency = 0), "http.concurrency"),
        (with_http(|http| http.timeout_ms = 0), "http.timeout"),
        (with_http(|http| http.retries = 6), "http.retries"),
        (with_http(|http| http.readiness.path = Some("x".to_owned())), "readiness.path"),
        (with_http(|http| http.readiness.failures = 0), "readiness.failures"),
        (with(http(), |service| service.scale.max = 0), "scale.max"),
        (with(http(), |service| service.scale.min = 2), "scale.min"),
        (with(http(), |service| service.scale.max = MAX_REPLICAS + 1), "scale.max"),
        (with(http(), |service| service.scale.panic_window_ms = 60_001), "scale.panic_window"),
        (
            with(http(), |service| service.scale.on = Some(ScaleOn::Rate { milli: 0 })),
            "scale.target",
        ),
        (with(http(), |service| service.rollout.surge = 0), "rollout.surge"),
        (with(http(), |service| service.rollout.max_errors_milli = 1001), "rollout.max_errors"),
        (with(http(), |service| service.rollout.keep = 0), "rollout.keep"),
        (with(http(), |service| service.restart.backoff_ms = 0), "restart.backoff"),
    ];
    for (spec, field) in cases {
        let error = refused(&spec);
        assert!(error.starts_with(&format!("`{field}`:")), "{field}: {error}");
    }
}

#[test]
fn what_is_scaled_on_models_names_some() {
    let mut service = *http().service.unwrap();
    assert_eq!(service.check_models(false), Ok(()));
    service.scale.on = Some(ScaleOn::ModelQueue { milli: 1000 });
    assert_eq!(service.check_models(false).unwrap_err().0, "scale.on");
    assert_eq!(service.check_models(true), Ok(()));
}

#[test]
fn a_program_is_neither_scaled_on_requests_nor_put_to_sleep_for_want_of_them() {
    let scaled = with(program(), |service| {
        service.scale.on = Some(ScaleOn::Concurrency { milli: 1000 });
    });
    assert!(refused(&scaled).starts_with("`scale.on`"), "{}", refused(&scaled));
    let asleep = with(program(), |service| service.scale.min = 0);
    assert!(refused(&asleep).starts_with("`scale.min`"), "{}", refused(&asleep));
    let canary = with(program(), |service| {
        service.rollout.strategy = Strategy::Canary { steps: Vec::new(), header: None };
    });
    assert!(refused(&canary).starts_with("`rollout.strategy`"), "{}", refused(&canary));
    let twice = with(program(), |service| {
        let ports = vec![80, 80];
        service.kind = ServiceKind::Program(ProgramService { ports, ready_after_ms: 0 });
    });
    assert!(refused(&twice).starts_with("`program.ports`"), "{}", refused(&twice));
}

#[test]
fn a_canary_has_steps_of_percents_and_a_header_that_can_be_one() {
    let canary = |percent, name: &str| {
        with(http(), |service| {
            let steps = vec![CanaryStep { percent, wait_ms: None }];
            let header = HeaderMatch { name: name.to_owned(), value: "1".to_owned() };
            service.rollout.strategy = Strategy::Canary { steps, header: Some(header) };
        })
    };
    assert!(EncodedSpec::encode(&canary(5, "x-canary")).is_ok());
    assert!(refused(&canary(101, "x-canary")).starts_with("`rollout.steps`"));
    assert!(refused(&canary(5, "X-Canary")).starts_with("`rollout.header`"));
}
