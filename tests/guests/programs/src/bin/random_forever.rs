//! Asks the host for a mebibyte of randomness without end: work that the host does.

use wasip2::random::random::get_random_bytes;

fn main() {
    let most = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1 << 20);
    loop {
        std::hint::black_box(get_random_bytes(most));
    }
}
