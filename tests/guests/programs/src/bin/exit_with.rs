//! Ends with the exit code given. `std::process::exit` would tell the node only that it
//! is not 0: the standard library speaks WASI 0.2.0, which has no more to say.

fn main() {
    let code = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1);
    println!("ending with {code}");
    wasip2::cli::exit::exit_with_code(code);
}
