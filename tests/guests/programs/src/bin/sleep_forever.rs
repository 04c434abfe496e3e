//! Never returns from a host call: it waits for a moment in a hundred years.

use std::time::Duration;

fn main() {
    println!("going to sleep");
    std::thread::sleep(Duration::from_secs(100 * 365 * 24 * 3600));
}
