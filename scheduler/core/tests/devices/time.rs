//! Placement in time of tasks with devices: schedules worked out by hand. Times are in
//! seconds and begin at 1.

use std::collections::BTreeMap;

use wrun_protocol::scheduling::{Offer, Request};
use wrun_protocol::{JobId, JobSpec, Resources};

use crate::env::{Env, GIB, cards, gpu_job, job, timed, with};

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
fn stream(env: &mut Env, end: u64, spec: &JobSpec) -> Vec<JobId> {
    let (mut running, mut started): (Vec<(u64, JobId)>, _) = (Vec::new(), Vec::new());
    for second in 2..end {
        let before = env.starts.len();
        env.at(second);
        let over: Vec<_> = running.extract_if(.., |(at, _)| *at + 20 == second).collect();
        over.into_iter().for_each(|(_, job)| env.finish(job));
        env.limited(spec.clone(), 20);
        let new: Vec<JobId> = env.starts[before..].iter().map(|(_, run, _)| run.job).collect();
        running.extend(new.iter().map(|job| (second, *job)));
        started.extend(new);
    }
    env.at(end);
    running.into_iter().for_each(|(_, job)| env.finish(job));
    started
}

#[test]
fn shares_of_a_card_never_starve_a_job_that_wants_the_whole_of_it() {
    let mut env = timed();
    env.node(1, 8, cards(1, "A100"));
    let first = env.limited(gpu_job(1, 500), 99);
    let head = env.limited(gpu_job(1, 1000), 10);
    let early = stream(&mut env, 100, &gpu_job(1, 500));
    // Each that starts ends by 100: at 2, 22, 42 and 62; at 82 it would end at 102.
    assert_eq!(early.len(), 4, "{early:?}");
    env.finish(first);
    assert!(env.runs(head), "as it was promised");
    assert_eq!(env.starts.last().unwrap().2, with(0, &[0]));
}

#[test]
fn a_card_that_is_free_now_is_kept_from_what_would_outlast_the_promised_start() {
    let mut env = timed();
    env.node(1, 8, cards(2, "A100"));
    let first = env.limited(gpu_job(1, 1000), 99);
    let head = env.limited(gpu_job(1, 2000), 10);
    let too_long = env.limited(gpu_job(1, 1000), 100);
    let fits = env.limited(gpu_job(1, 1000), 99);
    assert!(!env.runs(head) && !env.runs(too_long) && env.runs(fits));
    env.at(100).finish(fits);
    env.finish(first);
    assert!(env.runs(head) && !env.runs(too_long));
}

#[test]
fn a_promised_card_is_one_card_all_along_and_others_stay_free_for_the_rest() {
    let mut env = timed();
    env.node(1, 8, cards(2, "A100"));
    let a = env.limited(gpu_job(1, 600), 49);
    let b = env.limited(gpu_job(1, 700), 99);
    assert_eq!(env.starts.iter().map(|(_, _, grant)| grant.gpus[0]).collect::<Vec<_>>(), [0, 1]);
    let head = env.limited(gpu_job(1, 1000), 100);
    // The first card is promised from 50 to 150. A share of 300 finds room on the second
    // beside b; one of 400 would find it on the first alone, and not for long.
    let beside = env.limited(gpu_job(1, 300), 1000);
    assert_eq!(env.starts.last().unwrap().2, with(0, &[1]));
    let in_the_way = env.limited(gpu_job(1, 400), 50);
    assert!(env.runs(beside) && !env.runs(in_the_way));
    let in_time = env.limited(gpu_job(1, 400), 49);
    assert_eq!(env.starts.last().unwrap().1.job, in_time);
    env.at(50).finish(a);
    assert!(!env.runs(head), "the share has not ended");
    env.finish(in_time);
    assert!(env.runs(head) && env.runs(b));
}

#[test]
fn tasks_without_devices_heed_what_was_promised_to_one_with() {
    let mut env = timed();
    env.node(1, 4, cards(1, "A100"));
    let first = env.limited(of_memory(gpu_job(1, 1000), 1), 99);
    let head = env.limited(of_memory(gpu_job(1, 1000), 12), 10);
    let large = env.limited(of_memory(job(1), 5), 100);
    let small = env.limited(of_memory(job(1), 4), 1000);
    assert!(!env.runs(large), "of 16 GiB 12 are promised from 100 on");
    assert!(env.runs(small), "it leaves them");
    let short = env.limited(of_memory(job(1), 5), 99);
    assert!(env.runs(short));
    env.at(100).finish(short);
    env.finish(first);
    assert!(env.runs(head) && !env.runs(large));
}

#[test]
fn a_choice_of_requests_is_promised_the_one_that_can_be_served_first() {
    let mut env = timed();
    env.node(1, 4, cards(1, "A100"));
    let card = env.limited(gpu_job(1, 1000), 199);
    let memory = env.limited(of_memory(job(1), 10), 49);
    let mut head = gpu_job(1, 1000);
    let resources = Resources { memory: 12 * GIB, ..head.resources };
    head.scheduling.alternatives.push(Request { resources, ..Request::default() });
    let head = env.limited(head, 10);
    assert!(!env.runs(head));
    let in_the_way = env.limited(of_memory(job(1), 4), 50);
    assert!(!env.runs(in_the_way), "from 50 on 12 of the 15 GiB that are left are promised");
    let in_time = env.limited(of_memory(job(1), 4), 49);
    assert!(env.runs(in_time));
    env.at(50).finish(in_time);
    env.finish(memory);
    assert!(env.runs(head) && env.runs(card));
    assert!(env.starts.iter().any(|(_, run, grant)| run.job == head && *grant == with(1, &[])));
}

#[test]
fn what_nodes_declare_by_name_is_promised_like_cards() {
    let mut env = timed();
    let offer = Offer { named: BTreeMap::from([("fpga".to_owned(), 3)]), ..Offer::default() };
    env.node(1, 8, offer);
    let fpga = |amount| {
        let mut spec = job(1);
        spec.scheduling.devices.named.insert("fpga".to_owned(), amount);
        spec
    };
    let first = env.limited(fpga(2), 99);
    let head = env.limited(fpga(3), 10);
    let early = stream(&mut env, 100, &fpga(1));
    assert_eq!(early.len(), 4, "{early:?}");
    env.finish(first);
    assert!(env.runs(head));
}

#[test]
fn one_slot_of_a_pool_at_a_time_never_starves_a_job_that_wants_them_all() {
    let mut env = timed();
    env.pools(&[("licence", 3)]);
    env.node(1, 8, Offer::default());
    env.node(2, 8, Offer::default());
    let first = env.limited(pooled(2), 99);
    let head = env.limited(pooled(3), 10);
    let early = stream(&mut env, 100, &pooled(1));
    assert_eq!(early.len(), 4, "{early:?}");
    env.finish(first);
    assert!(env.runs(head), "slots came free for it on whatever node");
}

#[test]
fn what_has_no_devices_goes_to_a_node_where_nothing_is_promised() {
    let mut env = timed();
    env.node(1, 1, cards(1, "A100"));
    let first = env.limited(gpu_job(1, 1000), 99);
    let _head = env.limited(gpu_job(1, 1000), 1000);
    env.node(2, 1, cards(1, "T4"));
    assert_eq!(env.starts.last().unwrap().0, 2, "the head found a new node");
    let mut only = gpu_job(1, 1000);
    only.labels.insert("of".to_owned(), "nobody".to_owned());
    assert!(env.runs(first));
    assert!(env.refusal(&only).contains("of=nobody"));
}
