//! What holds whatever is told.

use proptest::collection::vec;
use proptest::prelude::*;
use wrun_protocol::service::ScaleOn;
use wrun_protocol::wire::service::{RevisionLoad, ServiceLoad};
use wrun_protocol::{NodeId, Timestamp};

use super::run::{Run, report, spec};
use crate::scaling::{Autoscaler, Rules, Standing};

fn any_number() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(1),
        0..2000_u64,
        Just(u64::from(u32::MAX)),
        Just(u64::MAX),
        any::<u64>()
    ]
}

fn any_on() -> impl Strategy<Value = Option<ScaleOn>> {
    let target = prop_oneof![Just(0), Just(1), 1..100_000_u32, Just(u32::MAX)];
    (0..5_u8, target).prop_map(|(on, target)| match on {
        0 => None,
        1 => Some(ScaleOn::Concurrency { milli: target }),
        2 => Some(ScaleOn::Rate { milli: target }),
        3 => Some(ScaleOn::Latency { ms: target }),
        _ => Some(ScaleOn::Waiting { requests: target }),
    })
}

prop_compose! {
    fn any_rules()(
        bounds in (any::<u32>(), any::<u32>()),
        on in any_on(),
        fixed in prop_oneof![9 => Just(None), 1 => any::<u32>().prop_map(Some)],
        capacity in any::<u32>(),
        times in [any_number(), any_number(), any_number(), any_number()],
    ) -> Rules {
        let (min, max) = (bounds.0.min(bounds.1), bounds.0.max(bounds.1));
        let [window_ms, panic_window_ms, down_delay_ms, idle_ms] = times;
        Rules { min, max, on, fixed, capacity, window_ms, panic_window_ms, down_delay_ms, idle_ms }
    }
}

prop_compose! {
    fn any_load()(
        over_ms in any_number(),
        waiting in any::<u32>(),
        revisions in vec((any::<u32>(), [any_number(), any_number(), any_number()], vec(any_number(), 0..70)), 0..3),
    ) -> ServiceLoad {
        let revisions = revisions.into_iter().map(|(in_flight, numbers, latency)| {
            let [busy_ms, requests, errors] = numbers;
            RevisionLoad { revision: in_flight % 3, in_flight, busy_ms, requests, errors, latency }
        });
        ServiceLoad { over_ms, waiting, revisions: revisions.collect(), ..report(0, 0, 0) }
    }
}

/// What one gateway tells in a second: requests at once, in tenths, and waiting ones.
type Told = (u32, u32);

/// Both end with as much wanted as their loads ask for.
fn wanted(on: ScaleOn, told: &[Told], ready: u32, gateways: u64) -> u32 {
    let mut spec = spec(0, 1000);
    spec.scale.on = Some(on);
    spec.scale.down_delay_ms = 10_000;
    let mut scaler = Autoscaler::new(Rules::new(&spec, None), Timestamp(0));
    let mut wanted = 0;
    for (at, (tenths, waiting)) in (1_u64..).zip(told) {
        let now = Timestamp(1_000_000 + at * 1000);
        for node in 0..gateways {
            scaler.on_load(now, NodeId(node), &report(1000, u64::from(*tenths), *waiting));
        }
        wanted = scaler.decide(now, Standing { wanted, ready }).wanted;
    }
    wanted
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_can_be_told_stops_it_or_takes_it_out_of_its_bounds(
        rules in any_rules(),
        since in any_number(),
        begin in any_number(),
        events in vec((any_number(), any::<u64>(), any_load(), any::<[u32; 2]>(), any_rules()), 1..20),
    ) {
        let mut rules = rules;
        let mut scaler = Autoscaler::new(rules.clone(), Timestamp(since));
        let mut now = Timestamp(begin);
        for (passed, node, load, standing, other) in events {
            now = Timestamp(now.0.saturating_add(passed % 100_000));
            scaler.on_load(now, NodeId(node % 300), &load);
            let standing = Standing { wanted: standing[0], ready: standing[1] };
            if node % 5 == 0 {
                rules = other;
                scaler.set_rules(now, rules.clone(), standing);
            }
            let decision = scaler.decide(now, standing);
            match rules.fixed {
                Some(fixed) => prop_assert_eq!(decision.wanted, fixed),
                None => prop_assert!((rules.min..=rules.max).contains(&decision.wanted)),
            }
            prop_assert!(decision.next.is_none_or(|next| next > now || rules.fixed.is_some()));
            scaler.load(now);
        }
    }

    #[test]
    fn more_load_never_asks_for_fewer(
        on in prop_oneof![
            (100..50_000_u32).prop_map(|milli| ScaleOn::Concurrency { milli }),
            (100..50_000_u32).prop_map(|milli| ScaleOn::Rate { milli }),
            (1..50_u32).prop_map(|requests| ScaleOn::Waiting { requests }),
        ],
        told in vec(((0..3000_u32, 0..3000_u32), (0..50_u32, 0..50_u32)), 1..150),
        ready in 0..40_u32,
    ) {
        let less: Vec<Told> = told.iter().map(|(a, b)| (a.0.min(a.1), b.0.min(b.1))).collect();
        let more: Vec<Told> = told.iter().map(|(a, b)| (a.0.max(a.1), b.0.max(b.1))).collect();
        let (less, more) = (wanted(on, &less, ready, 2), wanted(on, &more, ready, 2));
        prop_assert!(less <= more, "{} of less, {} of more", less, more);
    }

    #[test]
    fn a_gateway_that_is_lost_takes_its_load_to_the_others_without_counting_twice(
        tenths in 30..3000_u32,
        gateways in 2..8_u32,
        lost_after in 60..150_u32,
    ) {
        let mut run = Run::new(&spec(1, 1000), u64::from(gateways));
        run.seconds(lost_after, tenths);
        let before = run.changes.iter().map(|(_, wanted, _)| *wanted).max().unwrap_or(1);
        // From one second to the next the others have all of it.
        let mut fewer = Run::new(&spec(1, 1000), u64::from(gateways - 1));
        std::mem::swap(&mut fewer.scaler, &mut run.scaler);
        (fewer.now, fewer.standing) = (run.now, run.standing);
        fewer.scaler.on_gateway_gone(NodeId(u64::from(gateways)));
        fewer.seconds(30, tenths);
        let after = fewer.changes.iter().map(|(_, wanted, _)| *wanted).max().unwrap_or(1);
        prop_assert!(after <= before, "{} before, {} after", before, after);
    }

    #[test]
    fn reports_that_were_held_up_look_like_no_spike(
        tenths in 30..3000_u32,
        held_up in 2..20_u64,
    ) {
        let mut run = Run::new(&spec(1, 1000), 1);
        run.seconds(90, tenths);
        run.changes.clear();
        let until = run.now.0 + held_up * 1000;
        run.idle_until(Timestamp(until));
        for _ in 0..held_up {
            run.scaler.on_load(run.now, NodeId(1), &report(1000, tenths.into(), 0));
            run.decide();
        }
        run.seconds(30, tenths);
        prop_assert_eq!(&run.changes, &[]);
    }
}
