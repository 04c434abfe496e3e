//! Prints what is known of components: `cargo run -p wrun-component --example inspect FILE...`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for path in std::env::args().skip(1) {
        let answer = std::fs::read(&path).map_err(|error| error.to_string()).and_then(|bytes| {
            let prepared = wrun_component::prepare(&bytes).map_err(|error| error.to_string())?;
            Ok((prepared.component.len(), prepared.inspected))
        });
        match answer {
            Ok((size, found)) => println!("{path}: {size} bytes, {found:#?}"),
            Err(error) => {
                eprintln!("{path}: {error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
