//! Job files with what cannot be: file, line and key are in the message.

use harness::{Cluster, artefacts};

use crate::{exit, goes_on, refused};

#[test]
fn what_a_job_file_says_wrongly_is_told_with_file_line_and_key() {
    let cluster = Cluster::start();
    std::fs::copy(artefacts::guest("noop"), cluster.folder().join("noop.wasm")).unwrap();
    std::fs::write(cluster.folder().join("job.empty"), "").unwrap();
    let invalid = exit::INVALID_INPUT;
    for (line, code, place, words) in [
        ("memroy = \"1GiB\"", invalid, "2:1: unknown key `memroy`", "did you mean `memory`?"),
        ("colour = \"red\"", invalid, "2:1: unknown key `colour`", "known here: component"),
        ("[retry]\nbackof = \"1s\"", invalid, "3:1: unknown key `backof`", "`backoff`?"),
        ("count = -3", invalid, "2:9: `count`", "from 1 to 10000000"),
        ("count = 0", invalid, "2:9: `count`", "from 1 to 10000000"),
        ("count = 99999999999999", invalid, "2:9: `count`", "from 1 to 10000000"),
        ("count = 99999999999999999999999", invalid, "2:9: `count`", "from 1 to 10000000"),
        ("count = \"three\"", invalid, "2:9: `count`", "expected a whole number"),
        ("cpu = -1", invalid, "2:7: `cpu`", "negative; write cores"),
        ("cpu = 1e30", invalid, "2:7: `cpu`", "too large; write cores"),
        ("cpu = nan", invalid, "2:7: `cpu`", "not a number; write cores"),
        ("cpu = 64", invalid, "2:7: `cpu`", "at most 1 CPU; use `count`"),
        ("memory = \"-1\"", invalid, "2:10: `memory`", "negative; write"),
        ("memory = 12", invalid, "2:10: `memory`", "at least 1 MiB"),
        ("memory = \"999999999TiB\"", invalid, "2:10: `memory`", "too large; write"),
        ("time_limit = \"-2s\"", invalid, "2:14: `time_limit`", "negative; write"),
        ("retries = 999999999", invalid, "2:11: `retries`", "from 0 to 1000"),
        ("priority = 99999999999", invalid, "2:12: `priority`", "write a whole number from"),
        ("input = ", invalid, "2:", "`input`"),
        (
            "input = \"gone.txt\"",
            exit::NOT_FOUND,
            "2:9: `input`",
            "`gone.txt`: there is no such file",
        ),
        ("for_each = 3", invalid, "2:12: `for_each`", "expected a sequence"),
        ("for_each = []", invalid, "2:12: `for_each`", "no items; give at least one"),
        ("for_each = [\"a\", 1]", invalid, "2:18: `for_each`", "expected a string"),
        (
            "for_each = [\"a\"]\ncount = 1",
            invalid,
            "3:9: `count`",
            "`for_each` makes as many tasks as there are items; remove one of them",
        ),
        (
            "stdin = \"x\"\nfor_each_line = \"y\"",
            invalid,
            "3:17: `for_each_line`",
            "`stdin` and `for_each_line` cannot both be set",
        ),
        ("for_each_line = \"job.empty\"", invalid, "2:17: `for_each_line`", "has no lines"),
        ("for_each_line = \".\"", invalid, "2:17: `for_each_line`", "it is not a file"),
        (
            "for_each_line = \"gone.txt\"",
            exit::NOT_FOUND,
            "2:17: `for_each_line`",
            "`gone.txt`: there is no such file",
        ),
        (
            "mounts = [\"gone:/x\"]",
            exit::NOT_FOUND,
            "2:10: `mounts`",
            "`gone`: there is no such file",
        ),
    ] {
        let text = format!("component = \"noop.wasm\"\n{line}\n");
        std::fs::write(cluster.folder().join("job.toml"), text).unwrap();
        let output = cluster.wrun(&["submit", "job.toml"]);
        refused(&output, code, &[&format!("job.toml:{place}"), words]);
    }
    for (text, code, words) in [
        ("component = \"gone.wasm\"\n", exit::NOT_FOUND, "job.toml:1:13: `component`"),
        ("count = 3\n", invalid, "`component` is missing; add it"),
        ("component = 7\n", invalid, "job.toml:1:13: `component`"),
        ("not toml at all", invalid, "job.toml:1:"),
    ] {
        std::fs::write(cluster.folder().join("job.toml"), text).unwrap();
        refused(&cluster.wrun(&["submit", "job.toml"]), code, &["job.toml", words]);
    }
    refused(
        &cluster.wrun(&["submit", "gone.toml"]),
        exit::NOT_FOUND,
        &["`gone.toml`", "check the path"],
    );
    goes_on(&cluster, 0);
}

#[test]
fn flags_are_held_to_the_same() {
    let cluster = Cluster::start();
    std::fs::copy(artefacts::guest("noop"), cluster.folder().join("noop.wasm")).unwrap();
    for (flag, words) in [
        ("--count=-3", "from 1 to 10000000"),
        ("--count=99999999999", "from 1 to 10000000"),
        ("--memory=-1", "it is negative; write"),
        ("--time-limit=soon", "is not a duration"),
        ("--colour", "unexpected argument '--colour'"),
    ] {
        refused(&cluster.wrun(&["submit", "noop.wasm", flag]), exit::USAGE, &[words, "--help`"]);
    }
    for other in ["--count=3", "--input=x"] {
        let flags = ["submit", "noop.wasm", "--each-line=lines.txt", other];
        refused(&cluster.wrun(&flags), exit::USAGE, &["cannot be used with", "--help`"]);
    }
    let job = "component = \"noop.wasm\"\nfor_each = [\"a\"]\n";
    std::fs::write(cluster.folder().join("job.toml"), job).unwrap();
    let flags = ["submit", "job.toml", "--count=3"];
    let words = ["`--count`: the job file has an input for each task", "--each-line FILE"];
    refused(&cluster.wrun(&flags), exit::INVALID_INPUT, &words);
    goes_on(&cluster, 0);
}
