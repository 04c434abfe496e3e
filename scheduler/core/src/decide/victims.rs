//! Which tasks of a node make room for others: in the mildest way that works, those that
//! lose least work, and none that need not go.

use wrun_protocol::{Resources, TaskId};

use crate::profile::{Amounts, Bench, BenchNeed};
use crate::state::jobs::NodeIx;

/// How mild it is, mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// There is room already.
    Nothing,
    Freeze,
    Checkpoint,
    Requeue,
}

/// A task that may make room; where it is of a gang and would be stopped, all of these that
/// the node has.
#[derive(Clone, Debug)]
pub(super) struct Victim {
    pub(super) task: TaskId,
    pub(super) attempt: u32,
    /// What leaves the node with it.
    pub(super) holds: Resources,
    pub(super) devices: Vec<BenchNeed>,
    pub(super) may_freeze: bool,
    /// How it would be stopped, if it may be.
    pub(super) stop: Option<Way>,
    /// All of a gang are stopped with it.
    pub(super) gang: bool,
    /// The work that would be lost, in thousandths of a CPU by milliseconds.
    pub(super) lost: u64,
}

/// How a node would make room.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) way: Way,
    pub(super) lost: u64,
    pub(super) node: NodeIx,
    /// How many tasks there would be room for, and for how many there is without it.
    pub(super) tasks: u32,
    pub(super) have: u32,
    pub(super) victims: Vec<Victim>,
}

impl Plan {
    /// For how many more tasks it makes room.
    pub(super) fn gain(&self) -> u32 {
        self.tasks - self.have
    }
}

/// What a node has free.
#[derive(Clone, Debug)]
pub(super) struct Free {
    pub(super) amounts: Resources,
    pub(super) devices: Bench,
}

/// What each of some tasks asks of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) amounts: &'a Resources,
    pub(super) devices: &'a BenchNeed,
}

impl Free {
    fn room(&self, asked: Asked<'_>) -> u32 {
        self.amounts.times(asked.amounts).min(self.devices.times(asked.devices))
    }

    pub(super) fn give(&mut self, victim: &Victim) {
        self.amounts = self.amounts.checked_add(&victim.holds).unwrap_or(self.amounts);
        victim.devices.iter().for_each(|devices| self.devices.give(devices));
    }

    /// Without what a victim would give; `None` where that is not in it.
    fn without(&self, victim: &Victim) -> Option<Self> {
        let mut devices = self.devices.clone();
        victim.devices.iter().for_each(|taken| devices.take(taken, 1));
        Some(Self { amounts: self.amounts.checked_sub(&victim.holds)?, devices })
    }
}

/// How a node makes room for as many tasks as it can, up to `most`, in one way: for those
/// for which the mildest will do.
pub(super) fn plan(
    node: NodeIx,
    free: &Free,
    asked: Asked<'_>,
    most: u32,
    freezable: &[Victim],
    stoppable: &[Victim],
) -> Option<Plan> {
    let have = free.room(asked).min(most);
    let mut best: Option<Plan> = None;
    for tasks in have.max(1)..=most {
        let found = if tasks <= have {
            Some((Way::Nothing, Vec::new()))
        } else {
            freeze(free, asked, tasks, freezable)
                .map(|chosen| (Way::Freeze, chosen))
                .or_else(|| stop(free, asked, tasks, stoppable))
        };
        let Some((way, victims)) = found else { break };
        let worse = best.as_ref().is_some_and(|best| best.way != Way::Nothing && way > best.way);
        if worse {
            break;
        }
        let lost = match way {
            Way::Nothing | Way::Freeze => 0,
            Way::Checkpoint | Way::Requeue => victims.iter().map(|victim| victim.lost).sum(),
        };
        best = Some(Plan { way, lost, node, tasks, have, victims });
    }
    best
}

/// Tasks to freeze so that so many fit, where only CPU lacks: as few as can be found by
/// taking the largest, and of several that would do alone the smallest.
fn freeze(free: &Free, asked: Asked<'_>, tasks: u32, victims: &[Victim]) -> Option<Vec<Victim>> {
    let wanted = times(asked.amounts, tasks)?;
    let without_cpu = Resources { cpu_milli: 0, ..wanted };
    if !free.amounts.covers(&without_cpu) || free.devices.times(asked.devices) < tasks {
        return None;
    }
    let mut lacking = wanted.cpu_milli.saturating_sub(free.amounts.cpu_milli);
    let mut left: Vec<&Victim> = victims.iter().filter(|victim| victim.may_freeze).collect();
    left.sort_by_key(|victim| (victim.holds.cpu_milli, victim.task));
    let mut chosen = Vec::new();
    while lacking > 0 {
        let largest = left.last()?.holds.cpu_milli;
        let enough = |victim: &&Victim| victim.holds.cpu_milli >= largest.min(lacking);
        let victim = left.remove(left.iter().position(enough)?);
        if largest == 0 {
            return None;
        }
        lacking = lacking.saturating_sub(victim.holds.cpu_milli);
        chosen.push(victim.clone());
    }
    Some(chosen)
}

