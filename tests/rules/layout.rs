//! The root of the house holds what is listed here, and nothing that a program dropped.

use std::collections::BTreeSet;

const ROOMS: &str = ".cargo .ci .config .git .gitignore ARCHITECTURE.md CHANGELOG.md \
    CONTRIBUTING.md Cargo.lock Cargo.toml LICENSE README.md benches cli clippy.toml deny.toml docs \
    examples gateway net protocol runtime rust-toolchain.toml rustfmt.toml scheduler sdk target tests wit \
    xtask";

#[test]
fn the_root_holds_the_rooms_of_the_house_alone() {
    let listed: BTreeSet<String> = ROOMS.split_whitespace().map(str::to_owned).collect();
    let entries = std::fs::read_dir(harness::artefacts::checkout("")).unwrap();
    let there: BTreeSet<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let strays: Vec<&String> = there.difference(&listed).collect();
    assert!(strays.is_empty(), "not part of the house: {strays:?}");
}

/// What runs a benchmark's peers is the only thing beside the benchmarks' sources.
#[test]
fn nothing_lies_beside_the_peers_of_the_benchmarks() {
    let entries = std::fs::read_dir(harness::artefacts::checkout("benches/peers")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let strays: Vec<String> = names
        .filter(|name| !name.ends_with("_tasks.py") && !name.ends_with("_server.py"))
        .collect();
    assert!(strays.is_empty(), "not a peer: {strays:?}");
}
