//! Workflow files with what cannot be: file, line and key are in the message, and nothing of
//! the workflow is submitted.

use harness::{Cluster, artefacts};

use crate::{exit, goes_on, refused};

#[test]
fn what_a_workflow_file_says_wrongly_is_told_with_file_line_and_key() {
    let cluster = Cluster::start();
    std::fs::copy(artefacts::guest("noop"), cluster.folder().join("a.wasm")).unwrap();
    let invalid = exit::INVALID_INPUT;
    for (text, code, place, words) in [
        (
            "needs = [\"c\"]",
            invalid,
            "5:10: `steps.b.needs`",
            "there is no step `c`; the steps are a, b",
        ),
        ("needs = [\"b\"]", invalid, "5:9: `steps.b.needs`", "in a circle: b → b"),
        ("need = [\"a\"]", invalid, "5:1: unknown key `need`", "did you mean `needs`?"),
        ("memory = \"12 lions\"", invalid, "5:10: `steps.b.memory`", "is not a size"),
        ("timeout = 3", invalid, "5:11: `steps.b.timeout`", "is not a duration"),
        (
            "for_each = { lines = \"a\" }\ncount = 3",
            invalid,
            "6:9: `steps.b.count`",
            "leave it out",
        ),
        ("input = \"gone.txt\"", exit::NOT_FOUND, "5:9: `steps.b.input`", "no such file"),
        ("[finally]\nneeds = [\"a\"]", invalid, "5:1: `component` is missing", "add it"),
    ] {
        let file = format!(
            "[steps.a]\ncomponent = \"a.wasm\"\n[steps.b]\ncomponent = \"a.wasm\"\n{text}\n"
        );
        std::fs::write(cluster.folder().join("flow.toml"), file).unwrap();
        let output = cluster.wrun(&["submit", "flow.toml"]);
        refused(&output, code, &[&format!("flow.toml:{place}"), words]);
    }
    let file = "[steps.a]\ncomponent = \"a.wasm\"\n";
    std::fs::write(cluster.folder().join("flow.toml"), file).unwrap();
    let flags = ["submit", "flow.toml", "--memory", "1GiB"];
    refused(&cluster.wrun(&flags), invalid, &["`--memory` says something of one job", "in a step"]);
    let named = ["submit", "flow.toml", "--name", "a b"];
    refused(&cluster.wrun(&named), invalid, &["`--name`: `a b` is not a name"]);
    let schedule = ["schedule", "add", "nightly", "--cron", "0 3 * * *", "flow.toml"];
    refused(&cluster.wrun(&schedule), invalid, &["`flow.toml` is a workflow", "`wrun submit`"]);
    goes_on(&cluster, 0);
}
