//! Asks for so many mebibytes and prints whether it has them; ends well either way.

fn main() {
    let mebibytes: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(64);
    let mut held = Vec::<u8>::new();
    match held.try_reserve_exact(mebibytes << 20) {
        Ok(()) => {
            held.resize(mebibytes << 20, 1);
            println!("has {} MiB", std::hint::black_box(held).len() >> 20);
        }
        Err(_) => println!("refused"),
    }
}
