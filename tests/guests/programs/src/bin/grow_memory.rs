//! Takes a mebibyte of memory after the other, writes to it, and prints how many it has.

fn main() {
    let mut held = Vec::new();
    loop {
        held.push(vec![1_u8; 1 << 20]);
        if held.len().is_multiple_of(16) {
            println!("{} MiB", held.len());
        }
    }
}
