//! A queue of a million: the memory it takes, and how soon a restarted server places again.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use harness::{Cluster, artefacts};
use wrun_protocol::JobSpec;

use crate::answering_node::{Manner, Member};
use crate::machine::resident;
use crate::report::{Report, Section};
use crate::scheduler::{JOBS, cluster, submit_distinct};

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let mut section = Section::new("A queue of 1,000,000");
    let (distinct, restart) = runtime.block_on(distinct_jobs())?;
    section.bar(
        "1,000,000 distinct jobs queued, growth of the server's memory",
        format!("{distinct:.0} MB"),
        "256 MB",
        distinct <= 256.0,
    );
    section.bar(
        "kill -9 with these queued: start of the new process to the first placement",
        format!("{:.2} s", restart.as_secs_f64()),
        "1 s",
        restart <= Duration::from_secs(1),
    );
    let array = runtime.block_on(one_array())?;
    section.bar(
        "array of 1,000,000 tasks queued, growth of the server's memory",
        format!("{array:.1} MB"),
        "16 MB",
        array <= 16.0,
    );
    report.add(section);
    Ok(())
}

/// Growth in megabytes, and the time to the first placement after a kill.
async fn distinct_jobs() -> Result<(f64, Duration)> {
    let mut cluster = cluster();
    let member = Member::join(&cluster.stdout(&["token", "create"]), "a").await?;
    let mut client = cluster.client().await;
    let component = client.upload(&std::fs::read(artefacts::guest("noop"))?).await;
    let before = resident(cluster.server.id());
    submit_distinct(&mut client, component, JOBS).await?;
    let growth = megabytes(before, &cluster);
    // A snapshot may be under way; the kill comes when the server is at rest.
    tokio::time::sleep(Duration::from_secs(5)).await;
    cluster.server.kill();
    let begun = Instant::now();
    let (node, ()) = tokio::join!(member.connect(Manner::Ranges), async {
        tokio::task::block_in_place(|| cluster.restart_server());
    });
    let mut node = node?;
    let first = node.seen.wait_for(|seen| seen.first.is_some()).await?.first;
    Ok((growth, first.context("it was seen")?.duration_since(begun)))
}

async fn one_array() -> Result<f64> {
    let cluster = cluster();
    let mut client = cluster.client().await;
    let mut spec = JobSpec::new(client.upload(&std::fs::read(artefacts::guest("noop"))?).await);
    client.submit(&spec).await;
    let before = resident(cluster.server.id());
    spec.count = JOBS;
    client.submit(&spec).await;
    Ok(megabytes(before, &cluster))
}

fn megabytes(before: u64, cluster: &Cluster) -> f64 {
    resident(cluster.server.id()).saturating_sub(before) as f64 / 1e6
}
