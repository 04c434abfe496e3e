//! Single cases: holding, merging, turns, deadlines, bounds.

use super::super::*;
use super::env::{Env, Given, MS, SETTINGS, of};

const TWO_PLACES: Settings = Settings { places: 2, ..SETTINGS };
const ALONE: Settings = Settings { max_batch: 1, ..SETTINGS };

#[test]
fn a_lone_request_to_an_idle_model_runs_at_once() {
    let mut env = Env::new(SETTINGS);
    env.push(of("a"));
    assert_eq!(env.run(), [1]);
    // Again and again, also right after its own answer.
    env.push(of("a"));
    assert_eq!(env.run(), [2]);
}

#[test]
fn while_others_run_requests_are_held_for_company_until_the_delay_is_over() {
    let mut env = Env::new(TWO_PLACES);
    env.push(of("a"));
    env.start().unwrap();
    env.push(of("b"));
    assert_eq!(env.start(), None);
    assert_eq!(env.timeout(), Some(2 * MS));
    env.pass(MS);
    env.push(of("c"));
    assert_eq!(env.start(), None);
    env.pass(MS);
    assert_eq!(env.start().unwrap().1, [2, 3]);
}

#[test]
fn a_full_run_is_not_held() {
    let mut env = Env::new(TWO_PLACES);
    env.push(of("a"));
    env.start().unwrap();
    env.push_all(4, &of("b"));
    assert_eq!(env.start().unwrap().1, [2, 3, 4, 5]);
}

#[test]
fn what_waited_for_a_place_runs_together_when_there_is_one() {
    let mut env = Env::new(SETTINGS);
    env.push(of("a"));
    let (run, _) = env.start().unwrap();
    env.push_all(6, &of("b"));
    env.pass(10 * MS);
    assert_eq!(env.start(), None, "there is one place only");
    env.end(run);
    assert_eq!(env.run(), [2, 3, 4, 5]);
}

#[test]
fn those_who_were_answered_together_are_waited_for_but_not_for_long() {
    let mut env = Env::new(SETTINGS);
    env.push(of("a"));
    let (run, _) = env.start().unwrap();
    env.push_all(3, &of("b"));
    env.end(run);
    assert_eq!(env.run(), [2, 3, 4]);
    env.push(of("b"));
    assert_eq!(env.start(), None, "two more may come");
    env.push_all(2, &of("b"));
    assert_eq!(env.run(), [5, 6, 7], "all have come");
    env.push(of("b"));
    env.pass(2 * MS);
    assert_eq!(env.run(), [8], "the others do not come");
    env.push(of("b"));
    assert_eq!(env.run(), [9], "it is alone now");
}

#[test]
fn who_has_little_time_is_not_held() {
    let mut env = Env::new(TWO_PLACES);
    env.push(of("a"));
    env.start().unwrap();
    env.push(Given { time: 3 * MS, ..of("b") });
    assert_eq!(env.timeout(), Some(MS));
    env.push(Given { time: MS, ..of("b") });
    assert_eq!(env.start().unwrap().1, [3, 2]);
}

#[test]
fn requests_of_other_shapes_are_not_merged() {
    let mut env = Env::new(SETTINGS);
    for key in [0, 1, 0, 1] {
        env.push(Given { key: Some(key), ..of("a") });
    }
    assert_eq!(env.run(), [1, 3]);
    env.pass(2 * MS);
    assert_eq!(env.run(), [2, 4]);
}

#[test]
fn requests_that_may_not_be_merged_run_alone_and_are_never_held() {
    let mut env = Env::new(TWO_PLACES);
    env.push_all(3, &Given { key: None, ..of("a") });
    assert_eq!(env.start().unwrap().1, [1]);
    assert_eq!(env.start().unwrap().1, [2]);
    assert_eq!(env.start(), None);
}

#[test]
fn rows_count_against_the_batch_and_a_larger_request_runs_alone() {
    let mut env = Env::new(SETTINGS);
    for rows in [3, 2, 1, 9] {
        env.push(Given { rows, ..of("a") });
    }
    assert_eq!(env.run(), [1], "the next one does not fit, and order is kept");
    assert_eq!(env.run(), [2, 3]);
    env.pass(2 * MS);
    assert_eq!(env.run(), [4]);
}

