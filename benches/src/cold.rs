//! A component that no node has seen: upload, inspect, journal, download, compile, run.

use std::time::Instant;

use anyhow::Result;
use harness::{Cluster, artefacts};
use wrun_protocol::JobSpec;

use crate::report::{Report, Section};
use crate::statistics::median;

const ROUNDS: usize = 15;

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let cluster = Cluster::start();
    let component = std::fs::read(artefacts::guest("noop"))?;
    let runtime = tokio::runtime::Runtime::new()?;
    let mut times = runtime.block_on(async {
        let mut client = cluster.client().await;
        let mut times = Vec::with_capacity(ROUNDS);
        for round in 0..ROUNDS {
            let fresh = with_custom_section(&component, round);
            let begun = Instant::now();
            let spec = JobSpec::new(client.upload(&fresh).await);
            let job = client.submit(&spec).await;
            client.wait(job).await;
            times.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        times
    });
    let mut section = Section::new("Cold component");
    let median = median(&mut times);
    section.bar(
        &format!("{} kB, first submit to result, median of {ROUNDS}", component.len() / 1000),
        format!("{median:.0} ms"),
        "150 ms",
        median <= 150.0,
    );
    report.add(section);
    Ok(())
}

/// The same component under another digest: a custom section at its end changes nothing
/// else (WebAssembly core specification, 2.5.1 and 5.5.3).
fn with_custom_section(component: &[u8], number: usize) -> Vec<u8> {
    let mut fresh = component.to_vec();
    fresh.extend_from_slice(&[0, 3, 1, b'n', number as u8]);
    fresh
}
