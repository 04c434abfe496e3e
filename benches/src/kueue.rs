//! The load that Kueue publishes for its own scheduler (test/performance/scheduler, the
//! baseline): quotas shared in cohorts, three classes of jobs, in real time. Kueue admits
//! workloads that never run; here a node sleeps for each.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use harness::{Client, Cluster, artefacts};
use wrun_protocol::policy::{Limits, Policy, TenantPolicy};
use wrun_protocol::wire::user::{Request, Response};
use wrun_protocol::{Digest, JobSpec, TenantName};

use crate::answering_node::{Manner, Member};
use crate::report::{Report, Section};
use crate::scheduler;

const COHORTS: u32 = 5;
const QUEUES: u32 = 6;
/// One unit in thousandths of a CPU: a task of 20 units takes one.
const UNIT: u32 = 50;
/// Units that a queue has, and those that it may borrow.
const NOMINAL: u32 = 20;
const BORROWED: u32 = 100;

/// One class of jobs in each queue.
#[derive(Clone, Copy)]
struct Class {
    jobs: u32,
    units: u32,
    runs: Duration,
    priority: i32,
    every: Duration,
}

const CLASSES: [Class; 3] = [
    Class {
        jobs: 350,
        units: 1,
        runs: Duration::from_millis(200),
        priority: 50,
        every: Duration::from_millis(100),
    },
    Class {
        jobs: 100,
        units: 5,
        runs: Duration::from_millis(500),
        priority: 100,
        every: Duration::from_millis(500),
    },
    Class {
        jobs: 50,
        units: 20,
        runs: Duration::from_secs(1),
        priority: 200,
        every: Duration::from_millis(1200),
    },
];

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let seconds = runtime.block_on(run())?.as_secs_f64();
    let mut section = Section::new("Kueue's published load");
    let jobs: u32 = CLASSES.iter().map(|class| class.jobs).sum::<u32>() * COHORTS * QUEUES;
    section.bar(
        &format!("{jobs} jobs of {} queues in {COHORTS} cohorts, all done", COHORTS * QUEUES),
        format!("{seconds:.1} s"),
        "70 s",
        seconds <= 70.0,
    );
    section.row("arithmetic floor: the work of a cohort by its units", format!("{:.1} s", floor()));
    section.row("Kueue, as its maintainers publish it", "351 s");
    section.note(
        "In real time against the real server. A queue is a tenant, a cohort its parent; the \
         limits of the tree are the quotas. The one node sleeps for half the time limit of each \
         task and runs nothing. Alike with Kueue: the load, the quotas and the priorities. Not \
         alike: Kueue's figure includes the API server of Kubernetes that it is built on and was \
         measured on other machines; here each job is durable in the journal, placed and sent to \
         a node over QUIC.",
    );
    report.add(section);
    Ok(())
}

/// The least time that a cohort's units need for its work, in seconds.
fn floor() -> f64 {
    let work = |class: &Class| f64::from(class.jobs * class.units) * class.runs.as_secs_f64();
    CLASSES.iter().map(work).sum::<f64>() / f64::from(NOMINAL)
}

async fn run() -> Result<Duration> {
    let cluster = scheduler::cluster();
    let client = cluster.client().await;
    set_policy(&client).await?;
    let member = Member::join(&cluster.stdout(&["token", "create"]), "sleeper").await?;
    let cpu_milli = COHORTS * QUEUES * NOMINAL * UNIT;
    let mut node = member.connect(Manner::Asleep { cpu_milli }).await?;
    let mut queues = Vec::new();
    for cohort in 0..COHORTS {
        for queue in 0..QUEUES {
            let tenant = queue_name(cohort, queue)?;
            queues.push(user(&cluster, &tenant).await?);
        }
    }
    let begun = Instant::now();
    let mut submitting = tokio::task::JoinSet::new();
    for (client, component) in queues {
        submitting.spawn(submit(client, component, begun));
    }
    while let Some(submitted) = submitting.join_next().await {
        submitted??;
    }
    let jobs: u32 = CLASSES.iter().map(|class| class.jobs).sum::<u32>() * COHORTS * QUEUES;
    while node.seen.borrow().acknowledged < u64::from(jobs) {
        node.seen.changed().await.context("the node lost its session")?;
    }
    Ok(begun.elapsed())
}

fn queue_name(cohort: u32, queue: u32) -> Result<TenantName> {
    Ok(format!("queue-{cohort}-{queue}").parse()?)
}

async fn set_policy(client: &Client) -> Result<()> {
    let cpu = |units: u32| Limits { cpu_milli: Some((units * UNIT).into()), ..Limits::default() };
    let mut policy = Policy::default();
    for cohort in 0..COHORTS {
        let parent: TenantName = format!("cohort-{cohort}").parse()?;
        let of = |name, parent, limits| TenantPolicy {
            name,
            parent,
            shares: 1,
            default_qos: None,
            limits,
        };
        policy.tenants.push(of(parent.clone(), None, cpu(QUEUES * NOMINAL)));
        for queue in 0..QUEUES {
            let limits = cpu(NOMINAL + BORROWED);
            policy.tenants.push(of(queue_name(cohort, queue)?, Some(parent.clone()), limits));
        }
    }
    match client.ask(&Request::SetPolicy(Box::new(policy))).await {
        Ok(Response::Done) => Ok(()),
        other => anyhow::bail!("the policy was not set: {other:?}"),
    }
}

/// A client of the tenant, with the component at the server.
async fn user(cluster: &Cluster, tenant: &TenantName) -> Result<(Client, Digest)> {
    let file = cluster.folder().join(format!("{tenant}.toml"));
    let path = file.to_str().context("a path that is text")?;
    let name = tenant.to_string();
    cluster.stdout(&["user", "add", &name, "-o", path]);
    let client = Client::connect(&file).await;
    let component = client.upload(&std::fs::read(artefacts::guest("noop"))?).await;
    Ok((client, component))
}

/// Submits every job of a queue at its time.
async fn submit(mut client: Client, component: Digest, begun: Instant) -> Result<()> {
    let mut due: Vec<(Duration, usize)> = Vec::new();
    for (number, class) in CLASSES.iter().enumerate() {
        due.extend((0..class.jobs).map(|job| (class.every * job, number)));
    }
    due.sort_unstable();
    for (after, number) in due {
        let class = CLASSES.get(number).context("a class")?;
        tokio::time::sleep_until((begun + after).into()).await;
        let mut spec = JobSpec::new(component);
        spec.priority = class.priority;
        spec.resources.cpu_milli = class.units * UNIT;
        spec.limits.wall_ms = Some(2 * class.runs.as_millis() as u64);
        client.submit(&spec).await;
    }
    Ok(())
}
