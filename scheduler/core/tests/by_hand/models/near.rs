//! Work goes first to nodes that have its models: loaded, then on disk; and not at the price of
//! what else it wants.

use wrun_core::{Input, RequestId};
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::scheduling::Arrangement;
use wrun_protocol::wire::model::Kept;
use wrun_protocol::wire::worker::ComponentKind;
use wrun_protocol::{Digest, JobSpec, NodeId};

use crate::cluster::{Cluster, Machine, cards, gpu_job, job, started, submit_id};
use crate::services::stage::web;

const ONE: Digest = Digest([1; 32]);
const TWO: Digest = Digest([2; 32]);

/// Three nodes, of which the first is the emptiest, and two models.
fn cluster() -> Cluster {
    let mut cluster = Cluster::new();
    for (node, cpus) in [(1, 8), (2, 6), (3, 4)] {
        cluster.node(node, cpus);
    }
    cluster.push("lab", "one", 1).unwrap();
    cluster.push("lab", "two", 2).unwrap();
    cluster
}

impl Cluster {
    fn keeps(&mut self, node: u64, digest: Digest, kept: Option<Kept>) {
        let (node, models) = (NodeId(node), vec![(digest, kept)]);
        self.handle(Input::ModelsKept { node, models });
    }

    /// Where the tasks of a new job start, and how many on each node.
    fn places_of(&mut self, spec: &JobSpec) -> Vec<(u64, u32)> {
        let started = started(&self.submit_as("lab", spec));
        started.into_iter().map(|(node, tasks, _)| (node, tasks.tasks.count)).collect()
    }

    fn places_with(&mut self, models: &[&str]) -> Vec<(u64, u32)> {
        let spec = self.job_with("lab", models).unwrap();
        self.places_of(&spec)
    }
}

#[test]
fn a_task_goes_where_its_model_is_loaded_then_where_it_is_on_disk_then_anywhere() {
    let mut cluster = cluster();
    assert_eq!(cluster.places_with(&["one"]), [(1, 1)], "nobody has it");
    cluster.keeps(3, ONE, Some(Kept::Stored));
    assert_eq!(cluster.places_with(&["one"]), [(3, 1)]);
    cluster.keeps(2, ONE, Some(Kept::Loaded));
    assert_eq!(cluster.places_with(&["one"]), [(2, 1)]);
    assert_eq!(cluster.places_with(&["two"]), [(1, 1)], "it is another model");
    assert_eq!(cluster.places_of(&job(1)), [(1, 1)], "a job without models does not care");
    cluster.keeps(2, ONE, None);
    assert_eq!(cluster.places_with(&["one"]), [(3, 1)]);
}

#[test]
fn of_several_models_all_must_be_there() {
    let mut cluster = cluster();
    cluster.keeps(2, ONE, Some(Kept::Loaded));
    cluster.keeps(2, TWO, Some(Kept::Stored));
    cluster.keeps(3, ONE, Some(Kept::Loaded));
    assert_eq!(cluster.places_with(&["one", "two"]), [(2, 1)]);
    cluster.keeps(3, TWO, Some(Kept::Loaded));
    assert_eq!(cluster.places_with(&["one", "two"]), [(3, 1)], "loaded goes before on disk");
}

#[test]
fn a_node_with_the_model_and_no_room_is_passed_over() {
    let mut cluster = cluster();
    cluster.keeps(3, ONE, Some(Kept::Loaded));
    for _ in 0..4 {
        assert_eq!(cluster.places_with(&["one"]), [(3, 1)]);
    }
    assert_eq!(cluster.places_with(&["one"]), [(1, 1)]);
    cluster.keeps(1, ONE, Some(Kept::Loaded));
    let kept = |cluster: &Cluster| cluster.core.nodes_with_model(ONE).1;
    cluster.disconnect(1);
    assert_eq!(kept(&cluster), 1, "what a node had that is not heard is not counted on");
    cluster.reconnect(3, Vec::new());
    assert_eq!(kept(&cluster), 0, "a new session begins with none");
}

#[test]
fn a_job_of_many_tasks_takes_those_nodes_first_and_is_spread_beyond_them() {
    let mut cluster = cluster();
    cluster.keeps(3, ONE, Some(Kept::Loaded));
    let spec = cluster.naming("lab", &["one"], job(2)).unwrap();
    assert_eq!(cluster.places_of(&spec), [(1, 1), (3, 1)]);
    let mut packed = spec.clone();
    packed.scheduling.arrangement = Arrangement::Pack;
    assert_eq!(cluster.places_of(&packed), [(3, 2)]);
    let spec = cluster.naming("lab", &["one"], job(14)).unwrap();
    let placed: u32 = cluster.places_of(&spec).iter().map(|(_, count)| count).sum();
    assert_eq!(placed, 14, "all that is free is used");
}

#[test]
fn two_replicas_of_a_service_do_not_meet_for_the_sake_of_a_model() {
    let mut cluster = cluster();
    cluster.keeps(3, ONE, Some(Kept::Loaded));
    let mut spec = cluster.naming("lab", &["one"], web(2)).unwrap();
    spec.resources.cpu_milli = 1000;
    let (request, tenant, id) = (RequestId(1), "lab".parse().unwrap(), submit_id(1));
    let (kind, spec) = (ComponentKind::Http, EncodedSpec::encode(&spec).unwrap());
    let starts = started(&cluster.handle(Input::Deploy { request, tenant, id, kind, spec }));
    let mut nodes: Vec<u64> = starts.iter().map(|(node, ..)| *node).collect();
    nodes.sort_unstable();
    assert_eq!(nodes, [1, 3], "one where the model is, the other elsewhere");
}

#[test]
fn of_two_jobs_that_are_alike_each_goes_to_its_own_model() {
    let mut cluster = cluster();
    cluster.keeps(2, ONE, Some(Kept::Loaded));
    cluster.keeps(3, TWO, Some(Kept::Loaded));
    let all = cluster.places_of(&job(18));
    assert_eq!(all.iter().map(|(_, count)| count).sum::<u32>(), 18);
    for model in ["one", "two"] {
        let spec = cluster.job_with("lab", &[model]).unwrap();
        assert_eq!(cluster.places_of(&spec), []);
    }
    // All ends at once, so that both jobs are placed in one round.
    let starts = cluster.cancel(1, crate::cluster::ranges(&[(0, 18)]));
    let mut places: Vec<_> =
        started(&starts).iter().map(|(node, of, _)| (of.job.0, *node)).collect();
    places.sort_unstable();
    assert_eq!(places, [(2, 2), (3, 3)]);
}

#[test]
fn a_task_with_a_card_goes_where_its_model_is() {
    let mut cluster = Cluster::new();
    for node in 1..=3 {
        cluster.join(node, Machine::of(4).offering(cards(2, "a100")));
    }
    cluster.push("lab", "one", 1).unwrap();
    let spec = cluster.naming("lab", &["one"], gpu_job(1, 500)).unwrap();
    cluster.keeps(2, ONE, Some(Kept::Stored));
    assert_eq!(cluster.places_of(&spec), [(2, 1)]);
    cluster.keeps(3, ONE, Some(Kept::Loaded));
    assert_eq!(cluster.places_of(&spec), [(3, 1)]);
    let spec = cluster.naming("lab", &["one"], gpu_job(1, 2000)).unwrap();
    assert_eq!(cluster.places_of(&spec), [(1, 1)], "where it fits");
}
