//! Does nothing: what the benchmarks measure everything else by.

fn main() {}
