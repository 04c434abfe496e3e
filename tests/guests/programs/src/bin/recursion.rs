//! Calls itself for ever.

#[expect(unconditional_recursion, reason = "what this program is for")]
#[inline(never)]
fn deeper(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 16]);
    deeper(frame[3] + 1) + frame[7]
}

fn main() {
    println!("{}", deeper(0));
}
