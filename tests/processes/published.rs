//! A program from crates.io that knows nothing of wrun: `choose`, which prints columns.

use harness::{Cluster, artefacts};

#[test]
fn a_published_program_runs_unmodified_over_real_files() {
    let cluster = Cluster::start();
    let component = artefacts::published("choose").display().to_string();
    let file = artefacts::checkout("LICENSE");
    let mount = format!("{}:/LICENSE", file.display());

    let printed =
        cluster.stdout(&["run", "--mount", &mount, &component, "--", "-i", "/LICENSE", "1"]);

    let text = std::fs::read_to_string(&file).unwrap();
    let second = |line: &str| line.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let expected: Vec<String> = text.lines().map(second).collect();
    let found: Vec<&str> = printed.lines().collect();
    assert!(expected.iter().any(|word| !word.is_empty()));
    assert_eq!(found, expected);
}
