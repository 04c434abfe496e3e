//! How fast the core places, alone: no network, no journal, one thread.
//!
//! `cargo bench -p wrun-core --bench placement [NODES SHAPES QUEUE]… [bursts=N] [together=N]`
//! prints one line for each three, or for the standard ones: tab-separated
//! `nodes shapes queue fill steady single`, the last three in decisions a second. With `bursts`
//! the steady states last so long, and not for a time: what simulates a processor is slow. With
//! `together` there is one of them alone, in which so many tasks end at a time.
//!
//! - fill: distinct jobs of one task wait, then every node connects.
//! - steady: the cluster is full; tasks end on 256 nodes at a time, and others are placed.
//!   As many jobs come as are placed, so that the queue stays as long as it is.
//! - single: the same, one end at a time.
//!
//! A decision is counted when its message to the worker has been polled, and all facts
//! and other messages with it. Making the inputs is not timed, nor are the submits. Time is
//! that of the one thread on a processor, as Linux tells it, so that a busy machine does
//! not spoil it; elsewhere it is the clock's. Memory comes from the allocator that `wrun` has.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a measurement: it stops at what it did not expect, and reads the clock"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use wrun_core::{Config, Core, Effect, Input, RequestId};
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::node::NodeInfo;
use wrun_protocol::scheduling::Offer;
use wrun_protocol::task::Usage;
use wrun_protocol::wire::worker::{Assignment, ComponentKind, Report, ToWorker};
use wrun_protocol::{Digest, JobSpec, NodeId, Resources, SubmitId, Timestamp};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Ends that come together.
const BURST: usize = 256;
/// How long each of the two steady states is measured, by the clock.
const STEADY: Duration = Duration::from_secs(2);
const MILLION: u64 = 1_000_000;
/// Nodes, shapes, and jobs in the queue.
const STANDARD: [(u64, u64, u64); 11] = [
    (1_000, 1, MILLION),
    (1_000, 100, MILLION),
    (1_000, 1_000, MILLION),
    (10_000, 1, MILLION),
    (10_000, 100, MILLION),
    (10_000, 1_000, MILLION),
    (100_000, 1, MILLION),
    (100_000, 100, MILLION),
    (100_000, 1_000, MILLION),
    (10_000, 1_000, 100_000),
    (10_000, 1_000, 10_000),
];

fn main() {
    let option = |name| std::env::args().find_map(|text| text.strip_prefix(name)?.parse().ok());
    let (bursts, together) = (option("bursts="), option("together="));
    let states = together.map_or(vec![BURST, 1], |together| vec![together as usize]);
    // Cargo adds `--bench`.
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let asked = numbers.chunks_exact(3).map(|three| (three[0], three[1], three[2]));
    let asked: Vec<(u64, u64, u64)> = asked.collect();
    for (nodes, shapes, queue) in if asked.is_empty() { STANDARD.to_vec() } else { asked } {
        let mut bench = Bench::new(nodes, shapes, queue);
        let fill = bench.fill();
        bench.refill();
        print!("{nodes}\t{shapes}\t{queue}\t{fill:.0}");
        for together in &states {
            print!("\t{:.0}", bench.steady(*together, bursts));
        }
        println!();
    }
}

/// A cluster and its workers.
struct Bench {
    core: Core,
    now: Timestamp,
    nodes: Vec<Worker>,
    shapes: u64,
    random: u64,
    assigned: Vec<(NodeId, Vec<Assignment>)>,
    /// Jobs submitted so far, and those that wait, now and always.
    submitted: u64,
    waiting: u64,
    queue: u64,
}

#[derive(Default)]
struct Worker {
    running: Vec<Assignment>,
    reported: u64,
}

impl Bench {
    /// A full queue and nodes that have joined.
    fn new(nodes: u64, shapes: u64, queue: u64) -> Self {
        // Nobody beats here.
        let lease = Duration::from_secs(24 * 3600);
        let config = Config { lease, max_tokens: usize::MAX, ..Config::default() };
        let mut bench = Self {
            core: Core::new(config),
            now: Timestamp(1_000_000),
            nodes: Vec::new(),
            shapes,
            random: 1,
            assigned: Vec::new(),
            submitted: 0,
            waiting: 0,
            queue,
        };
        bench.nodes.resize_with(nodes as usize + 1, Worker::default);
        bench.refill();
        for number in 1..=nodes {
            bench.join(number);
        }
        bench.poll();
        bench
    }

    /// As many jobs come as were placed.
    fn refill(&mut self) {
        while self.waiting < self.queue {
            for _ in self.waiting..self.queue {
                self.submit(self.submitted, shape(self.submitted % self.shapes, self.shapes));
                (self.submitted, self.waiting) = (self.submitted + 1, self.waiting + 1);
                self.poll();
            }
            self.take_assignments();
        }
    }

