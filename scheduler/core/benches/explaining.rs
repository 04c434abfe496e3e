//! How long the core's thread is kept by a question why a job waits: no network, one thread.
//!
//! `cargo bench -p wrun-core --bench explaining [NODES QUEUED]…` prints one line for each
//! pair, or for the standard ones: tab-separated `nodes queued near middle last queue`, the
//! milliseconds of one explanation of a job near the front, in the middle and at the end of
//! the queue, and of the first hundred rows of the queue; each the median of many.
//!
//! Every node is full, and every job that waits is of a group of its own, with a time limit
//! that no other has: the worst there is.

#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a measurement: it stops at what it did not expect, and reads the clock"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use wrun_core::{Config, Core, Input, RequestId};
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::node::NodeInfo;
use wrun_protocol::scheduling::Offer;
use wrun_protocol::wire::worker::ComponentKind;
use wrun_protocol::{Digest, JobId, JobSpec, NodeId, Resources, SubmitId, Timestamp};

const STANDARD: [(u64, u64); 9] = [
    (10, 10_000),
    (10, 100_000),
    (10, 1_000_000),
    (500, 10_000),
    (500, 100_000),
    (500, 1_000_000),
    (10_000, 10_000),
    (10_000, 100_000),
    (10_000, 1_000_000),
];
/// How often each is asked.
const MANY: usize = 51;
/// Tasks that a node holds at once.
const SLOTS: u32 = 8;

fn main() {
    // Cargo adds `--bench`.
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let asked = numbers.chunks_exact(2).filter_map(|pair| Some((*pair.first()?, *pair.get(1)?)));
    let asked: Vec<(u64, u64)> = asked.collect();
    for (nodes, queued) in if asked.is_empty() { STANDARD.to_vec() } else { asked } {
        let core = cluster(nodes, queued);
        let running = nodes * u64::from(SLOTS);
        let explain = |place: u64| median(|| assert!(core.why(JobId(running + place)).is_some()));
        let (near, middle, last) = (explain(10), explain(queued / 2), explain(queued));
        let queue = median(|| assert_eq!(core.queue(100).len(), 100));
        println!("{nodes}\t{queued}\t{near:.2}\t{middle:.2}\t{last:.2}\t{queue:.2}");
    }
}

/// Milliseconds of the one in the middle of many, the first of which counts too.
fn median(mut ask: impl FnMut()) -> f64 {
    let mut took: Vec<f64> = (0..MANY)
        .map(|_| {
            let begin = Instant::now();
            ask();
            begin.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    took.sort_by(f64::total_cmp);
    took.get(MANY / 2).copied().unwrap_or_default()
}

/// A full cluster, and so many jobs that wait.
fn cluster(nodes: u64, queued: u64) -> Core {
    let lease = Duration::from_secs(24 * 3600);
    let mut core = Core::new(Config { lease, max_tokens: usize::MAX, ..Config::default() });
    let now = Timestamp(1_000_000);
    for number in 1..=nodes {
        join(&mut core, now, number);
    }
    for number in 0..nodes * u64::from(SLOTS) + queued {
        let mut spec = JobSpec::new(Digest([7; 32]));
        spec.resources = Resources { cpu_milli: 1000, memory: 1 << 20, scratch: 0, slots: 1 };
        spec.limits.wall_ms = Some(60_000 + number);
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_le_bytes());
        core.handle(
            now,
            Input::Submit {
                request: RequestId(0),
                tenant: "ann".parse().expect("a name"),
                id: SubmitId(id),
                kind: ComponentKind::Command,
                spec: EncodedSpec::encode(&spec).expect("a specification"),
                ended: Vec::new(),
            },
        );
    }
    // All are placed, or not, together: what is measured is not how they came.
    while core.poll_effect().is_some() {}
    core
}

fn join(core: &mut Core, now: Timestamp, number: u64) {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&number.to_le_bytes());
    let (request, name) = (RequestId(0), format!("n-{number}"));
    core.handle(now, Input::CreateToken { request, hash, expires: Timestamp(u64::MAX) });
    core.handle(now, Input::Join { request, token_hash: hash, name: name.clone() });
    let capacity =
        Resources { cpu_milli: SLOTS * 1000, memory: 64 << 30, scratch: 0, slots: SLOTS };
    let info = NodeInfo { name, capacity, labels: BTreeMap::new(), version: String::new() };
    let (node, attempts, offer) = (NodeId(number), Vec::new(), Offer::default());
    core.handle(now, Input::NodeConnected { node, info, offer, incarnation: 1, attempts });
    while core.poll_effect().is_some() {}
}
