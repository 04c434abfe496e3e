//! How many decisions a second; run by hand:
//! `cargo test --release -p wrun-core --test throughput -- --ignored --nocapture`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test: it may stop at what it did not expect, and read clocks and files"
)]

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use wrun_core::{Config, Core, Effect, Input, RequestId};
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::node::NodeInfo;
use wrun_protocol::task::Usage;
use wrun_protocol::wire::worker::{ComponentKind, Report, ToWorker};
use wrun_protocol::{Digest, JobSpec, NodeId, Resources, SubmitId, Timestamp};

const NOW: Timestamp = Timestamp(1_000_000);

fn cluster(nodes: u64) -> Core {
    let mut core = Core::new(Config::default());
    for number in 1..=nodes {
        let hash = [0; 32];
        let (request, expires) = (RequestId(0), Timestamp(u64::MAX));
        core.handle(NOW, Input::CreateToken { request, hash, expires });
        let name = format!("node-{number}");
        core.handle(NOW, Input::Join { request, token_hash: hash, name: name.clone() });
        let capacity =
            Resources { cpu_milli: 8000, memory: 64 << 30, scratch: 64 << 30, slots: 100 };
        let info = NodeInfo { name, capacity, labels: BTreeMap::new(), version: String::new() };
        let node = NodeId(number);
        core.handle(NOW, Input::NodeConnected { node, info, incarnation: 1, attempts: vec![] });
    }
    while core.poll_effect().is_some() {}
    core
}

fn submit(core: &mut Core, number: u64, spec: &EncodedSpec) {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_le_bytes());
    let tenant = "ann".parse().unwrap();
    let (request, kind, spec) = (RequestId(number), ComponentKind::Command, spec.clone());
    core.handle(NOW, Input::Submit { request, tenant, id: SubmitId(id), kind, spec });
}

fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or("");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).unwrap_or(0)
}

#[test]
#[ignore = "a measurement, to be run by hand"]
fn distinct_jobs() {
    const JOBS: u64 = 1_000_000;
    let mut core = cluster(2);
    let spec = JobSpec::new(Digest([7; 32]));
    let encoded = EncodedSpec::encode(&spec).unwrap();
    let before = resident_kb();
    let start = Instant::now();
    for number in 0..JOBS {
        let bytes = encoded.as_bytes().to_vec();
        submit(&mut core, number, &EncodedSpec::from(bytes::Bytes::from(bytes)));
        if number % 4096 == 0 {
            // The first are placed and stay; the others queue.
            while core.poll_effect().is_some() {}
        }
    }
    while core.poll_effect().is_some() {}
    let submitted = start.elapsed();
    let grown = (resident_kb() - before) * 1024 / JOBS;
    println!("submit: {submitted:?}, {grown} bytes a job, spec {}", encoded.as_bytes().len());
    let start = Instant::now();
    let bytes = core.snapshot();
    println!("snapshot: {:?}, {} MB", start.elapsed(), bytes.len() >> 20);
    let start = Instant::now();
    let _ = Core::restore(Config::default(), &bytes).unwrap();
    println!("restore: {:?}", start.elapsed());
}

#[test]
#[ignore = "a measurement, to be run by hand"]
fn whole_lives() {
    let mut core = cluster(2);
    let encoded = EncodedSpec::encode(&JobSpec::new(Digest([7; 32]))).unwrap();
    let start = Instant::now();
    let mut done = 0;
    let mut numbers = BTreeMap::new();
    for batch in 0..250u64 {
        for number in 0..4096 {
            submit(&mut core, batch * 4096 + number, &encoded);
        }
        done += run(&mut core, &mut numbers).0;
    }
    let each = start.elapsed() / done as u32;
    println!("whole life of a distinct job: {each:?} ({done} jobs)");
    let mut core = cluster(2);
    let mut spec = JobSpec::new(Digest([7; 32]));
    spec.count = 10_000_000;
    let encoded = EncodedSpec::encode(&spec).unwrap();
    let start = Instant::now();
    submit(&mut core, 0, &encoded);
    let (done, effects) = run(&mut core, &mut BTreeMap::new());
    println!("array of {done}: {:?}, {effects} effects", start.elapsed());
}

/// Workers that answer at once, until nothing is left. Returns tasks and effects.
fn run(core: &mut Core, numbers: &mut BTreeMap<NodeId, u64>) -> (u64, u64) {
    let (mut done, mut effects) = (0, 0);
    let mut pending: VecDeque<(NodeId, Vec<Report>)> = VecDeque::new();
    loop {
        while let Some(effect) = core.poll_effect() {
            effects += 1;
            if let Effect::Send { node, message: ToWorker::Assign(runs) } = effect {
                done += runs.iter().map(|run| u64::from(run.tasks.count)).sum::<u64>();
                let usage = Usage::default();
                let reports = runs.into_iter().map(|tasks| Report::Succeeded { tasks, usage });
                pending.push_back((node, reports.collect()));
            }
        }
        let Some((node, reports)) = pending.pop_front() else { return (done, effects) };
        let next = numbers.entry(node).or_insert(1);
        let first = *next;
        *next += reports.len() as u64;
        core.handle(NOW, Input::Reports { node, first, reports });
    }
}

#[test]
#[ignore = "a measurement, to be run by hand"]
fn many_nodes_and_shapes() {
    let mut core = cluster(10_000);
    let specs: Vec<EncodedSpec> = (0..1000u32)
        .map(|shape| {
            let mut spec = JobSpec::new(Digest([7; 32]));
            spec.resources.memory = (64 << 20) + u64::from(shape) * 4096;
            spec.resources.cpu_milli = 100 + shape % 900;
            EncodedSpec::encode(&spec).unwrap()
        })
        .collect();
    for number in 0..500_000u64 {
        submit(&mut core, number, &specs[(number % 1000) as usize]);
    }
    let start = Instant::now();
    let (done, effects) = run(&mut core, &mut BTreeMap::new());
    println!("placed {done} in {:?}, {effects} effects", start.elapsed());
}
