//! A plain WASI program that knows nothing of wrun: says what it was given.
//!
//! ```text
//! echo "two words" | wrun run hello.wasm --env GREETING=Hello -- world
//! wrun run hello.wasm -- --exit 3 world
//! ```

use std::env;
use std::io::{self, Read};

fn main() -> io::Result<()> {
    let mut arguments = env::args().skip(1).peekable();
    let code = match arguments.next_if(|argument| argument == "--exit") {
        Some(_) => arguments.next().and_then(|code| code.parse().ok()).unwrap_or(2),
        None => 0,
    };
    let greeting = env::var("GREETING").unwrap_or_else(|_| "Hello".to_owned());
    let names: Vec<String> = arguments.collect();
    println!("{greeting}, {}!", if names.is_empty() { "wrun".into() } else { names.join(" and ") });
    if let (Ok(index), Ok(count)) = (env::var("WRUN_TASK_INDEX"), env::var("WRUN_TASK_COUNT")) {
        println!("I am task {index} of {count}.");
    }
    let mut input = String::new();
    io::stdin().read_to_string(&mut input)?;
    if !input.is_empty() {
        println!("I was told {} words.", input.split_whitespace().count());
    }
    if code != 0 {
        eprintln!("ending with exit code {code}, as asked");
        exit(code);
    }
    Ok(())
}

/// `std::process::exit` would do, and the node would hear 1 for every code but 0.
#[cfg(target_os = "wasi")]
fn exit(code: u8) {
    wasip2::cli::exit::exit_with_code(code);
}

#[cfg(not(target_os = "wasi"))]
fn exit(code: u8) {
    std::process::exit(code.into());
}
