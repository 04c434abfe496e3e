//! Profiles against the most naive model there is: an amount for each millisecond.

use super::*;

/// Nothing changes after this.
const END: usize = 60;

#[derive(Clone)]
struct Naive(Vec<Resources>);

impl Naive {
    fn take(&mut self, from: u64, to: u64, need: &Resources, count: u32) {
        for at in from..to.min(END as u64) {
            Amounts::take(&mut self.0[at as usize], need, count);
        }
    }

    fn room(&self, from: u64, to: u64, need: &Resources) -> u32 {
        let last = self.0[END - 1];
        let free = |at: u64| self.0.get(at as usize).unwrap_or(&last).times(need);
        (from..to.max(from + 1)).map(free).min().unwrap()
    }

    fn until(&self, from: u64, need: &Resources) -> u64 {
        let short = (from..END as u64).find(|at| self.room(*at, at + 1, need) == 0);
        short.unwrap_or(u64::MAX)
    }

    fn earliest(&self, begin: u64, duration: u64, need: &Resources, count: u32) -> Option<u64> {
        (begin..END as u64).find(|at| self.room(*at, at + duration, need) >= count)
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
        (self.0 >> 33) % bound
    }

    fn need(&mut self) -> Resources {
        let (cpu_milli, memory) = (self.below(4) as u32, self.below(4));
        Resources { cpu_milli, memory, scratch: 0, slots: 1 }
    }
}

fn capacity(random: &mut Random) -> Resources {
    let (cpu_milli, memory) = (4 + random.below(6) as u32, 4 + random.below(6));
    Resources { cpu_milli, memory, scratch: 0, slots: 8 }
}

fn both(random: &mut Random, begin: u64) -> (Profile<Resources>, Naive) {
    let capacity = capacity(random);
    let mut naive = Naive(vec![capacity; END]);
    let mut held = Vec::new();
    for _ in 0..random.below(5) {
        let (end, need) = (random.below(END as u64 - 1), random.need());
        let count = 1 + random.below(2) as u32;
        naive.take(0, end, &need, count);
        held.push(Held { end: Timestamp(end), need, count });
    }
    let mut profile = Profile::new(Timestamp(begin), capacity, held);
    for _ in 0..random.below(4) {
        let (from, length, need) = (random.below(50), 1 + random.below(9), random.need());
        naive.take(from, from + length, &need, 1);
        profile.take(Timestamp(from), Timestamp(from + length), &need, 1);
    }
    (profile, naive)
}

#[test]
fn answers_what_a_model_by_the_millisecond_answers() {
    let mut random = Random(7);
    for _ in 0..4000 {
        let begin = random.below(20);
        let (profile, naive) = both(&mut random, begin);
        for _ in 0..10 {
            let (from, duration, need) =
                (begin + random.below(30), random.below(12), random.need());
            assert_eq!(
                profile.room(Timestamp(from), Timestamp(from + duration), &need),
                naive.room(from, from + duration, &need),
            );
            assert_eq!(profile.until(Timestamp(from), &need).0, naive.until(from, &need));
            let count = 1 + random.below(3) as u32;
            assert_eq!(
                profile.earliest(duration, &need, count).map(|at| at.0),
                naive.earliest(begin, duration, &need, count),
                "{profile:?} {need:?} x {count} for {duration}"
            );
        }
    }
}

#[test]
fn several_nodes_start_together_as_early_as_the_model_says() {
    let mut random = Random(11);
    for _ in 0..3000 {
        let begin = random.below(20);
        let nodes: Vec<_> = (0..1 + random.below(4)).map(|_| both(&mut random, begin)).collect();
        let (duration, need) = (random.below(12), random.need());
        let count = 1 + random.below(12) as u32;
        let cpu = Resources { cpu_milli: 1, ..Resources::default() };
        let least = (random.below(2) == 0).then(|| 1 + random.below(30));
        let beside = least.map(|times| Beside { need: cpu, times });
        let profiles: Vec<(usize, &Profile<Resources>)> =
            nodes.iter().enumerate().map(|(place, (profile, _))| (place, profile)).collect();
        let found = earliest_start(&profiles, duration, &Ask { need: &need, count, beside });
        let rooms = |at: u64, need: &Resources| {
            nodes
                .iter()
                .map(|(_, naive)| u64::from(naive.room(at, at + duration, need)))
                .sum::<u64>()
        };
        let room = |naive: &Naive, at: u64| u64::from(naive.room(at, at + duration, &need));
        let fits = |at: &u64| {
            rooms(*at, &need) >= u64::from(count) && rooms(*at, &cpu) >= least.unwrap_or(0)
        };
        let expected = (begin..END as u64).find(fits);
        assert_eq!(found.as_ref().map(|(at, _)| at.0), expected);
        let Some((at, parts)) = found else { continue };
        assert_eq!(parts.iter().map(|(_, part)| part).sum::<u32>(), count);
        for (place, part) in parts {
            assert!(room(&nodes[place].1, at.0) >= u64::from(part));
        }
    }
}

#[test]
fn what_ends_at_an_instant_leaves_room_for_what_begins_at_it() {
    let one = Resources { cpu_milli: 1000, ..Resources::default() };
    let held = vec![Held { end: Timestamp(20), need: one, count: 1 }];
    let profile = Profile::new(Timestamp(10), one, held);
    assert_eq!(profile.room(Timestamp(19), Timestamp(30), &one), 0);
    assert_eq!(profile.room(Timestamp(20), Timestamp(30), &one), 1);
    assert_eq!(profile.earliest(5, &one, 1), Some(Timestamp(20)));
}

#[test]
fn what_is_held_for_ever_never_fits() {
    let one = Resources { cpu_milli: 1000, ..Resources::default() };
    let held = vec![Held { end: FOREVER, need: one, count: 1 }];
    assert_eq!(Profile::new(Timestamp(10), one, held).earliest(5, &one, 1), None);
}
