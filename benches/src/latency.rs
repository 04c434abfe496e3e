//! One task, warm, on an open connection: from submit to the result in hand. And what the
//! command line adds to it.

use std::time::Instant;

use anyhow::Result;
use harness::{Client, Cluster, artefacts};
use wrun_protocol::JobSpec;

use crate::report::{Report, Section};
use crate::statistics::percentile;

const ROUNDS: usize = 2000;
const CLI_ROUNDS: usize = 30;

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let cluster = Cluster::start();
    let runtime = tokio::runtime::Runtime::new()?;
    let mut section = Section::new("Latency of one task");
    for (label, name) in [("`wasi:cli/run`", "noop"), ("`wrun:task/handler`", "noop_handler")] {
        let mut times = runtime.block_on(submit_and_wait(&cluster, name));
        let (median, p99) = (percentile(&mut times, 0.5), percentile(&mut times, 0.99));
        let what = format!("{label}, warm, submit to result, median");
        section.bar(&what, format!("{median:.2} ms"), "2 ms", median <= 2.0);
        let what = format!("{label}, 99th percentile");
        section.bar(&what, format!("{p99:.2} ms"), "5 ms", p99 <= 5.0);
    }
    let mut starts = cli_starts(&cluster);
    let median = percentile(&mut starts, 0.5);
    section.bar(
        "the CLI's own start, handshake and one request (`wrun nodes`), median",
        format!("{median:.1} ms"),
        "30 ms",
        median <= 30.0,
    );
    report.add(section);
    Ok(())
}

async fn submit_and_wait(cluster: &Cluster, guest: &str) -> Vec<f64> {
    let mut client = cluster.client().await;
    let component = std::fs::read(artefacts::guest(guest)).unwrap_or_default();
    let spec = JobSpec::new(client.upload(&component).await);
    for _ in 0..200 {
        one(&mut client, &spec).await;
    }
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        one(&mut client, &spec).await;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    times
}

async fn one(client: &mut Client, spec: &JobSpec) {
    let job = client.submit(spec).await;
    client.wait(job).await;
}

fn cli_starts(cluster: &Cluster) -> Vec<f64> {
    let mut times = Vec::with_capacity(CLI_ROUNDS);
    for _ in 0..CLI_ROUNDS {
        let begun = Instant::now();
        cluster.stdout(&["nodes"]);
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    times
}