#[test]
fn tenants_share_by_weight_and_none_waits_behind_anothers_queue() {
    let mut env = Env::new(SETTINGS);
    env.push_all(400, &of("a"));
    env.push_all(400, &Given { weight: 3, ..of("b") });
    let first = env.runs(50);
    let of_b = first.iter().filter(|number| **number > 400).count();
    assert_eq!((first.len(), of_b), (200, 150));
}

#[test]
fn who_sends_what_is_costly_gets_fewer_of_it() {
    let mut env = Env::new(ALONE);
    env.push_all(100, &Given { cost: 900, key: Some(1), ..of("large") });
    env.push_all(100, &of("small"));
    let large = env.runs(50).iter().filter(|number| **number <= 100).count();
    assert_eq!(large, 5);
}

#[test]
fn a_newcomer_has_its_turn_soon_and_who_was_away_has_saved_nothing_up() {
    let mut env = Env::new(ALONE);
    env.push_all(500, &of("a"));
    env.runs(100);
    env.push_all(10, &of("b"));
    let of_b = env.runs(10).iter().filter(|number| **number > 500).count();
    assert_eq!(of_b, 5);
}

#[test]
fn of_one_tenant_the_nearest_deadline_goes_first() {
    let mut env = Env::new(ALONE);
    for time in [30, 10, 20] {
        env.push(Given { time: time * MS, ..of("a") });
    }
    assert_eq!(env.runs(3), [2, 3, 1]);
}

#[test]
fn what_is_over_its_deadline_is_told_so_and_never_run() {
    let mut env = Env::new(SETTINGS);
    let first = env.push(Given { time: 10 * MS, ..of("a") });
    let (run, _) = env.start().unwrap();
    let second = env.push(Given { time: 5 * MS, ..of("a") });
    assert_eq!(env.timeout(), Some(5 * MS));
    env.pass(5 * MS);
    assert_eq!(env.poll(), Some(Output::Expired { request: second, started: false }));
    assert_eq!(env.poll(), None);
    env.pass(5 * MS);
    assert_eq!(env.poll(), Some(Output::Expired { request: first, started: true }));
    assert_eq!(env.poll(), Some(Output::Abandoned { run }));
    assert_eq!(env.end(run), []);
    assert_eq!(env.run(), [] as [u64; 0]);
    assert_eq!((env.poll(), env.timeout()), (None, None));
}

#[test]
fn who_goes_away_leaves_the_queue_and_a_run_that_nobody_wants_is_told() {
    let mut env = Env::new(SETTINGS);
    let ids = env.push_all(4, &of("a"));
    env.queue.cancel(ids[1]);
    let (run, requests) = env.start().unwrap();
    assert_eq!(requests, [1, 3, 4]);
    env.queue.cancel(ids[0]);
    env.queue.cancel(ids[2]);
    assert_eq!(env.poll(), None, "one still wants it");
    env.queue.cancel(ids[3]);
    assert_eq!(env.poll(), Some(Output::Abandoned { run }));
    env.push(of("a"));
    assert_eq!(env.start(), None, "the run holds its place until it is over");
    env.end(run);
    env.pass(2 * MS);
    assert_eq!(env.run(), [5]);
}

#[test]
fn the_queue_and_each_tenants_part_of_it_are_bounded() {
    let mut env = Env::new(Settings { waiting: 5, waiting_per_tenant: 3, ..SETTINGS });
    let first = env.push_all(3, &of("a"))[0];
    assert_eq!(env.try_push(of("a")), Err(Refused::TenantFull));
    env.push_all(2, &of("b"));
    assert_eq!(env.try_push(of("c")), Err(Refused::Full));
    env.queue.cancel(first);
    env.push(of("c"));
    assert_eq!(env.queue.waiting(), 5);
}

#[test]
fn to_clear_it_answers_what_waits_and_what_runs() {
    let mut env = Env::new(SETTINGS);
    let ids = env.push_all(6, &of("a"));
    let (run, _) = env.start().unwrap();
    let mut cleared = env.queue.clear();
    cleared.sort();
    assert_eq!(cleared, ids);
    assert_eq!(env.end(run), []);
    assert_eq!((env.queue.waiting(), env.queue.running()), (0, 0));
}
