//! Cards: whole ones and shares, memory and models, and what is refused.

use wrun_protocol::scheduling::{GpuRequest, Offer, Request};
use wrun_protocol::wire::worker::Grant;

use super::granted;
use crate::cluster::{Cluster, GIB, cards, gpu, gpu_job, job, run, started};

#[test]
fn shares_of_a_card_go_together_so_that_whole_cards_stay_whole() {
    let mut cluster = Cluster::new();
    cluster.offering(1, 8, cards(2, "A100"));
    assert_eq!(
        started(&cluster.submit(&gpu_job(1, 300))),
        [(1, run(1, 1, 0, 1), granted(0, &[0]))]
    );
    assert_eq!(
        started(&cluster.submit(&gpu_job(1, 300))),
        [(1, run(2, 1, 0, 1), granted(0, &[0]))]
    );
    assert_eq!(
        started(&cluster.submit(&gpu_job(1, 1000))),
        [(1, run(3, 1, 0, 1), granted(0, &[1]))]
    );
    // 400 thousandths are left of the first card.
    assert_eq!(started(&cluster.submit(&gpu_job(1, 500))), []);
    assert_eq!(
        started(&cluster.succeed(1, run(1, 1, 0, 1))),
        [(1, run(4, 1, 0, 1), granted(0, &[0]))]
    );
}

#[test]
fn several_whole_cards_come_from_one_node() {
    let mut cluster = Cluster::new();
    cluster.offering(1, 8, cards(1, "A100"));
    cluster.offering(2, 8, cards(2, "A100"));
    assert_eq!(
        started(&cluster.submit(&gpu_job(1, 2000))),
        [(2, run(1, 1, 0, 1), granted(0, &[0, 1]))]
    );
    assert_eq!(started(&cluster.submit(&gpu_job(1, 2000))), []);
    assert_eq!(
        started(&cluster.succeed(2, run(1, 1, 0, 1))),
        [(2, run(2, 1, 0, 1), granted(0, &[0, 1]))]
    );
}

#[test]
fn an_array_takes_cards_one_by_one_and_no_card_twice() {
    let mut cluster = Cluster::new();
    cluster.offering(1, 8, cards(3, "A100"));
    let mut held: Vec<u16> = started(&cluster.submit(&gpu_job(5, 1000)))
        .into_iter()
        .flat_map(|(_, _, Grant { gpus, .. })| gpus)
        .collect();
    held.sort_unstable();
    assert_eq!(held, [0, 1, 2]);
    assert_eq!(started(&cluster.succeed(1, run(1, 1, 1, 1))).len(), 1);
}

#[test]
fn memory_of_a_card_is_shared_out_like_the_card() {
    let mut cluster = Cluster::new();
    cluster.offering(1, 8, cards(1, "A100"));
    let mut spec = gpu_job(3, 100);
    spec.scheduling.devices.gpu = Some(GpuRequest { memory: 7 * GIB, ..gpu(100) });
    assert_eq!(started(&cluster.submit(&spec)).len(), 2);
}

#[test]
fn a_model_that_is_asked_for_is_what_is_given() {
    let mut cluster = Cluster::new();
    cluster.offering(1, 8, cards(1, "T4"));
    cluster.offering(2, 8, cards(1, "A100"));
    let mut spec = gpu_job(2, 1000);
    spec.scheduling.devices.gpu = Some(GpuRequest { models: vec!["A100".to_owned()], ..gpu(1000) });
    assert_eq!(started(&cluster.submit(&spec)), [(2, run(1, 1, 0, 1), granted(0, &[0]))]);
}

#[test]
fn what_no_node_has_is_refused_by_name() {
    let mut cluster = Cluster::new();
    cluster.offering(1, 8, cards(2, "T4"));
    let mut spec = gpu_job(1, 3000);
    assert!(
        cluster.refused("ann", &spec).message.contains("3 GPU"),
        "{}",
        cluster.refused("ann", &spec).message
    );
    spec.scheduling.devices.gpu = Some(GpuRequest { models: vec!["A100".to_owned()], ..gpu(500) });
    assert!(cluster.refused("ann", &spec).message.contains("A100"));
    spec.scheduling.devices.gpu = Some(GpuRequest { memory: 17 * GIB, ..gpu(500) });
    assert!(cluster.refused("ann", &spec).message.contains("17 GiB"));
    let mut spec = job(1);
    spec.scheduling.devices.named.insert("fpga".to_owned(), 1);
    assert!(cluster.refused("ann", &spec).message.contains("`fpga`"));
}

#[test]
fn the_alternative_is_taken_where_the_first_request_finds_no_room() {
    let mut cluster = Cluster::new();
    cluster.offering(1, 8, cards(1, "A100"));
    let mut spec = gpu_job(3, 1000);
    let plain = job(1).resources;
    let four = Request {
        resources: wrun_protocol::Resources { cpu_milli: 1000, memory: 2 * GIB, ..plain },
        ..Request::default()
    };
    spec.scheduling.alternatives.push(four);
    assert_eq!(
        started(&cluster.submit(&spec)),
        [
            (1, run(1, 1, 0, 1), granted(0, &[0])),
            (1, run(1, 1, 1, 1), granted(1, &[])),
            (1, run(1, 1, 2, 1), granted(1, &[])),
        ]
    );
}

#[test]
fn an_alternative_alone_makes_a_job_possible() {
    let mut cluster = Cluster::new();
    cluster.node(1, 8);
    let mut spec = gpu_job(1, 1000);
    assert!(!cluster.refused("ann", &spec).message.is_empty());
    spec.scheduling.alternatives.push(Request { resources: spec.resources, ..Request::default() });
    assert_eq!(started(&cluster.submit(&spec)), [(1, run(1, 1, 0, 1), granted(1, &[]))]);
}

#[test]
fn a_task_without_cards_stays_away_from_nodes_with_cards_while_it_can() {
    let mut cluster = Cluster::new();
    cluster.offering(1, 8, cards(1, "A100"));
    cluster.node(2, 1);
    let starts = started(&cluster.submit(&job(3)));
    let nodes: Vec<u64> = starts.iter().map(|start| start.0).collect();
    assert_eq!(nodes, [1, 2]);
    assert_eq!(starts[1].1.tasks.first, 0);
}

#[test]
fn a_restarted_node_gives_its_cards_back_and_may_have_others() {
    let mut cluster = Cluster::new();
    cluster.offering(1, 8, cards(1, "A100"));
    assert_eq!(started(&cluster.submit(&gpu_job(1, 1000))).len(), 1);
    let info = cluster.core.node_info(wrun_protocol::NodeId(1)).unwrap().clone();
    let again = cluster.connect(1, info.clone(), cards(2, "A100"), 2);
    let starts = started(&again);
    assert_eq!(starts.len(), 1);
    assert_eq!(starts[0].1.attempt, 2);
    assert_eq!(started(&cluster.submit(&gpu_job(1, 1000))).len(), 1);
    // Without cards it serves none, though it had some before.
    cluster.connect(1, info, Offer::default(), 3);
    assert!(!cluster.refused("ann", &gpu_job(1, 500)).message.is_empty());
}
