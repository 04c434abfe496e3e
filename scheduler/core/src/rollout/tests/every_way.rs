//! Every way that a small rollout can take: replicas get ready and cease to be so in any
//! order. The bounds hold at each step, and from wherever it is it ends once they are ready.

use std::collections::BTreeSet;

use super::model::{Model, blue_green, canary, rolling};
use crate::rollout::{Progress, Side};
use wrun_protocol::service::Rollout;

fn key(model: &Model) -> (u32, u32, Vec<(u32, u32)>, u32, bool, bool) {
    let olds = model.olds.iter().map(|old| (old.awake, old.ready)).collect();
    let Progress { step, reached, back, .. } = model.progress;
    (model.new.awake, model.new.ready, olds, step, reached.is_some(), back)
}

/// Looks at all that can come of it; returns how many situations there are.
fn explore(first: &Model) -> usize {
    let mut seen = BTreeSet::new();
    let mut open = vec![first.clone()];
    while let Some(mut model) = open.pop() {
        model.follow();
        if model.is_done() || !seen.insert(key(&model)) {
            continue;
        }
        assert!(model.clone().end(), "it does not end: {model:?}");
        for place in 0..=model.olds.len() {
            for ready in [true, false] {
                let mut next = model.clone();
                let side = if place == 0 { &mut next.new } else { &mut next.olds[place - 1] };
                let changed = if ready && side.ready < side.awake {
                    side.ready += 1;
                    true
                } else if !ready && side.ready > 0 {
                    side.ready -= 1;
                    true
                } else {
                    false
                };
                open.extend(changed.then_some(next));
            }
        }
        // A stage is over.
        if let Some(at) = model.plan().goes_on {
            let mut later = model.clone();
            later.now = later.now.max(at);
            open.push(later);
        }
    }
    seen.len()
}

fn all_sizes(rollout: impl Fn(u32, u32) -> Rollout) -> usize {
    let mut situations = 0;
    for wanted in 0..=4 {
        for surge in 0..=3 {
            for unavailable in 0..=3_u32 {
                if surge + unavailable > 0 {
                    situations += explore(&Model::new(rollout(surge, unavailable), wanted));
                }
            }
        }
    }
    situations
}

#[test]
fn every_way_of_a_rolling_update_ends_within_its_bounds() {
    let situations = all_sizes(rolling);
    assert!(situations > 300, "{situations}");
}

#[test]
fn every_way_of_a_rolling_update_that_watches_for_errors_ends_within_its_bounds() {
    all_sizes(|surge, unavailable| {
        let max_errors_milli = 10;
        Rollout { max_errors_milli, ..rolling(surge, unavailable) }
    });
}

#[test]
fn every_way_of_a_canary_ends_within_its_bounds() {
    let situations = all_sizes(|surge, unavailable| {
        let steps = canary(&[(10, Some(1000)), (50, Some(1000)), (100, Some(1000))]);
        Rollout { surge, unavailable, ..steps }
    });
    assert!(situations > 1000, "{situations}");
}

#[test]
fn every_way_of_an_exchange_ends_within_its_bounds() {
    all_sizes(|surge, unavailable| Rollout { surge, unavailable, ..blue_green(1000) });
}

#[test]
fn every_way_of_a_deployment_amid_a_rollout_ends_within_its_bounds() {
    for (stable, on_its_way) in [(3, 1), (1, 3), (0, 3), (2, 2)] {
        for rollout in [rolling(1, 0), rolling(0, 1), canary(&[(30, Some(1000))]), blue_green(9)] {
            let mut model = Model::new(rollout, 3);
            let side = |count: u32| Side {
                awake: count,
                ready: count.saturating_sub(1),
                ..Side::default()
            };
            model.olds = vec![side(stable), side(on_its_way)];
            explore(&model);
        }
    }
}

#[test]
fn every_way_back_ends_within_its_bounds() {
    for wanted in 1..=4 {
        for moved in 0..=wanted {
            let mut model = Model::new(rolling(1, 0), wanted);
            model.new = Side { awake: moved, ready: moved, ..Side::default() };
            model.olds[0] =
                Side { awake: wanted - moved, ready: wanted - moved, ..Side::default() };
            model.go_back();
            explore(&model);
        }
    }
}
