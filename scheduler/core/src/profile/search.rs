//! When something fits on several nodes at once.

use wrun_protocol::Timestamp;

use super::{Amounts, Profile};

/// The earliest instant from which `count` times `need` fits for `duration` milliseconds,
/// on all of the profiles together, and how many on which: the roomiest first, so that
/// they are few; among equals those that come first.
pub(crate) fn earliest_start<K: Copy, A: Amounts>(
    profiles: &[(K, &Profile<A>)],
    duration: u64,
    need: &A::Need,
    count: u32,
) -> Option<(Timestamp, Vec<(K, u32)>)> {
    if let [(key, profile)] = profiles {
        return Some((profile.earliest(duration, need, count)?, vec![(*key, count)]));
    }
    if count == 1 {
        let starts = profiles.iter().filter_map(|(key, profile)| {
            Some((profile.earliest(duration, need, 1)?, vec![(*key, 1)]))
        });
        return starts.min_by_key(|(at, _)| *at);
    }
    let mut changes: Vec<(Timestamp, usize, u32)> = Vec::new();
    for (place, (_, profile)) in profiles.iter().enumerate() {
        let rooms = profile.rooms(duration, need);
        changes.extend(rooms.into_iter().map(|(at, room)| (at, place, room.min(count))));
    }
    changes.sort_unstable();
    let mut rooms = vec![0; profiles.len()];
    let mut sum = 0;
    let mut changes = changes.into_iter().peekable();
    while let Some((at, place, room)) = changes.next() {
        if let Some(before) = rooms.get_mut(place) {
            sum = sum - u64::from(*before) + u64::from(room);
            *before = room;
        }
        // What changes at one instant counts together.
        let done = changes.peek().is_none_or(|(next, ..)| *next > at);
        if done && sum >= u64::from(count) {
            return Some((at, share_out(profiles, &rooms, count)));
        }
    }
    None
}

/// Gives each as many as it has room for, the roomiest first.
fn share_out<K: Copy, A>(
    profiles: &[(K, &Profile<A>)],
    rooms: &[u32],
    count: u32,
) -> Vec<(K, u32)> {
    let mut places: Vec<(usize, u32)> = rooms.iter().copied().enumerate().collect();
    places.sort_by_key(|(_, room)| std::cmp::Reverse(*room));
    let mut left = count;
    let mut parts = Vec::new();
    for (place, room) in places {
        let part = room.min(left);
        if let Some((key, _)) = profiles.get(place).filter(|_| part > 0) {
            parts.push((*key, part));
            left -= part;
        }
    }
    parts
}
