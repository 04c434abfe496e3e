//! A service goes on from every fact at which the server may die, to what is wanted of it.

use wrun_core::{Core, Effect, Fact, Input};
use wrun_protocol::NodeId;
use wrun_protocol::task::Usage;
use wrun_protocol::wire::service::{Readied, ScaleTo};
use wrun_protocol::wire::worker::{Assignment, Report, ToWorker};

use super::stage::{changed, id, stage, web};
use crate::cluster::{Cluster, Machine, second};

/// Restarts with these facts; the nodes still have what they were told, and obey.
pub(super) fn go_on(journal: &[Fact]) -> Core {
    let mut core = Cluster::recovered(journal);
    let mut now = second(1000);
    core.start(now);
    let nodes: Vec<NodeId> = core.nodes().iter().map(|node| node.id).collect();
    let mut inputs = std::collections::VecDeque::new();
    let mut reports: std::collections::BTreeMap<NodeId, u64> = Default::default();
    for node in nodes {
        let attempts = held(&core, node);
        let ready: Vec<Report> = attempts.iter().flat_map(|run| readied(*run)).collect();
        let info = Machine::of(8).info(node.0);
        let offer = Default::default();
        inputs.push_back(Input::NodeConnected { node, info, offer, incarnation: 1, attempts });
        // What was not acknowledged is told again.
        let first = 1000;
        reports.insert(node, first + ready.len() as u64);
        inputs.push_back(Input::Reports { node, first, reports: ready });
    }
    for _ in 0..200 {
        now.0 += 1000;
        core.handle(now, inputs.pop_front().unwrap_or(Input::Timeout));
        let effects: Vec<Effect> = std::iter::from_fn(|| core.poll_effect()).collect();
        for effect in effects {
            let Effect::Send { node, message } = effect else { continue };
            let told = match message {
                ToWorker::Assign(runs) => runs.into_iter().flat_map(readied).collect(),
                ToWorker::Drain { attempt, .. } => {
                    vec![Report::Preempted { attempt, usage: Usage::default() }]
                }
                _ => continue,
            };
            // Beyond whatever was reported before.
            let first = reports.entry(node).or_insert(1000);
            inputs.push_back(Input::Reports { node, first: *first, reports: told.clone() });
            *first += told.len() as u64;
        }
        for node in core.nodes() {
            core.handle(now, Input::Heartbeat { node: node.id, beat: 1 });
        }
    }
    core
}

/// What the node tells when these replicas can have requests.
fn readied(run: Assignment) -> impl Iterator<Item = Report> {
    run.tasks.indices().map(move |index| Report::Readied {
        attempt: run.job.task(index).attempt(run.attempt),
        state: Readied::Ready,
    })
}

/// What the node has, as it would tell.
fn held(core: &Core, node: NodeId) -> Vec<Assignment> {
    let jobs = core.jobs(&wrun_core::JobsQuery { limit: 100, ..Default::default() });
    let mut held = Vec::new();
    for job in jobs {
        for task in core.tasks(job.id, 0, 1000, None) {
            if task.node == Some(node) {
                let tasks = wrun_protocol::IndexRange::one(task.index);
                held.push(Assignment { job: job.id, attempt: task.attempts, tasks });
            }
        }
    }
    held
}

#[test]
fn a_service_goes_on_from_every_fact_at_which_the_server_may_die() {
    let mut stage = stage(2, 8);
    stage.deploy(&web(2));
    stage.cluster.fail(1, 1, 0, 1);
    stage.at(2);
    stage.scale("web", ScaleTo::Replicas(4)).unwrap();
    stage.deploy(&changed(web(3), "2"));
    stage.cluster.drain(2, true);
    stage.obey();
    stage.scale("web", ScaleTo::Specified).unwrap();
    let journal = stage.cluster.journal.clone();
    let first = journal.iter().position(|fact| matches!(fact, Fact::ServiceDeployed { .. }));
    for cut in first.unwrap() + 1..=journal.len() {
        let core = go_on(&journal[..cut]);
        let row = core.service(&id("web")).unwrap().row;
        let last = &journal[cut - 1];
        assert_eq!(row.ready, row.wanted, "died after {last:?}: {:#?}", core.service(&id("web")));
        let endpoints = core.endpoints(&id("web")).unwrap();
        let revisions: Vec<u32> = endpoints.revisions.iter().map(|of| of.revision).collect();
        assert_eq!(revisions, [row.revision], "died after {last:?}");
        for revision in &endpoints.revisions {
            for at in &revision.replicas {
                let place = core.task_location(revision.attempt(at).task);
                let place = place.map(|(node, attempt, _)| (node, attempt));
                assert_eq!(place, Some((at.node, at.attempt)), "died after {last:?}");
            }
        }
    }
}

#[test]
fn a_restart_in_between_leaves_gateways_what_they_know() {
    let mut stage = stage(2, 8);
    stage.deploy(&web(3));
    let before = stage.cluster.core.all_endpoints();
    let mut core = Cluster::recovered(&stage.cluster.journal);
    core.start(second(10));
    assert_eq!(core.all_endpoints(), before, "though no node has come back yet");
}
