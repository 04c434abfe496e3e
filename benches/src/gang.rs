//! Messages between two tasks of a gang: on one node, and on two over QUIC. The guest
//! measures and prints (tests/guests/gang-member).

use anyhow::{Context, Result, ensure};
use harness::{Cluster, Settings, artefacts};
use wrun_protocol::JobSpec;
use wrun_protocol::scheduling::Arrangement;
use wrun_protocol::wire::user::JobState;

use crate::report::{Report, Section};

/// Messages there and back, and messages of 100 bytes one way; a hundredth of these of 1 MiB.
const PINGS: &str = "5000";
const STREAM: &str = "50000";

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let cluster = Cluster::with(Settings { workers: 2, ..Settings::default() });
    let runtime = tokio::runtime::Runtime::new()?;
    let mut section = Section::new("Messages between tasks of a gang");
    let places = [("one node", Arrangement::SameNode), ("two nodes", Arrangement::DifferentNodes)];
    for (place, arrangement) in places {
        for args in [["ping", PINGS], ["stream", STREAM]] {
            for figure in runtime.block_on(printed(&cluster, arrangement, args))?.lines() {
                section.row(place, figure);
            }
        }
    }
    section.note(
        "Two programs in sandboxes of their own, sending and receiving through \
         `wrun:gang/exchange`; two workers, each a process, and the server share the two cores.",
    );
    report.add(section);
    Ok(())
}

async fn printed(cluster: &Cluster, arrangement: Arrangement, args: [&str; 2]) -> Result<String> {
    let mut client = cluster.client().await;
    let component = std::fs::read(artefacts::guest("gang-member"))?;
    let mut spec = JobSpec::new(client.upload(&component).await);
    spec.args = args.iter().map(|arg| (*arg).to_owned()).collect();
    spec.count = 2;
    spec.scheduling.gang = true;
    spec.scheduling.arrangement = arrangement;
    let job = client.submit(&spec).await;
    let end = client.wait(job).await;
    ensure!(end.state == JobState::Succeeded, "the gang did not succeed: {:?}", end.failure);
    let task = cluster.stdout(&["output", &job.to_string(), "--task", "0"]);
    Some(task).filter(|text| !text.is_empty()).context("the gang printed nothing")
}
