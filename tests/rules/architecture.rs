//! ARCHITECTURE.md names every crate of the workspace, and every direct dependency with
//! its reason; nothing that is not there any more stands in its table.

use std::collections::BTreeSet;
use std::process::Command;

/// Names of the workspace's crates, and of what they depend on directly besides.
fn names() -> (BTreeSet<String>, BTreeSet<String>) {
    let output = Command::new(env!("CARGO"))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let name = |value: &serde_json::Value| value["name"].as_str().unwrap().to_owned();
    let dependencies = packages.iter().flat_map(|it| it["dependencies"].as_array().unwrap());
    let foreign = dependencies.filter(|it| !it["path"].is_string()).map(name).collect();
    (packages.iter().map(name).collect(), foreign)
}

fn page() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../ARCHITECTURE.md")).unwrap()
}

/// The names in the first column of the table of dependencies.
fn listed(page: &str) -> BTreeSet<String> {
    let (_, table) = page.split_once("\n## Dependencies\n").expect("a section of dependencies");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.filter_map(|row| row.split_once(" |")).map(|(cell, _)| cell);
    cells.flat_map(|cell| cell.split(", ")).map(|name| name.replace('`', "")).collect()
}

#[test]
fn every_crate_has_its_line() {
    let (crates, _) = names();
    let page = page();
    let missing: Vec<_> =
        crates.iter().filter(|name| !page.contains(&format!("(`{name}`)"))).collect();
    assert_eq!(missing, [] as [&String; 0], "ARCHITECTURE.md does not say what they are for");
}

#[test]
fn every_direct_dependency_has_its_reason_and_none_is_listed_in_vain() {
    let (_, foreign) = names();
    let listed = listed(&page());
    let unexplained: Vec<_> = foreign.difference(&listed).collect();
    let stale: Vec<_> = listed.difference(&foreign).collect();
    assert_eq!((unexplained, stale), (vec![], vec![]), "(unexplained, stale) in ARCHITECTURE.md");
}
