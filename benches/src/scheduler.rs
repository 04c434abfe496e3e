//! The scheduler alone: durable jobs over QUIC to nodes that answer at once.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use harness::{Client, Cluster, Settings, artefacts};
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::wire::user::{Request, Response, Submission};
use wrun_protocol::{Digest, JobSpec};

use crate::answering_node::{AnsweringNode, Manner, Member};
use crate::profile::{Meter, Profile};
use crate::report::{Report, Section};

pub(crate) const JOBS: u32 = 1_000_000;
/// Jobs in one request.
const BATCH: u32 = 2000;
/// Requests under way at once.
const IN_FLIGHT: u32 = 4;

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let mut section = Section::new("Scheduler alone, two nodes that answer at once");
    let (distinct, distinct_profile) = runtime.block_on(distinct_jobs())?;
    section.bar(
        "1,000,000 distinct jobs, submitted, placed, answered, durable",
        format!("{distinct:.0} a second"),
        "200,000 a second",
        distinct >= 200_000.0,
    );
    let (array, array_profile) = runtime.block_on(one_array(Manner::Singly))?;
    section.bar(
        "one array of 1,000,000 tasks, each reported by itself",
        format!("{array:.0} a second"),
        "500,000 a second",
        array >= 500_000.0,
    );
    let (ranges, _) = runtime.block_on(one_array(Manner::Ranges))?;
    section.row(
        "the same, reported in the ranges in which they came",
        format!("{ranges:.0} a second"),
    );
    section.note(
        "The client, both nodes and the server share two cores. Time is from the first submit to \
         the acknowledgement of the last result, which the server gives once it is durable. The \
         nodes report each task of the array by itself, every other index first, so that no two \
         reports join; a worker reports neighbours that succeed with nothing to tell as a range, \
         which is the row below.",
    );
    report.add(section);
    let mut section = Section::new("Where the scheduler's time goes");
    distinct_profile.rows("1,000,000 distinct jobs, CPU time of all processes", &mut section);
    array_profile.rows("array of 1,000,000, each reported by itself", &mut section);
    report.add(section);
    Ok(())
}

/// A cluster whose only nodes are of this process.
pub(crate) fn cluster() -> Cluster {
    Cluster::with(Settings { workers: 0, ..Settings::default() })
}

async fn nodes(cluster: &Cluster, manner: Manner) -> Result<Vec<AnsweringNode>> {
    let mut nodes = Vec::new();
    for name in ["a", "b"] {
        let member = Member::join(&cluster.stdout(&["token", "create"]), name).await?;
        nodes.push(member.connect(manner).await?);
    }
    Ok(nodes)
}

async fn distinct_jobs() -> Result<(f64, Profile)> {
    let cluster = cluster();
    let mut client = cluster.client().await;
    let component = client.upload(&std::fs::read(artefacts::guest("noop"))?).await;
    let nodes = nodes(&cluster, Manner::Ranges).await?;
    let meter = meter(&cluster);
    let begun = Instant::now();
    submit_distinct(&mut client, component, JOBS).await?;
    wait_for(nodes, u64::from(JOBS)).await?;
    Ok((f64::from(JOBS) / begun.elapsed().as_secs_f64(), meter.end()))
}

fn meter(cluster: &Cluster) -> Meter {
    Meter::start(&[("server", cluster.server.id()), ("client and nodes", std::process::id())])
}

async fn one_array(manner: Manner) -> Result<(f64, Profile)> {
    let cluster = cluster();
    let mut client = cluster.client().await;
    let mut spec = JobSpec::new(client.upload(&std::fs::read(artefacts::guest("noop"))?).await);
    spec.count = JOBS;
    let nodes = nodes(&cluster, manner).await?;
    let meter = meter(&cluster);
    let begun = Instant::now();
    client.submit(&spec).await;
    wait_for(nodes, u64::from(JOBS)).await?;
    Ok((f64::from(JOBS) / begun.elapsed().as_secs_f64(), meter.end()))
}

/// Waits until the nodes have had `tasks` successes acknowledged between them.
async fn wait_for(mut nodes: Vec<AnsweringNode>, tasks: u64) -> Result<()> {
    loop {
        let done: u64 = nodes.iter().map(|node| node.seen.borrow().acknowledged).sum();
        if done >= tasks {
            return Ok(());
        }
        let changes = nodes.iter_mut().map(|node| Box::pin(node.seen.changed()));
        let (changed, _, _) = futures_util::future::select_all(changes).await;
        changed.context("a node lost its session")?;
    }
}

/// Submits jobs that differ in their arguments, several requests under way at once.
pub(crate) async fn submit_distinct(
    client: &mut Client,
    component: Digest,
    jobs: u32,
) -> Result<()> {
    let mut spec = JobSpec::new(component);
    let mut under_way = std::collections::VecDeque::new();
    for batch in 0..jobs.div_ceil(BATCH) {
        let mut submissions = Vec::with_capacity(BATCH as usize);
        for number in batch * BATCH..((batch + 1) * BATCH).min(jobs) {
            spec.args = vec![number.to_string()];
            let id = client.submit_id();
            submissions.push(Submission { id, spec: EncodedSpec::encode(&spec)? });
        }
        let (mut send, receive) = client.connection().open().await?;
        send.send(&Request::Submit(submissions)).await?;
        send.finish()?;
        under_way.push_back(receive);
        if under_way.len() >= IN_FLIGHT as usize {
            accepted(under_way.pop_front().context("one is under way")?).await?;
        }
    }
    for receive in under_way {
        accepted(receive).await?;
    }
    Ok(())
}

async fn accepted(mut receive: wrun_net::RecvStream) -> Result<()> {
    match receive.recv().await?.context("no answer to a submit")? {
        Response::Submitted(answers) => {
            for answer in answers {
                answer?;
            }
            Ok(())
        }
        other => bail!("unexpected answer to a submit: {other:?}"),
    }
}
