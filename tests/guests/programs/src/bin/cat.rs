//! Copies standard input to standard output, as it comes.

fn main() -> std::io::Result<()> {
    std::io::copy(&mut std::io::stdin(), &mut std::io::stdout())?;
    Ok(())
}
