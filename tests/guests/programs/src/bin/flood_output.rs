//! Writes to standard output without end.

use std::io::Write;

fn main() -> std::io::Result<()> {
    let block = [b'x'; 64 << 10];
    let mut output = std::io::stdout().lock();
    loop {
        output.write_all(&block)?;
    }
}