/// Tasks to stop so that so many fit: those that lose least, and none that need not go.
fn stop(
    free: &Free,
    asked: Asked<'_>,
    tasks: u32,
    victims: &[Victim],
) -> Option<(Way, Vec<Victim>)> {
    let mut chosen: Vec<&Victim> = Vec::new();
    let mut room = free.clone();
    for victim in victims.iter().filter(|victim| victim.stop.is_some()) {
        if room.room(asked) >= tasks {
            break;
        }
        room.give(victim);
        chosen.push(victim);
    }
    if room.room(asked) < tasks {
        return None;
    }
    for place in (0..chosen.len()).rev() {
        let without = chosen.get(place).and_then(|victim| room.without(victim));
        if let Some(without) = without.filter(|without| without.room(asked) >= tasks) {
            room = without;
            chosen.remove(place);
        }
    }
    let way = chosen.iter().filter_map(|victim| victim.stop).max()?;
    Some((way, chosen.into_iter().cloned().collect()))
}

fn times(each: &Resources, count: u32) -> Option<Resources> {
    Some(Resources {
        cpu_milli: each.cpu_milli.checked_mul(count)?,
        memory: each.memory.checked_mul(count.into())?,
        scratch: each.scratch.checked_mul(count.into())?,
        slots: each.slots.checked_mul(count)?,
    })
}

#[cfg(test)]
mod tests {
    use wrun_protocol::JobId;

    use super::*;
    use crate::profile::CardNeed;

    fn cards(milli: u32, places: Vec<u16>) -> BenchNeed {
        let cards = CardNeed { count: 1, milli, memory: 0, places };
        BenchNeed { cards: Some(cards), named: Vec::new() }
    }

    /// Sets of victims of a few sizes, by a small generator of its own: what is free, what
    /// a task wants, whether of a card too, and who may go.
    fn each_case(mut with: impl FnMut(&Free, &Resources, &BenchNeed, &[Victim])) {
        let mut state = 7u64;
        let mut draw = |below: u32| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            ((state >> 33) as u32) % below
        };
        for _ in 0..20_000 {
            let mut of = |most: u32| Resources {
                cpu_milli: 250 * draw(most),
                memory: u64::from(draw(most)),
                scratch: 0,
                slots: 1,
            };
            let (free, wanted) = (of(4), of(12));
            let holds: Vec<Resources> = (0..8).map(|_| of(6)).collect();
            let mut left = [1000, 1000];
            let victims = holds.into_iter().zip(0..).map(|(holds, index)| {
                let (card, milli) = (draw(2) as usize, 250 * draw(3));
                let milli = milli.min(left[card]);
                left[card] -= milli;
                Victim {
                    task: JobId(1).task(index),
                    attempt: 1,
                    holds,
                    devices: vec![cards(milli, vec![card as u16])],
                    may_freeze: draw(4) > 0,
                    stop: [None, Some(Way::Checkpoint), Some(Way::Requeue)][draw(3) as usize],
                    gang: false,
                    lost: draw(10).into(),
                }
            });
            let mut victims: Vec<Victim> = victims.collect();
            victims.sort_by_key(|victim| (victim.lost, victim.task));
            let devices = Bench { cards: left.map(|milli| (milli, 0)).to_vec(), named: Vec::new() };
            let need = match draw(3) {
                0 => cards(1000, vec![0, 1]),
                1 => cards(500, vec![0, 1]),
                _ => BenchNeed::default(),
            };
            with(&Free { amounts: free, devices }, &wanted, &need, &victims);
        }
    }

    fn fits(free: &Free, asked: Asked<'_>, chosen: &[Victim], without: Option<usize>) -> bool {
        let mut room = free.clone();
        let kept = chosen.iter().enumerate().filter(|(place, _)| Some(*place) != without);
        kept.for_each(|(_, victim)| room.give(victim));
        room.room(asked) >= 1
    }

    #[test]
    fn no_task_is_stopped_that_need_not_go_and_none_that_must_is_missed() {
        let mut found = 0;
        each_case(|free, wanted, need, victims| {
            let asked = Asked { amounts: wanted, devices: need };
            let may: Vec<Victim> = victims.iter().filter(|v| v.stop.is_some()).cloned().collect();
            let possible = fits(free, asked, &may, None) && free.room(asked) == 0;
            let Some((_, chosen)) = stop(free, asked, 1, victims) else {
                return assert!(!possible, "{free:?} {wanted} {victims:?}");
            };
            found += 1;
            assert!(fits(free, asked, &chosen, None));
            assert!(chosen.iter().all(|victim| victim.stop.is_some()));
            for place in 0..chosen.len() {
                assert!(!fits(free, asked, &chosen, Some(place)), "{chosen:?}");
            }
        });
        assert!(found > 1000, "{found}");
    }

    #[test]
    fn no_task_is_frozen_that_need_not_be_and_only_where_cpu_alone_lacks() {
        each_case(|free, wanted, need, victims| {
            let asked = Asked { amounts: wanted, devices: need };
            let Some(chosen) = freeze(free, asked, 1, victims) else { return };
            let amounts = &free.amounts;
            assert!(amounts.memory >= wanted.memory && amounts.slots >= wanted.slots);
            assert!(free.devices.times(need) >= 1, "frozen tasks keep their cards");
            let cpu = |without: Option<usize>| {
                let kept = chosen.iter().enumerate().filter(|(place, _)| Some(*place) != without);
                amounts.cpu_milli + kept.map(|(_, victim)| victim.holds.cpu_milli).sum::<u32>()
            };
            assert!(cpu(None) >= wanted.cpu_milli);
            for place in 0..chosen.len() {
                assert!(cpu(Some(place)) < wanted.cpu_milli, "{wanted} {chosen:?}");
            }
        });
    }
}