    fn submit(&mut self, number: u64, mut spec: JobSpec) {
        spec.args = vec![number.to_string()];
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_le_bytes());
        let (request, id) = (RequestId(number), SubmitId(id));
        let spec = EncodedSpec::encode(&spec).expect("a valid specification");
        let (tenant, kind) = ("ann".parse().expect("a name"), ComponentKind::Command);
        let ended = Vec::new();
        self.core.handle(self.now, Input::Submit { request, tenant, id, kind, spec, ended });
    }

    fn join(&mut self, number: u64) {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&number.to_le_bytes());
        let (request, expires) = (RequestId(number), self.now.after(Duration::from_secs(1)));
        self.core.handle(self.now, Input::CreateToken { request, hash, expires });
        let name = format!("node-{number}");
        self.core.handle(self.now, Input::Join { request, token_hash: hash, name });
    }

    #[inline(never)]
    fn fill(&mut self) -> f64 {
        for number in 1..self.nodes.len() as u64 {
            let (node, info, attempts) = (NodeId(number), node(number), Vec::new());
            let connected = Input::NodeConnected {
                node,
                info,
                offer: Offer::default(),
                incarnation: 1,
                attempts,
            };
            self.core.handle(self.now, connected);
        }
        let begun = Processor::now();
        self.poll();
        let took = begun.elapsed();
        self.take_assignments() as f64 / took.as_secs_f64()
    }

    /// Ends come `together`, each on a node drawn at random; so many of them in a
    /// millisecond.
    fn steady(&mut self, together: usize, bursts: Option<u64>) -> f64 {
        let (mut took, mut decisions, begun) = (Duration::ZERO, 0, Instant::now());
        for burst in 0.. {
            if bursts.map_or(begun.elapsed() >= STEADY, |bursts| burst >= bursts) {
                break;
            }
            let inputs: Vec<Input> = (0..BURST).filter_map(|_| self.one_ends()).collect();
            self.now = self.now.after(Duration::from_millis(1));
            let begun = Processor::now();
            self.take_in(inputs, together);
            took += begun.elapsed();
            decisions += self.take_assignments();
            self.refill();
        }
        decisions as f64 / took.as_secs_f64()
    }

    #[inline(never)]
    fn take_in(&mut self, inputs: Vec<Input>, together: usize) {
        let mut inputs = inputs.into_iter().peekable();
        while inputs.peek().is_some() {
            for input in inputs.by_ref().take(together) {
                self.core.handle(self.now, input);
            }
            self.poll();
        }
    }

    fn one_ends(&mut self) -> Option<Input> {
        let number = 1 + self.random(self.nodes.len() as u64 - 1);
        let running = self.nodes[number as usize].running.len() as u64;
        let at = self.random(running.max(1)) as usize;
        let worker = &mut self.nodes[number as usize];
        let tasks = (running > 0).then(|| worker.running.swap_remove(at))?;
        worker.reported += 1;
        let usage = Usage { wall_us: 60_000_000, ..Usage::default() };
        let reports = vec![Report::Succeeded { tasks, usage }];
        Some(Input::Reports { node: NodeId(number), first: worker.reported, reports })
    }

    /// What is timed besides [`Core::handle`].
    fn poll(&mut self) {
        while let Some(effect) = self.core.poll_effect() {
            if let Effect::Send { node, message: ToWorker::Assign(tasks) } = effect {
                self.assigned.push((node, tasks));
            }
        }
    }

    fn take_assignments(&mut self) -> usize {
        let mut decisions = 0;
        for (node, tasks) in self.assigned.drain(..) {
            decisions += tasks.len();
            self.nodes[node.0 as usize].running.extend(tasks);
        }
        self.waiting -= decisions as u64;
        decisions
    }

    /// SplitMix64.
    fn random(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.random ^ (self.random >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % below
    }
}

/// Time that this thread has had on a processor.
struct Processor {
    had: Option<Duration>,
    begun: Instant,
}

impl Processor {
    fn now() -> Self {
        // The kernel brings the figure up to date at its ticks, and when a thread yields.
        std::thread::yield_now();
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
        let had = text.and_then(|text| text.split(' ').next()?.parse().ok());
        Self { had: had.map(Duration::from_nanos), begun: Instant::now() }
    }

    fn elapsed(&self) -> Duration {
        match (self.had, Self::now().had) {
            (Some(before), Some(now)) => now.saturating_sub(before),
            _ => self.begun.elapsed(),
        }
    }
}

/// Eight kinds: four sizes, of two architectures.
fn node(number: u64) -> NodeInfo {
    let cores = 1 << (number % 4);
    let memory = u64::from(cores) * if number.is_multiple_of(3) { 8 << 30 } else { 4 << 30 };
    let arch = if number.is_multiple_of(5) { "arm" } else { "x86" };
    let labels = BTreeMap::from([("arch".to_owned(), arch.to_owned())]);
    let capacity = Resources { cpu_milli: cores * 1000, memory, scratch: 1 << 40, slots: 1000 };
    NodeInfo { name: format!("node-{number}"), capacity, labels, version: String::new() }
}

/// Up to one core in 16 steps, by memory of many sizes; one in eight wants an
/// architecture. A single shape is one core.
fn shape(number: u64, shapes: u64) -> JobSpec {
    let mut spec = JobSpec::new(Digest([7; 32]));
    if shapes > 1 {
        spec.resources.cpu_milli = 62 * (1 + number as u32 % 16);
        spec.resources.memory = (64 << 20) * (1 + number / 16);
        if number % 8 == 3 {
            spec.labels.insert("arch".to_owned(), "x86".to_owned());
        }
    }
    spec
}
