//! Sleeps for so many milliseconds and prints when it wakes.

use std::time::Duration;

fn main() {
    let milliseconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1000);
    std::thread::sleep(Duration::from_millis(milliseconds));
    println!("slept {milliseconds} ms");
}
