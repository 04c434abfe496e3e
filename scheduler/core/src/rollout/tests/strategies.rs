//! Each strategy, step by step.

use wrun_protocol::Timestamp;
use wrun_protocol::service::{Rollout, Strategy};
use wrun_protocol::wire::service::RolledBackBy;

use super::model::{Model, blue_green, canary, rolling};
use crate::rollout::{Side, Turn};
use crate::scaling::Watched;

#[test]
fn a_rolling_update_exchanges_as_many_at_a_time_as_may_be_too_many_or_too_few() {
    let mut model = Model::new(rolling(1, 0), 3);
    assert_eq!(model.follow().awake(), (1, 3));
    assert_eq!(model.all_ready().awake(), (2, 2));
    assert_eq!(model.all_ready().awake(), (3, 1));
    assert_eq!(model.all_ready().awake(), (3, 0));
    assert!(model.is_done());
    let mut model = Model::new(rolling(2, 1), 4);
    assert_eq!(model.follow().awake(), (3, 3));
    assert_eq!(model.all_ready().awake(), (4, 0));
    assert!(!model.is_done());
    assert!(model.all_ready().is_done());
}

#[test]
fn a_rolling_update_that_watches_for_errors_waits_for_answers_of_its_first_replicas() {
    let watching = Rollout { max_errors_milli: 50, ..rolling(1, 0) };
    let mut model = Model::new(watching.clone(), 3);
    assert_eq!(model.follow().all_ready().awake(), (1, 2));
    assert_eq!(model.wait(9999).awake(), (1, 2));
    model.answers = Watched { answers: 20, errors: 0 };
    assert_eq!(model.follow().awake(), (2, 2));
    assert!(model.end());
    // Without requests it goes on after a while.
    let mut model = Model::new(watching.clone(), 3);
    assert_eq!(model.follow().all_ready().wait(10_000).awake(), (2, 2));
    // With errors it goes back.
    let mut model = Model::new(watching, 3);
    model.follow().all_ready();
    model.answers = Watched { answers: 19, errors: 19 };
    assert_eq!(model.follow().awake(), (1, 2));
    model.answers = Watched { answers: 20, errors: 1 };
    model.follow();
    assert_eq!(model.turns, [Turn::Reached, Turn::Back(RolledBackBy::Errors)]);
    assert!(model.end());
    assert_eq!(model.awake(), (3, 0));
}

#[test]
fn a_canary_goes_step_by_step_as_time_or_a_user_lets_it() {
    let mut model = Model::new(canary(&[(10, Some(5000)), (50, None)]), 10);
    assert_eq!(model.follow().awake(), (1, 10));
    assert_eq!(model.plan().weights.header, None);
    assert_eq!(model.all_ready().awake(), (1, 9));
    let plan = model.plan();
    assert_eq!((plan.weights.new, &plan.weights.olds[..]), (9 * 10, &[9 * 90][..]));
    assert!(plan.weights.header.is_some());
    assert_eq!(plan.goes_on, Some(Timestamp(model.now.0 + 5000)));
    assert_eq!(model.progress.step(&model.rollout), Some((1, 2)));
    assert_eq!(model.wait(4999).awake(), (1, 9));
    assert_eq!(model.wait(1).awake(), (2, 9));
    (0..8).for_each(|_| _ = model.all_ready());
    assert_eq!(model.awake(), (5, 5));
    assert_eq!(model.plan().goes_on, None);
    assert_eq!(model.wait(1 << 40).awake(), (5, 5));
    model.progress = model.progress.resumed(&model.rollout, model.now).unwrap();
    model.follow();
    assert_eq!(model.progress.step(&model.rollout), None, "what is left is no step");
    assert!(model.end());
    assert_eq!(model.awake(), (10, 0));
}

