//! Writes lines to standard error without end.

fn main() {
    let mut line = 0_u64;
    loop {
        eprintln!("line {line} of many, each as dull as the one before it");
        line += 1;
    }
}
