//! Fills a gibibyte, or as many bytes as its argument says, by one `memory.fill`, and
//! again without end.

fn main() {
    let bytes = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1 << 30);
    let mut memory = Vec::<u8>::new();
    if memory.try_reserve_exact(bytes).is_err() {
        println!("refused");
        return;
    }
    memory.resize(bytes, 0);
    for value in 0_u64.. {
        memory.fill(value as u8);
        println!("filled with {}", std::hint::black_box(&memory)[bytes / 2]);
    }
}
