//! Never rests, and prints what it has done every ten milliseconds: a line with the
//! milliseconds since its start and the turns so far. With an argument it ends after so
//! many milliseconds.

use std::hint::black_box;
use std::time::{Duration, Instant};

fn main() {
    let end = std::env::args().nth(1).and_then(|text| text.parse().ok()).map(Duration::from_millis);
    let start = Instant::now();
    let (mut turns, mut next) = (0_u64, Duration::ZERO);
    loop {
        for turn in 0..10_000_u64 {
            black_box(turn);
        }
        turns += 10_000;
        let now = start.elapsed();
        if now >= next {
            println!("{} {turns}", now.as_millis());
            next = now + Duration::from_millis(10);
        }
        if end.is_some_and(|end| now >= end) {
            return;
        }
    }
}
