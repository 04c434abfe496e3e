//! When something fits on several nodes at once.

use wrun_protocol::Timestamp;

use super::{Amounts, Profile};

/// What is asked of several profiles.
#[derive(Debug)]
pub(crate) struct Ask<'a, N> {
    pub(crate) need: &'a N,
    /// How many times.
    pub(crate) count: u32,
    /// What must be free too while it is held, the need itself counted in.
    pub(crate) beside: Option<Beside<N>>,
}

/// So many times `need`, on whichever profiles.
#[derive(Debug)]
pub(crate) struct Beside<N> {
    pub(crate) need: N,
    pub(crate) times: u64,
}

/// The earliest instant from which what is asked fits for `duration` milliseconds, on all
/// of the profiles together, and how many on which: the roomiest first, so that they are
/// few; among equals those that come first.
pub(crate) fn earliest_start<K: Copy, A: Amounts>(
    profiles: &[(K, &Profile<A>)],
    duration: u64,
    ask: &Ask<'_, A::Need>,
) -> Option<(Timestamp, Vec<(K, u32)>)> {
    let Ask { need, count, beside } = ask;
    if beside.is_none() {
        if let [(key, profile)] = profiles {
            return Some((profile.earliest(duration, need, *count)?, vec![(*key, *count)]));
        }
        if *count == 1 {
            let starts = profiles.iter().filter_map(|(key, profile)| {
                Some((profile.earliest(duration, need, 1)?, vec![(*key, 1)]))
            });
            return starts.min_by_key(|(at, _)| *at);
        }
    }
    let mut own = Sum::over(profiles, duration, need, (*count).into());
    let mut besides = Vec::new();
    if let Some(Beside { need, times }) = beside {
        besides.push(Sum::over(profiles, duration, need, *times));
    }
    let at = together(&mut own, &mut besides)?;
    let keys: Vec<K> = profiles.iter().map(|(key, _)| *key).collect();
    Some((at, share_out(&keys, &own.rooms, *count)))
}

/// The same by how many fit on each from when on; and at the same time each of `besides`
/// is enough.
pub(crate) fn earliest_together<K: Copy>(
    rooms: &[(K, Vec<(Timestamp, u32)>)],
    count: u32,
    mut besides: Vec<Sum>,
) -> Option<(Timestamp, Vec<(K, u32)>)> {
    let mut own = Sum::of(rooms.iter().map(|(_, rooms)| rooms.as_slice()), count.into());
    let at = together(&mut own, &mut besides)?;
    let keys: Vec<K> = rooms.iter().map(|(key, _)| *key).collect();
    Some((at, share_out(&keys, &own.rooms, count)))
}

/// The first instant at which all are enough.
fn together(own: &mut Sum, besides: &mut [Sum]) -> Option<Timestamp> {
    let mut at = own.enough_from(None)?;
    loop {
        // Where one is too little, the others need not be looked at before it is enough.
        let mut latest = at;
        for beside in besides.iter_mut() {
            latest = beside.enough_from(Some(latest))?;
        }
        latest = own.enough_from(Some(latest))?;
        if latest == at {
            return Some(at);
        }
        at = latest;
    }
}

/// How many times something fits on several profiles, instant by instant.
pub(crate) struct Sum {
    /// By instant: which profile has room for how many from then on. The last is next.
    changes: Vec<(Timestamp, usize, u32)>,
    /// By profile, up to now.
    rooms: Vec<u32>,
    sum: u64,
    enough: u64,
    now: Timestamp,
}

impl Sum {
    pub(crate) fn over<K, A: Amounts>(
        profiles: &[(K, &Profile<A>)],
        duration: u64,
        need: &A::Need,
        enough: u64,
    ) -> Self {
        let rooms: Vec<Vec<(Timestamp, u32)>> =
            profiles.iter().map(|(_, profile)| profile.rooms(duration, need)).collect();
        Self::of(rooms.iter().map(Vec::as_slice), enough)
    }

    /// By how many fit on each from when on.
    pub(crate) fn of<'a>(rooms: impl Iterator<Item = &'a [(Timestamp, u32)]>, enough: u64) -> Self {
        let mut changes: Vec<(Timestamp, usize, u32)> = Vec::new();
        let most = u32::try_from(enough).unwrap_or(u32::MAX);
        let mut places = 0;
        for (place, rooms) in rooms.enumerate() {
            changes.extend(rooms.iter().map(|(at, room)| (*at, place, (*room).min(most))));
            places = place + 1;
        }
        changes.sort_unstable_by(|a, b| b.cmp(a));
        Self { changes, rooms: vec![0; places], sum: 0, enough, now: Timestamp(0) }
    }

    /// The first instant, not before `from` nor before one that was asked for earlier, at
    /// which it is enough.
    fn enough_from(&mut self, from: Option<Timestamp>) -> Option<Timestamp> {
        self.now = from.map_or(self.now, |from| from.max(self.now));
        loop {
            // What changes at one instant counts together.
            while let Some((_, place, room)) = self.changes.pop_if(|(at, ..)| *at <= self.now) {
                let Some(before) = self.rooms.get_mut(place) else { continue };
                self.sum = self.sum - u64::from(*before) + u64::from(room);
                *before = room;
            }
            if self.sum >= self.enough {
                return Some(self.now);
            }
            self.now = self.changes.last()?.0;
        }
    }
}

/// Gives each as many as it has room for, the roomiest first.
fn share_out<K: Copy>(keys: &[K], rooms: &[u32], count: u32) -> Vec<(K, u32)> {
    let mut places: Vec<(usize, u32)> = rooms.iter().copied().enumerate().collect();
    places.sort_by_key(|(_, room)| std::cmp::Reverse(*room));
    let mut left = count;
    let mut parts = Vec::new();
    for (place, room) in places {
        let part = room.min(left);
        if let Some(key) = keys.get(place).filter(|_| part > 0) {
            parts.push((*key, part));
            left -= part;
        }
    }
    parts
}
