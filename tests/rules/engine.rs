//! Results are remembered for the version of the engine that gave them.

#[test]
fn the_key_of_a_result_names_the_engine_that_is_locked() {
    let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock");
    let lock = std::fs::read_to_string(lock).unwrap();
    let (_, package) = lock.split_once("name = \"wasmtime\"\nversion = \"").unwrap();
    let (version, _) = package.split_once('"').unwrap();
    let named = wrun_protocol::remembered::ENGINE;
    assert!(
        named.starts_with(&format!("wasmtime {version}, world ")),
        "the lock has wasmtime {version}, keys of results say `{named}`: change ENGINE with it"
    );
}
