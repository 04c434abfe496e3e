//! A WASI 0.3 program that does nothing.

struct Program;

wasip3::cli::command::export!(Program);

impl wasip3::exports::cli::run::Guest for Program {
    async fn run() -> Result<(), ()> {
        Ok(())
    }
}
