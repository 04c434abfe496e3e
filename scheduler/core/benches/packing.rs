//! How much of a cluster's GPUs the core gets allocated, alone, and how fast.
//!
//! `cargo bench -p wrun-core --bench packing -- FOLDER` (or `WRUN_TRACES=FOLDER`) reads the
//! trace `openb` from the folder and prints a line for each of ten seeds, then their mean:
//! tab-separated `seed percent microseconds`, of all GPU capacity and for each decision.
//!
//! Pods arrive in random order, drawn with replacement, until what was asked for is 130 %
//! of the cluster's GPUs; none departs. A task takes one CPU at most, so that CPU is scaled
//! down here and counted exactly as a resource by name.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a measurement: it stops at what it did not expect, and reads files and the clock"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use wrun_core::{Config, Core, Effect, Fact, Input, RequestId};
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::node::NodeInfo;
use wrun_protocol::scheduling::{Gpu, GpuRequest, Offer};
use wrun_protocol::wire::worker::ComponentKind;
use wrun_protocol::{Digest, JobSpec, NodeId, Resources, SubmitId, Timestamp};

const MIB: u64 = 1 << 20;

/// A row of either table.
struct Row {
    cpu: u64,
    memory: u64,
    gpus: u64,
    gpu_milli: u64,
}

fn main() {
    let argument = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let Some(folder) = argument.or_else(|| std::env::var("WRUN_TRACES").ok()) else {
        eprintln!("say where the trace is: cargo bench -p wrun-core --bench packing -- FOLDER");
        return;
    };
    let nodes = rows(&format!("{folder}/openb_node_list_gpu_node.csv"), false);
    let pods = rows(&format!("{folder}/openb_pod_list_default.csv"), true);
    let mut sum = 0.0;
    for seed in 1..=10 {
        let (percent, microseconds) = fill(&nodes, &pods, seed);
        sum += percent;
        println!("{seed}\t{percent:.3}\t{microseconds:.1}");
    }
    println!("mean\t{:.3}", sum / 10.0);
}

fn rows(path: &str, pods: bool) -> Vec<Row> {
    let text = std::fs::read_to_string(path).expect("the trace");
    let number = |field: &str| field.parse::<u64>().expect("a whole number");
    let row = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let gpu_milli = if pods { number(fields[4]) } else { 1000 };
        let (cpu, memory, gpus) = (number(fields[1]), number(fields[2]), number(fields[3]));
        Row { cpu, memory, gpus, gpu_milli }
    };
    text.lines().skip(1).map(row).collect()
}

/// Percent of the GPUs allocated, and microseconds for each decision.
fn fill(nodes: &[Row], pods: &[Row], seed: u64) -> (f64, f64) {
    let mut core = Core::new(Config {
        lease: Duration::from_secs(1 << 30),
        max_tokens: usize::MAX,
        ..Config::default()
    });
    let now = Timestamp(1_000_000);
    let largest = pods.iter().map(|pod| pod.cpu).max().unwrap_or(1);
    let narrow = |cpu: u64| u32::try_from(cpu).unwrap_or(u32::MAX);
    let by_name = |cpu: u64| BTreeMap::from([("cpu".to_owned(), cpu.max(1))]);
    for (node, number) in nodes.iter().zip(1_u64..) {
        let (mut hash, name) = ([0; 32], format!("node-{number}"));
        hash[..8].copy_from_slice(&number.to_le_bytes());
        let (request, expires) = (RequestId(number), now.after(Duration::from_secs(1)));
        core.handle(now, Input::CreateToken { request, hash, expires });
        core.handle(now, Input::Join { request, token_hash: hash, name: name.clone() });
        // Never too little: what is exact is by name.
        let cpu_milli = narrow((node.cpu * 1000).div_ceil(largest));
        let memory = node.memory * MIB;
        let capacity = Resources { cpu_milli, memory, scratch: 1 << 50, slots: 10_000 };
        let (labels, version) = (BTreeMap::new(), String::new());
        let info = NodeInfo { name, capacity, labels, version };
        let card = Gpu { model: "any".to_owned(), memory: 0 };
        let offer = Offer { gpus: vec![card; node.gpus as usize], named: by_name(node.cpu) };
        let (node, attempts) = (NodeId(number), Vec::new());
        core.handle(now, Input::NodeConnected { node, info, offer, incarnation: 1, attempts });
        while core.poll_effect().is_some() {}
    }
    let all: u64 = nodes.iter().map(|node| node.gpus * 1000).sum();
    let (mut asked, mut allocated, mut jobs) = (0, 0, 0_u64);
    let mut random = seed;
    let mut took = Duration::ZERO;
    while asked < all * 13 / 10 {
        let pod = &pods[below(&mut random, pods.len())];
        let gpu = pod.gpus * pod.gpu_milli;
        asked += gpu;
        jobs += 1;
        let mut spec = JobSpec::new(Digest([7; 32]));
        let memory = (pod.memory * MIB).max(MIB);
        spec.resources = Resources {
            cpu_milli: narrow(pod.cpu * 1000 / largest).max(1),
            memory,
            scratch: 0,
            slots: 1,
        };
        spec.scheduling.devices.named = by_name(pod.cpu);
        let milli = u32::try_from(gpu).unwrap_or(u32::MAX);
        let request = GpuRequest { milli, memory: 0, models: Vec::new() };
        spec.scheduling.devices.gpu = (gpu > 0).then_some(request);
        let mut id = [0; 16];
        id[..8].copy_from_slice(&jobs.to_le_bytes());
        let spec = EncodedSpec::encode(&spec).expect("a valid specification");
        let (request, id) = (RequestId(jobs), SubmitId(id));
        let (tenant, kind) = ("ann".parse().expect("a name"), ComponentKind::Command);
        let ended = Vec::new();
        let begun = Instant::now();
        core.handle(now, Input::Submit { request, tenant, id, kind, spec, ended });
        while let Some(effect) = core.poll_effect() {
            if let Effect::Append(Fact::PlacedWith { tasks, .. }) = effect {
                allocated += gpu * tasks.len() as u64;
            }
        }
        took += begun.elapsed();
    }
    (allocated as f64 / all as f64 * 100.0, took.as_secs_f64() * 1e6 / jobs as f64)
}

/// SplitMix64.
fn below(random: &mut u64, bound: usize) -> usize {
    *random = random.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (*random ^ (*random >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((u128::from(z ^ (z >> 31)) * bound as u128) >> 64) as usize
}
