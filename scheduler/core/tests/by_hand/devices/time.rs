//! Placement in time of tasks with devices: schedules worked out by hand. Times are in
//! seconds and begin at 1.

use std::collections::BTreeMap;

use wrun_protocol::scheduling::{Offer, Request};
use wrun_protocol::{JobId, JobSpec, Resources};

use super::{granted, pools};
use crate::cluster::{Cluster, GIB, cards, gpu_job, job, within};

fn of_memory(mut spec: JobSpec, gib: u64) -> JobSpec {
    spec.resources.memory = gib * GIB;
    spec
}

fn pooled(slots: u32) -> JobSpec {
    let mut spec = job(1);
    spec.scheduling.devices.pools.insert("licence".to_owned(), slots);
    spec
}

/// From second 2 until before `end`, one such job a second; each ends after 20 seconds.
/// Returns those that started.
fn stream(cluster: &mut Cluster, end: u64, spec: &JobSpec) -> Vec<JobId> {
    let (mut running, mut started): (Vec<(u64, JobId)>, _) = (Vec::new(), Vec::new());
    for second in 2..end {
        let before = cluster.starts.len();
        cluster.at(second);
        let over: Vec<_> = running.extract_if(.., |(at, _)| *at + 20 == second).collect();
        over.into_iter().for_each(|(_, job)| cluster.finish(job));
        cluster.queue(&within(spec.clone(), 20));
        let new: Vec<JobId> =
            cluster.starts[before..].iter().map(|start| start.tasks.job).collect();
        running.extend(new.iter().map(|job| (second, *job)));
        started.extend(new);
    }
    cluster.at(end);
    running.into_iter().for_each(|(_, job)| cluster.finish(job));
    started
}

#[test]
fn shares_of_a_card_never_starve_a_job_that_wants_the_whole_of_it() {
    let mut cluster = Cluster::new();
    cluster.offering(1, 8, cards(1, "A100"));
    let first = cluster.queue(&within(gpu_job(1, 500), 99));
    let head = cluster.queue(&within(gpu_job(1, 1000), 10));
    let early = stream(&mut cluster, 100, &gpu_job(1, 500));
    // Each that starts ends by 100: at 2, 22, 42 and 62; at 82 it would end at 102.
    assert_eq!(early.len(), 4, "{early:?}");
    cluster.finish(first);
    assert!(cluster.runs(head), "as it was promised");
    assert_eq!(cluster.starts.last().unwrap().grant, granted(0, &[0]));
}

#[test]
fn a_card_that_is_free_now_is_kept_from_what_would_outlast_the_promised_start() {
    let mut cluster = Cluster::new();
    cluster.offering(1, 8, cards(2, "A100"));
    let first = cluster.queue(&within(gpu_job(1, 1000), 99));
    let head = cluster.queue(&within(gpu_job(1, 2000), 10));
    let too_long = cluster.queue(&within(gpu_job(1, 1000), 100));
    let fits = cluster.queue(&within(gpu_job(1, 1000), 99));
    assert!(!cluster.runs(head) && !cluster.runs(too_long) && cluster.runs(fits));
    cluster.at(100).finish(fits);
    cluster.finish(first);
    assert!(cluster.runs(head) && !cluster.runs(too_long));
}

#[test]
fn a_promised_card_is_one_card_all_along_and_others_stay_free_for_the_rest() {
    let mut cluster = Cluster::new();
    cluster.offering(1, 8, cards(2, "A100"));
    let a = cluster.queue(&within(gpu_job(1, 600), 49));
    let b = cluster.queue(&within(gpu_job(1, 700), 99));
    assert_eq!(cluster.starts.iter().map(|start| start.grant.gpus[0]).collect::<Vec<_>>(), [0, 1]);
    let head = cluster.queue(&within(gpu_job(1, 1000), 100));
    // The first card is promised from 50 to 150. A share of 300 finds room on the second
    // beside b; one of 400 would find it on the first alone, and not for long.
    let beside = cluster.queue(&within(gpu_job(1, 300), 1000));
    assert_eq!(cluster.starts.last().unwrap().grant, granted(0, &[1]));
    let in_the_way = cluster.queue(&within(gpu_job(1, 400), 50));
    assert!(cluster.runs(beside) && !cluster.runs(in_the_way));
    let in_time = cluster.queue(&within(gpu_job(1, 400), 49));
    assert_eq!(cluster.starts.last().unwrap().tasks.job, in_time);
    cluster.at(50).finish(a);
    assert!(!cluster.runs(head), "the share has not ended");
    cluster.finish(in_time);
    assert!(cluster.runs(head) && cluster.runs(b));
}