#[test]
fn a_canary_of_a_small_service_leaves_the_others_somewhere_to_go() {
    for (wanted, percent) in [(1, 10), (1, 99), (2, 60)] {
        let mut model = Model::new(canary(&[(percent, None)]), wanted);
        model.follow();
        (0..4).for_each(|_| _ = model.all_ready());
        let (new, old) = model.awake();
        assert!(new > 0 && old == 1, "{wanted}, {percent}%: {new} and {old}");
        let weights = model.plan().weights;
        let all = weights.new + weights.olds[0];
        assert_eq!(weights.new * 100 / all, u32::from(percent));
        model.progress = model.progress.resumed(&model.rollout, model.now).unwrap();
        assert!(model.end());
        assert_eq!(model.awake(), (wanted, 0));
    }
    // Nothing is woken for it, and nothing is stuck where there is no room for both.
    let mut model = Model::new(canary(&[(10, None)]), 0);
    assert_eq!(model.follow().awake(), (0, 0));
    let no_surge = Rollout { surge: 0, unavailable: 1, ..canary(&[(10, None)]) };
    let mut model = Model::new(no_surge, 1);
    (0..4).for_each(|_| _ = model.follow().all_ready());
    assert_eq!(model.awake(), (1, 0));
}

#[test]
fn a_rollout_that_is_paused_goes_no_further_and_still_follows_the_load() {
    let mut model = Model::new(rolling(1, 0), 6);
    model.follow().all_ready();
    assert_eq!(model.awake(), (2, 5));
    model.progress.paused = true;
    assert_eq!(model.all_ready().awake(), (2, 5));
    assert_eq!(model.wait(1 << 40).awake(), (2, 5));
    model.wanted = 12;
    assert_eq!(model.follow().awake(), (2, 10));
    model.all_ready();
    model.wanted = 3;
    assert_eq!(model.follow().awake(), (2, 2));
    // What fails is given up even so.
    model.failures = 3;
    model.follow();
    assert_eq!(model.turns, [Turn::Back(RolledBackBy::NotReady)]);
    let mut model = Model::new(rolling(1, 0), 2);
    model.progress.paused = true;
    assert_eq!(model.follow().awake(), (0, 2));
    model.progress = model.progress.resumed(&model.rollout, model.now).unwrap();
    assert!(model.end());
    assert_eq!(model.progress.resumed(&model.rollout, model.now), None);
}

#[test]
fn an_exchange_is_at_once_and_can_be_taken_back_while_the_old_ones_are_kept() {
    let mut model = Model::new(blue_green(60_000), 3);
    assert_eq!(model.follow().awake(), (3, 3));
    model.new.ready = 2;
    assert_eq!(model.follow().plan().weights.new, 0);
    model.all_ready();
    assert_eq!((model.awake(), model.turns.as_slice()), ((3, 3), &[Turn::Reached][..]));
    assert_eq!(model.plan().weights.olds, [0]);
    assert_eq!(model.wait(59_999).awake(), (3, 3));
    let mut back = model.clone();
    back.go_back();
    assert!(back.follow().is_done());
    assert_eq!(back.awake(), (3, 0));
    assert_eq!(model.wait(1).awake(), (3, 0));
    assert!(model.is_done());
}

#[test]
fn an_exchange_that_is_paused_waits_for_a_user_before_it_switches() {
    let mut model = Model::new(blue_green(1), 2);
    model.follow();
    model.progress.paused = true;
    assert_eq!(model.all_ready().wait(1 << 40).plan().weights.new, 0);
    model.progress = model.progress.resumed(&model.rollout, model.now).unwrap();
    assert!(model.end());
}

