//! What is filled in, and what was promised to those before it.

use wrun_core::Fact;
use wrun_protocol::JobId;
use wrun_protocol::policy::BackfillMode;

use super::{fcfs, under};

#[test]
fn what_is_filled_in_ends_before_the_promised_start_or_leaves_room_for_it() {
    let mut cluster = under(fcfs(BackfillMode::Easy), &[4]);
    let first = cluster.unit(3, 100);
    let head = cluster.unit(3, 50);
    let too_long = cluster.unit(1, 101);
    let fits = cluster.unit(1, 100);
    assert!(cluster.runs(first) && !cluster.runs(head), "the head waits until 100");
    assert!(cluster.runs(too_long), "one CPU is left beside the head");
    assert!(!cluster.runs(fits), "all four are taken");
    cluster.at(10).finish(too_long);
    assert!(cluster.runs(fits), "beside the head there is one CPU again");
    cluster.at(100).finish(first);
    assert!(cluster.runs(head), "as it was promised");
}

#[test]
fn a_stream_of_small_jobs_never_delays_a_promised_one() {
    let mut cluster = under(fcfs(BackfillMode::Easy), &[2]);
    let first = cluster.unit(1, 100);
    let head = cluster.unit(2, 10);
    let mut small = Vec::new();
    for second in 1..100 {
        cluster.at(second);
        let next = cluster.unit(1, 30);
        small.push((second, next));
        let ended: Vec<_> =
            small.extract_if(.., |(at, job)| *at + 30 <= second && cluster.runs(*job)).collect();
        ended.into_iter().for_each(|(_, job)| cluster.finish(job));
    }
    let late: Vec<JobId> = small.into_iter().map(|(_, job)| job).collect();
    late.into_iter().for_each(|job| cluster.finish(job));
    cluster.at(100).finish(first);
    assert!(cluster.runs(head));
}

#[test]
fn without_backfill_whatever_fits_starts() {
    let mut cluster = under(fcfs(BackfillMode::Off), &[2]);
    let _first = cluster.unit(1, 100);
    let _head = cluster.unit(2, 10);
    let small = cluster.unit(1, 1000);
    assert!(cluster.runs(small));
}

#[test]
fn easy_may_delay_the_second_of_the_queue_and_conservative_does_not() {
    for (mode, filled) in [(BackfillMode::Easy, true), (BackfillMode::Conservative, false)] {
        let mut cluster = under(fcfs(mode), &[4]);
        let _first = cluster.unit(2, 100);
        let _head = cluster.unit(3, 10); // from 100 to 110
        let _second = cluster.unit(4, 10); // promised 110 where all are promised
        let _third = cluster.unit(1, 200);
        assert_eq!(cluster.runs(_third), filled, "{mode:?}");
    }
}

#[test]
fn a_gang_starts_as_a_whole_over_several_nodes() {
    let mut cluster = under(fcfs(BackfillMode::Easy), &[2, 2]);
    let one = cluster.unit(1, 100);
    let gang = cluster.unit(4, 10);
    assert!(!cluster.runs(gang), "three of four places are not enough");
    cluster.at(50).finish(one);
    assert_eq!(cluster.places(gang), [(1, 2), (2, 2)]);
    assert!(
        matches!(cluster.journal.last(), Some(Fact::GangPlaced { parts, .. }) if parts.len() == 2),
        "both parts are recorded at once"
    );
}
