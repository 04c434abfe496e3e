//! Which crate may import which. The table is the one in ARCHITECTURE.md; what is not
//! named there may not be imported, and a crate that is not named there may not exist.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Each crate and what it may import within the workspace. `*` is anything.
const RULES: &[(&str, &[&str])] = &[
    ("wrun-protocol", &[]),
    ("wrun-net", &["wrun-protocol"]),
    ("wrun-core", &["wrun-protocol"]),
    ("wrun-component", &["wrun-protocol"]),
    ("wrun-inference", &["wrun-protocol"]),
    ("wrun-gateway", &["wrun-net", "wrun-protocol"]),
    ("wrun-store", &["wrun-core", "wrun-protocol"]),
    (
        "wrun-server",
        &["wrun-core", "wrun-store", "wrun-component", "wrun-gateway", "wrun-net", "wrun-protocol"],
    ),
    ("wrun-sandbox", &["wrun-component", "wrun-inference", "wrun-protocol"]),
    (
        "wrun-worker",
        &["wrun-sandbox", "wrun-inference", "wrun-gateway", "wrun-net", "wrun-protocol"],
    ),
    (
        "wrun",
        &["wrun-server", "wrun-worker", "wrun-core", "wrun-component", "wrun-net", "wrun-protocol"],
    ),
    ("wrun-sdk", &["wrun-sdk-macros"]),
    ("wrun-sdk-macros", &[]),
    ("wrun-tests", &["*"]),
    ("wrun-benches", &["*"]),
    ("xtask", &[]),
];

/// Crates of the workspace at `folder` with the workspace's crates that each depends on,
/// whatever the kind of dependency.
fn imports(folder: &str) -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .current_dir(format!("{}/../{folder}", env!("CARGO_MANIFEST_DIR")))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let name = |value: &serde_json::Value| value["name"].as_str().unwrap().to_owned();
    let ours = |dependency: &&serde_json::Value| dependency["path"].is_string();
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap();
            // A crate may name itself, to have all its features in its tests.
            let itself = name(package);
            let imported = dependencies.iter().filter(ours).map(name);
            (itself.clone(), imported.filter(|import| *import != itself).collect())
        })
        .collect()
}

/// Every import that `rules` does not allow.
fn violations(imports: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut found = Vec::new();
    for (package, imported) in imports {
        let Some((_, allowed)) = RULES.iter().find(|(name, _)| name == package) else {
            found.push(format!("{package} has no line in the table of ARCHITECTURE.md"));
            continue;
        };
        let refused =
            |import: &&String| !allowed.contains(&"*") && !allowed.contains(&import.as_str());
        let lines = imported.iter().filter(refused);
        found.extend(lines.map(|import| format!("{package} may not import {import}")));
    }
    found
}

#[test]
fn crates_import_only_what_the_table_allows() {
    let imports = imports(".");
    assert!(imports.len() > 10, "cargo metadata names too few crates: {imports:?}");
    assert_eq!(violations(&imports), Vec::<String>::new());
}

#[test]
fn guests_import_the_sdk_alone() {
    for folder in ["examples", "tests/guests"] {
        for (package, imported) in imports(folder) {
            let sdk = BTreeSet::from(["wrun-sdk".to_owned()]);
            assert!(imported.is_subset(&sdk), "{folder}: {package} imports {imported:?}");
        }
    }
}

#[test]
fn a_forbidden_import_is_noticed() {
    let sneaky = BTreeMap::from([
        ("wrun-core".to_owned(), BTreeSet::from(["wrun-net".to_owned()])),
        ("wrun-shed".to_owned(), BTreeSet::new()),
    ]);
    assert_eq!(
        violations(&sneaky),
        [
            "wrun-core may not import wrun-net",
            "wrun-shed has no line in the table of ARCHITECTURE.md"
        ]
    );
}