#[test]
fn the_only_replica_stays_while_the_one_that_follows_it_is_watched_for_errors() {
    let watching = || Rollout { max_errors_milli: 100, ..rolling(1, 0) };
    let mut model = Model::new(watching(), 1);
    model.follow().all_ready();
    assert_eq!((model.awake(), model.ready()), ((1, 1), 2));
    assert_eq!(model.plan().weights.olds, [1], "both get requests");
    let mut bad = model.clone();
    bad.answers = Watched { answers: 20, errors: 2 };
    bad.follow();
    assert_eq!(bad.turns.last(), Some(&Turn::Done));
    assert_eq!((bad.awake(), bad.ready()), ((1, 0), 1), "there is nothing to wait for");
    assert_eq!(model.wait(9_999).awake(), (1, 1));
    assert_eq!(model.wait(1).awake(), (1, 0));
    assert!(model.is_done());
    // Without room for both, the old one goes.
    let mut model = Model::new(Rollout { max_errors_milli: 100, ..rolling(0, 1) }, 1);
    assert_eq!(model.follow().all_ready().awake(), (1, 0));
}

#[test]
fn a_revision_that_is_not_ready_in_its_time_is_given_up() {
    let mut model = Model::new(rolling(1, 0), 3);
    model.follow();
    // One that waits for room has not begun, and is not late.
    assert_eq!(model.plan().look, None);
    assert_eq!(model.wait(1_000_000).turns, []);
    model.late = true;
    model.follow();
    assert_eq!(model.turns, [Turn::Back(RolledBackBy::NotReady), Turn::Done]);
    assert_eq!((model.awake(), model.ready()), ((3, 0), 3));
    // Where another one is ready, it can be.
    let mut model = Model::new(rolling(1, 0), 3);
    model.follow().all_ready();
    model.new = Side { awake: 2, ready: 1, ..Side::default() };
    model.late = true;
    assert_eq!(model.follow().turns, []);
}

#[test]
fn a_replica_that_fails_again_and_again_is_the_end_of_its_revision() {
    for rollout in [rolling(1, 0), canary(&[(20, None)]), blue_green(1000)] {
        let mut model = Model::new(rollout, 5);
        model.follow().all_ready();
        model.failures = 2;
        let turns = model.turns.len();
        assert_eq!(model.follow().turns.len(), turns);
        model.failures = 3;
        model.follow();
        assert!(model.turns.contains(&Turn::Back(RolledBackBy::NotReady)));
        assert!(model.end());
        assert_eq!(model.awake(), (5, 0));
    }
}

#[test]
fn on_the_way_back_nothing_is_given_up_again() {
    let mut model = Model::new(rolling(1, 0), 3);
    model.progress.back = true;
    model.follow();
    model.failures = 99;
    model.answers = Watched { answers: 100, errors: 100 };
    model.late = true;
    model.follow();
    assert_eq!(model.turns, []);
    assert_eq!(model.plan().look, None);
}

#[test]
fn a_spike_amid_a_rollout_is_met_by_the_revision_that_is_in_place() {
    let mut model = Model::new(rolling(1, 0), 3);
    model.follow();
    model.wanted = 30;
    assert_eq!(model.follow().awake(), (1, 30));
    assert!(model.end());
}

#[test]
fn a_service_without_replicas_changes_its_revision_at_once() {
    for rollout in [rolling(1, 0), canary(&[(20, Some(0))]), blue_green(0)] {
        let mut model = Model::new(rollout, 0);
        assert!(model.follow().is_done(), "{model:?}");
        assert_eq!(model.awake(), (0, 0));
    }
}

#[test]
fn of_revisions_that_were_on_their_way_those_that_are_ready_stay_as_long_as_they_are_needed() {
    let mut model = Model::new(rolling(1, 0), 4);
    model.olds = vec![
        Side { awake: 2, ready: 2, ..Side::default() },
        Side { awake: 3, ready: 1, ..Side::default() },
    ];
    model.follow();
    // Three are ready; the one that is missing is the old one's, which is proven.
    let awake: Vec<u32> = model.olds.iter().map(|old| old.awake).collect();
    assert_eq!((model.new.awake, awake), (1, vec![3, 1]));
    assert!(model.end());
    assert!(matches!(model.rollout.strategy, Strategy::Rolling));
}