#[test]
fn tasks_without_devices_heed_what_was_promised_to_one_with() {
    let mut cluster = Cluster::new();
    cluster.offering(1, 4, cards(1, "A100"));
    let first = cluster.queue(&within(of_memory(gpu_job(1, 1000), 1), 99));
    let head = cluster.queue(&within(of_memory(gpu_job(1, 1000), 12), 10));
    let large = cluster.queue(&within(of_memory(job(1), 5), 100));
    let small = cluster.queue(&within(of_memory(job(1), 4), 1000));
    assert!(!cluster.runs(large), "of 16 GiB 12 are promised from 100 on");
    assert!(cluster.runs(small), "it leaves them");
    let short = cluster.queue(&within(of_memory(job(1), 5), 99));
    assert!(cluster.runs(short));
    cluster.at(100).finish(short);
    cluster.finish(first);
    assert!(cluster.runs(head) && !cluster.runs(large));
}

#[test]
fn a_choice_of_requests_is_promised_the_one_that_can_be_served_first() {
    let mut cluster = Cluster::new();
    cluster.offering(1, 4, cards(1, "A100"));
    let card = cluster.queue(&within(gpu_job(1, 1000), 199));
    let memory = cluster.queue(&within(of_memory(job(1), 10), 49));
    let mut head = gpu_job(1, 1000);
    let resources = Resources { memory: 12 * GIB, ..head.resources };
    head.scheduling.alternatives.push(Request { resources, ..Request::default() });
    let head = cluster.queue(&within(head, 10));
    assert!(!cluster.runs(head));
    let in_the_way = cluster.queue(&within(of_memory(job(1), 4), 50));
    assert!(!cluster.runs(in_the_way), "from 50 on 12 of the 15 GiB that are left are promised");
    let in_time = cluster.queue(&within(of_memory(job(1), 4), 49));
    assert!(cluster.runs(in_time));
    cluster.at(50).finish(in_time);
    cluster.finish(memory);
    assert!(cluster.runs(head) && cluster.runs(card));
    assert!(
        cluster
            .starts
            .iter()
            .any(|start| start.tasks.job == head && start.grant == granted(1, &[]))
    );
}

#[test]
fn what_nodes_declare_by_name_is_promised_like_cards() {
    let mut cluster = Cluster::new();
    let offer = Offer { named: BTreeMap::from([("fpga".to_owned(), 3)]), ..Offer::default() };
    cluster.offering(1, 8, offer);
    let fpga = |amount| {
        let mut spec = job(1);
        spec.scheduling.devices.named.insert("fpga".to_owned(), amount);
        spec
    };
    let first = cluster.queue(&within(fpga(2), 99));
    let head = cluster.queue(&within(fpga(3), 10));
    let early = stream(&mut cluster, 100, &fpga(1));
    assert_eq!(early.len(), 4, "{early:?}");
    cluster.finish(first);
    assert!(cluster.runs(head));
}

#[test]
fn one_slot_of_a_pool_at_a_time_never_starves_a_job_that_wants_them_all() {
    let mut cluster = Cluster::new();
    cluster.set_policy(pools(&[("licence", 3)])).unwrap();
    cluster.node(1, 8);
    cluster.node(2, 8);
    let first = cluster.queue(&within(pooled(2), 99));
    let head = cluster.queue(&within(pooled(3), 10));
    let early = stream(&mut cluster, 100, &pooled(1));
    assert_eq!(early.len(), 4, "{early:?}");
    cluster.finish(first);
    assert!(cluster.runs(head), "slots came free for it on whatever node");
}

#[test]
fn what_has_no_devices_goes_to_a_node_where_nothing_is_promised() {
    let mut cluster = Cluster::new();
    cluster.offering(1, 1, cards(1, "A100"));
    let first = cluster.queue(&within(gpu_job(1, 1000), 99));
    let _head = cluster.queue(&within(gpu_job(1, 1000), 1000));
    cluster.offering(2, 1, cards(1, "T4"));
    assert_eq!(cluster.starts.last().unwrap().node, 2, "the head found a new node");
    let mut only = gpu_job(1, 1000);
    only.labels.insert("of".to_owned(), "nobody".to_owned());
    assert!(cluster.runs(first));
    assert!(cluster.refused("ann", &only).message.contains("of=nobody"));
}
