//! Ends with the exit code given.

fn main() {
    let code = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1);
    println!("ending with {code}");
    std::process::exit(code);
}
