//! Calls itself for ever.

/// Keeps nothing in memory, so that it is the stack of the engine that ends, not the
/// part of memory that compilers call one.
#[inline(never)]
fn deeper(depth: u64) -> u64 {
    if depth == u64::MAX { 0 } else { deeper(depth + 1).rotate_left(7) ^ depth }
}

fn main() {
    println!("{}", deeper(std::env::args().count() as u64));
}
