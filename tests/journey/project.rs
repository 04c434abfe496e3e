//! From nothing to a running task: `wrun new`, `wrun build`, `wrun run`.

use std::path::Path;

use crate::Desk;
use crate::desk::{stderr, stdout};
use crate::schema::Schema;

/// The slowest of these tests: it builds the SDK and what it stands on, in a build folder
/// that stays, so that only the first time is slow.
#[test]
fn a_new_project_builds_and_runs() {
    let desk = Desk::start();
    let made = desk.says(&["new", "greeter"]);
    assert!(made.contains("wrun build greeter"), "it says what is next: {made}");
    assert_eq!(desk.wrun(&["new", "greeter"]).status.code(), Some(72), "nothing is overwritten");

    let binary = harness::artefacts::wrun();
    let target = binary.parent().and_then(Path::parent).unwrap().join("projects");
    let mut command = desk.command();
    // The toolchain is that of the tests; only wrun is at home elsewhere.
    for name in ["HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"] {
        match std::env::var_os(name) {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    for name in ["RUSTC_BOOTSTRAP", "RUSTFLAGS", "CARGO_UNSTABLE_FEATURE_UNIFICATION"] {
        command.env_remove(name);
    }
    command.env_remove("CARGO_RESOLVER_FEATURE_UNIFICATION");
    command.args(["build", "--json", "greeter"]).env("CARGO_TARGET_DIR", target);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let built: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    Schema::of(&desk).check("component", &built);
    assert_eq!(built["kind"], "handler");
    let component = built["path"].as_str().unwrap();

    let output = desk.fed(&["run", component], br#"{"name": "world"}"#);
    assert_eq!(stdout(&output), r#"{"greeting":"Hello, world!"}"#, "{}", stderr(&output));
    let output = desk.fed(&["run", component], br#"{"name": ""}"#);
    assert_eq!(output.status.code(), Some(120));
    assert!(stderr(&output).contains("nobody to greet"), "{}", stderr(&output));
}
