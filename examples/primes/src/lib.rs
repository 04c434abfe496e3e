//! A long task: counts the primes up to a limit, saves a checkpoint every second or so,
//! and goes on from there when an earlier attempt was lost.
//!
//! ```text
//! echo '{"limit": 10000000000}' > request.json
//! wrun submit primes.wasm --input request.json
//! ```

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use wrun_sdk::{Error, checkpoint, info, progress, task, warn};

/// Numbers sieved in one go; a segment of this size fits a processor's cache.
const SEGMENT: u64 = 1 << 18;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    /// The last number looked at.
    limit: u64,
    /// Time between checkpoints, in milliseconds.
    #[serde(default = "every_second")]
    checkpoint_ms: u64,
}

fn every_second() -> u64 {
    1000
}

/// What a checkpoint holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// The first number not looked at.
    next: u64,
    count: u64,
    largest: u64,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Response {
    count: u64,
    largest: u64,
    /// Where this attempt began: 0, or its checkpoint.
    resumed_from: u64,
    attempt: u32,
}

#[wrun_sdk::task]
fn primes(request: Request) -> Result<Response, Error> {
    if request.limit > 1 << 48 {
        return Err(Error::new("the limit is at most 2^48"));
    }
    let mut state = checkpoint::load::<State>()?.unwrap_or_default();
    let resumed_from = state.next;
    if resumed_from > 0 {
        info!("going on from {resumed_from}, {} primes known", state.count);
    }
    let base = small_primes(request.limit.isqrt());
    let interval = Duration::from_millis(request.checkpoint_ms);
    let mut saved = Instant::now();
    while state.next <= request.limit {
        let end = (state.next + SEGMENT).min(request.limit + 1);
        sieve(&mut state, end, &base);
        progress(state.next, request.limit + 1, format!("{} primes so far", state.count));
        if saved.elapsed() >= interval {
            save(&state)?;
            saved = Instant::now();
        }
    }
    let State { count, largest, .. } = state;
    Ok(Response { count, largest, resumed_from, attempt: task().attempt })
}

/// Saves; a node that cannot now is no reason to stop.
fn save(state: &State) -> Result<(), Error> {
    match checkpoint::save(state) {
        Err(error) if error.is_retryable() => {
            warn!("{error}");
            Ok(())
        }
        other => other,
    }
}

/// Looks at the numbers from `state.next` up to, not including, `end`.
fn sieve(state: &mut State, end: u64, base: &[u64]) {
    let start = state.next;
    let mut is_prime = vec![true; (end - start) as usize];
    for prime in base.iter().take_while(|prime| *prime * *prime < end) {
        let first = start.next_multiple_of(*prime).max(prime * prime) - start;
        for multiple in is_prime.iter_mut().skip(first as usize).step_by(*prime as usize) {
            *multiple = false;
        }
    }
    for (number, is_prime) in (start..end).zip(is_prime) {
        if is_prime && number > 1 {
            state.count += 1;
            state.largest = number;
        }
    }
    state.next = end;
}

fn small_primes(limit: u64) -> Vec<u64> {
    let mut primes: Vec<u64> = Vec::new();
    for number in 2..=limit {
        let divides = |prime: &u64| number % prime == 0;
        if !primes.iter().take_while(|prime| *prime * *prime <= number).any(divides) {
            primes.push(number);
        }
    }
    primes
}

#[cfg(test)]
mod tests {
    use super::*;
    use wrun_sdk::checkpoint::CheckpointError;
    use wrun_sdk::testing;

    fn request(limit: u64) -> Request {
        Request { limit, checkpoint_ms: 0 }
    }

    #[test]
    fn the_counts_are_the_known_ones() {
        for (limit, count) in [(0, 0), (1, 0), (2, 1), (100, 25), (1_000_000, 78_498)] {
            testing::start(testing::Run::default());
            assert_eq!(primes(request(limit)).unwrap().count, count, "up to {limit}");
        }
    }

    #[test]
    fn a_later_attempt_goes_on_from_the_checkpoint() {
        let whole = primes(request(2_000_000)).unwrap();
        testing::start(testing::Run::default());
        primes(request(700_000)).unwrap();
        let first = testing::end();
        let mut second = testing::Run { checkpoint: first.checkpoint, ..testing::Run::default() };
        second.task.attempt = 2;
        testing::start(second);
        let resumed = primes(request(2_000_000)).unwrap();
        assert!(resumed.resumed_from > 0);
        assert_eq!((resumed.count, resumed.attempt), (whole.count, 2));
    }

    #[test]
    fn a_checkpoint_that_cannot_be_saved_now_does_not_stop_it() {
        let refusal = Some(CheckpointError::Unavailable("disk is full".into()));
        testing::start(testing::Run { refusal, ..testing::Run::default() });
        assert_eq!(primes(request(100)).unwrap().count, 25);
        assert_eq!(testing::end().log[0].1, "the checkpoint was not saved: disk is full");
    }
}
