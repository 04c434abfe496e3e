//! What long jobs leave for short ones.

use wrun_protocol::policy::{Backfill, BackfillMode, Policy};
use wrun_protocol::reservation::Reserved;
use wrun_protocol::scheduling::Request;
use wrun_protocol::{JobId, JobSpec};

use super::{fcfs, under, unit, window};

/// Half a minute is short; what takes longer leaves that part, in millionths.
fn with_headroom(headroom: u32) -> Policy {
    let mut policy = fcfs(BackfillMode::Easy);
    policy.backfill = Backfill { headroom, short_ms: 30_000, ..policy.backfill };
    policy
}

#[test]
fn long_jobs_leave_headroom_and_short_ones_use_it() {
    let mut cluster = under(with_headroom(250_000), &[8]);
    let long = cluster.unit(6, 100);
    let longer = cluster.unit(1, 31);
    let short = cluster.unit(2, 30);
    assert!(cluster.runs(long), "it and what it leaves are all there is");
    assert!(!cluster.runs(longer), "of three it has two");
    assert!(cluster.runs(short), "it may take the last");
    cluster.at(30).finish(short);
    assert!(!cluster.runs(longer));
    cluster.at(100).finish(long);
    assert!(cluster.runs(longer));
}

#[test]
fn what_could_never_leave_headroom_leaves_none() {
    let mut cluster = under(with_headroom(250_000), &[8]);
    let large = cluster.unit(7, 100);
    assert!(cluster.runs(large), "with two more it would be more than there is");
    let small = cluster.unit(1, 100);
    assert!(!cluster.runs(small));
}

#[test]
fn a_start_is_promised_for_when_headroom_is_left_and_takes_none_of_it() {
    let mut cluster = under(with_headroom(250_000), &[8]);
    let (first, second) = (cluster.unit(4, 50), cluster.unit(2, 100));
    let head = cluster.unit(5, 100);
    cluster.at(49);
    let short = cluster.unit(2, 30);
    assert!(cluster.runs(short), "the head has its seven not at 50 but at 100");
    cluster.at(50).finish(first);
    cluster.at(79).finish(short);
    assert!(!cluster.runs(head), "six are free");
    cluster.at(80);
    let late = cluster.unit(4, 25);
    assert!(!cluster.runs(late), "beside the head it would find three");
    let beside = cluster.unit(3, 30);
    assert!(cluster.runs(beside), "it holds five, not seven");
    cluster.at(100).finish(second);
    assert!(!cluster.runs(head), "five and three are there, but nothing would be left");
    cluster.at(110).finish(beside);
    assert!(cluster.runs(head));
}

#[test]
fn headroom_is_left_on_all_nodes_together() {
    let mut cluster = under(with_headroom(250_000), &[4, 4]);
    let gang = cluster.unit(6, 100);
    let long = cluster.unit(1, 100);
    let short = cluster.unit(2, 30);
    assert!(cluster.runs(gang) && cluster.runs(short) && !cluster.runs(long));
    let mut cluster = under(with_headroom(250_000), &[4, 4]);
    let tasks = cluster.queue(&JobSpec { count: 8, ..unit(1, 100) });
    let placed: u32 = cluster.places(tasks).iter().map(|(_, count)| count).sum();
    assert_eq!(placed, 6, "of tasks that need not start together, as many as leave it");
}

#[test]
fn headroom_that_comes_free_on_one_node_lets_a_job_start_on_another() {
    let mut cluster = under(with_headroom(200_000), &[4, 6]);
    let large = |seconds| {
        let mut large = unit(1, seconds);
        large.resources.memory = 40 << 30;
        large
    };
    cluster.queue(&large(30));
    let short = cluster.unit(1, 30);
    assert_eq!(cluster.places(short), [(2, 1)]);
    let filling: Vec<JobId> = (0..6).map(|_| cluster.unit(1, 100)).collect();
    assert!(filling.iter().all(|job| cluster.runs(*job)));
    let waiting = cluster.queue(&large(100));
    assert!(!cluster.runs(waiting), "each node has one left");
    cluster.at(10).finish(short);
    assert_eq!(cluster.places(waiting), [(1, 1)], "the other has not the memory");
}

#[test]
fn jobs_of_a_reservation_leave_no_headroom() {
    let mut cluster = under(with_headroom(500_000), &[2]);
    let each = Request { resources: unit(1, 50).resources, ..Request::default() };
    let amount = Reserved::Amount { each, count: 2, partition: None };
    cluster.reserve(window("demo", 100, 200, amount)).unwrap();
    let mut inside = unit(1, 50);
    inside.scheduling.reservation = Some("demo".to_owned());
    let both = [cluster.queue(&inside), cluster.queue(&inside)];
    cluster.at(100);
    assert!(both.iter().all(|job| cluster.runs(*job)));
}
