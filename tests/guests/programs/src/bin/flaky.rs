//! Fails with exit code 7 in every attempt before the one given.

fn main() {
    let number = |text: Option<String>| text.and_then(|text| text.parse::<u32>().ok());
    let good = number(std::env::args().nth(1)).unwrap_or(2);
    let attempt = number(std::env::var("WRUN_ATTEMPT").ok()).unwrap_or(0);
    println!("attempt {attempt}");
    if attempt < good {
        wasip2::cli::exit::exit_with_code(7);
    }
}
