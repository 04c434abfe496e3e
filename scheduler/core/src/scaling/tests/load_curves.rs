//! Curves that were recorded: how fast wanted follows, and how seldom it turns.

use super::curves::{BURSTS, DECAY, DIURNAL, SAWTOOTH, SPIKE, STEADY};
use super::run::{Run, spec};

#[test]
fn noise_on_a_steady_load_changes_nothing_once_it_is_known() {
    let mut run = Run::new(&spec(1, 100), 3);
    run.seconds(120, 600);
    let before = run.wanted();
    run.changes.clear();
    run.curve(&STEADY);
    assert!((6..=7).contains(&before), "{before}");
    assert!(run.changes.len() <= 1, "{:?}", run.changes);
}

#[test]
fn days_and_nights_turn_it_once_each() {
    let mut run = Run::new(&spec(1, 100), 3);
    run.curve(&DIURNAL);
    let most = run.changes.iter().map(|(_, wanted, _)| *wanted).max();
    assert!(most.is_some_and(|most| (12..=16).contains(&most)), "{:?}", run.changes);
    // Up and down on two days: three turns.
    assert!(run.turns() <= 3, "{} in {:?}", run.turns(), run.changes);
}

#[test]
fn a_spike_of_twenty_times_is_met_within_the_panic_window_and_left_once() {
    let mut run = Run::new(&spec(1, 100), 3);
    run.curve(&SPIKE[..48]);
    assert_eq!(run.wanted(), 2, "{:?}", run.changes);
    run.changes.clear();
    run.curve(&SPIKE[48..108]);
    let after = |wanted: u32| {
        run.changes.iter().find(|(_, is, _)| *is >= wanted).map(|(at, ..)| at / 1000 - 240)
    };
    // In so many seconds since the load was twenty times what it was.
    assert!(after(4).is_some_and(|seconds| seconds <= 1), "{:?}", run.changes);
    assert!(after(10).is_some_and(|seconds| seconds <= 3), "{:?}", run.changes);
    assert!(after(19).is_some_and(|seconds| seconds <= 6), "{:?}", run.changes);
    run.curve(&SPIKE[108..]);
    assert_eq!(run.wanted(), 2, "{:?}", run.changes);
    assert_eq!(run.turns(), 1, "{:?}", run.changes);
}

#[test]
fn a_sawtooth_about_a_threshold_does_not_move_it_to_and_fro() {
    let mut run = Run::new(&spec(1, 100), 3);
    run.seconds(60, 570);
    run.curve(&SAWTOOTH);
    assert_eq!(run.turns(), 0, "{:?}", run.changes);
    assert!((6..=7).contains(&run.wanted()), "{:?}", run.changes);
}

#[test]
fn bursts_that_come_again_within_the_delay_keep_what_they_need() {
    let mut run = Run::new(&spec(0, 100), 3);
    run.curve(&BURSTS);
    // One burst may ask for one more than the others.
    assert!(run.turns() <= 1, "{:?}", run.changes);
    assert!(run.wanted() >= 8, "{:?}", run.changes);
}

#[test]
fn a_slow_decay_only_ever_goes_down_and_ends_at_none() {
    let mut run = Run::new(&spec(0, 100), 3);
    run.seconds(120, 1200);
    run.changes.clear();
    run.curve(&DECAY);
    let end = run.now.0 + 600_000;
    run.idle_until(wrun_protocol::Timestamp(end));
    assert_eq!(run.turns(), 0, "{:?}", run.changes);
    assert_eq!(run.wanted(), 0, "{:?}", run.changes);
    assert_eq!(run.next(), None);
}
