//! Never returns from a host call: it reads input that nobody writes. What does come is
//! counted.

use std::io::Read;

fn main() -> std::io::Result<()> {
    println!("waiting for input");
    let mut buffer = [0; 4096];
    let mut total = 0;
    loop {
        match std::io::stdin().read(&mut buffer)? {
            0 => break,
            read => total += read,
        }
    }
    println!("read {total} bytes");
    Ok(())
}
