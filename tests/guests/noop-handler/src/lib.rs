//! A handler that does nothing: what the benchmarks measure everything else by.

#[wrun_sdk::task]
fn noop(input: Vec<u8>) -> Result<Vec<u8>, wrun_sdk::Error> {
    Ok(input)
}
