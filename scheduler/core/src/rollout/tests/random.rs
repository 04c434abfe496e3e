//! Larger rollouts under anything that can happen, in any order: the model holds the bounds
//! at each step, and whatever came before, it ends.

use proptest::collection::vec;
use proptest::prelude::*;
use wrun_protocol::Timestamp;
use wrun_protocol::service::Rollout;
use wrun_protocol::wire::service::RolledBackBy;

use super::model::{Model, blue_green, canary, rolling};
use crate::rollout::{Progress, Turn};
use crate::scaling::Watched;

#[derive(Clone, Debug)]
enum Event {
    Readied { new: bool, count: u32 },
    Lost { new: bool, count: u32 },
    Wanted(u32),
    Waited(u64),
    Failed,
    Late,
    Answered(Watched),
    Paused(bool),
    Resumed,
    Undone,
    Deployed,
}

fn events() -> impl Strategy<Value = Event> {
    let answers = (0..40_u64, 0..5_u64);
    prop_oneof![
        8 => (any::<bool>(), 1..5_u32).prop_map(|(new, count)| Event::Readied { new, count }),
        3 => (any::<bool>(), 1..5_u32).prop_map(|(new, count)| Event::Lost { new, count }),
        2 => (0..30_u32).prop_map(Event::Wanted),
        3 => (1..90_000_u64).prop_map(Event::Waited),
        1 => Just(Event::Failed),
        1 => Just(Event::Late),
        1 => answers.prop_map(|(answers, errors)| {
            Event::Answered(Watched { answers, errors: errors.min(answers) })
        }),
        1 => any::<bool>().prop_map(Event::Paused),
        1 => Just(Event::Resumed),
        1 => Just(Event::Undone),
        1 => Just(Event::Deployed),
    ]
}

fn rollouts() -> impl Strategy<Value = Rollout> {
    let step = (1..=100_u8, prop_oneof![Just(None), (0..50_000_u64).prop_map(Some)]);
    let strategy = prop_oneof![
        Just(rolling(1, 0)),
        vec(step, 0..4).prop_map(|steps| canary(&steps)),
        (0..50_000_u64).prop_map(blue_green),
    ];
    (strategy, 0..6_u32, 0..6_u32, 0..100_u32).prop_map(|(rollout, surge, down, errors)| Rollout {
        surge: surge.max(u32::from(down == 0)),
        unavailable: down,
        max_errors_milli: errors.saturating_sub(50),
        ..rollout
    })
}

fn happen(model: &mut Model, event: &Event) {
    match event {
        Event::Readied { new, count } => {
            let side = if *new { &mut model.new } else { &mut model.olds[0] };
            side.ready = (side.ready + count).min(side.awake);
        }
        Event::Lost { new, count } => {
            let side = if *new { &mut model.new } else { &mut model.olds[0] };
            side.ready = side.ready.saturating_sub(*count);
        }
        Event::Wanted(count) => model.wanted = *count,
        Event::Waited(ms) => model.now = Timestamp(model.now.0 + ms),
        Event::Failed => model.failures += 1,
        Event::Late => model.late = true,
        Event::Answered(answers) => model.answers = *answers,
        Event::Paused(paused) => model.progress.paused = *paused,
        Event::Resumed => {
            let resumed = model.progress.resumed(&model.rollout, model.now);
            model.progress = resumed.unwrap_or(model.progress);
        }
        Event::Undone => model.go_back(),
        Event::Deployed => {
            // What was on its way is one more that is to go.
            model.olds.push(std::mem::take(&mut model.new));
            model.olds.truncate(5);
            model.progress = Progress::default();
            (model.late, model.failures, model.answers) = (false, 0, Watched::default());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_it_stays_within_its_bounds_and_ends(
        rollout in rollouts(),
        wanted in 0..30_u32,
        events in vec(events(), 0..60),
    ) {
        let mut model = Model::new(rollout, wanted);
        model.follow();
        for event in &events {
            if model.is_done() {
                break;
            }
            happen(&mut model, event);
            model.follow();
        }
        // From here on nothing fails any more, and users let it go on.
        for _ in 0..40 {
            if model.is_done() || model.end() {
                break;
            }
            let resumed = model.progress.resumed(&model.rollout, model.now);
            model.progress = resumed.unwrap_or(model.progress);
        }
        prop_assert!(model.is_done(), "it does not end: {:?}", model);
        prop_assert_eq!(model.awake(), (model.wanted, 0));
        let back = |turn: &&Turn| matches!(turn, Turn::Back(_));
        let backs: Vec<&Turn> = model.turns.iter().filter(back).collect();
        let undone = events.iter().any(|event| matches!(event, Event::Undone | Event::Deployed));
        prop_assert!(undone || backs.len() <= 1, "it was given up again: {:?}", model.turns);
        let by_user = |turn: &&Turn| **turn == Turn::Back(RolledBackBy::User);
        prop_assert!(!backs.iter().any(by_user));
    }
}
