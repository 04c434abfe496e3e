use std::path::Path;

use super::*;

/// The smallest component that can be submitted.
const PROGRAM: &str = r#"(component
    (type $result (result))
    (core module $m (func (export "run") (result i32) i32.const 0))
    (core instance $i (instantiate $m))
    (func $run (result $result) (canon lift (core func $i "run")))
    (instance $run (export "run" (func $run)))
    (export "wasi:cli/run@0.2.0" (instance $run)))"#;

/// The workflow that `text` describes, beside the files that it may name.
fn workflow(text: &str) -> Result<Workflow, String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.wasm"), wat::parse_str(PROGRAM).unwrap()).unwrap();
    std::fs::write(folder.path().join("lines.txt"), "x\ny\n").unwrap();
    let path = folder.path().join("flow.toml");
    std::fs::write(&path, text).unwrap();
    let source = Source::read(&path, "job file", Exit::InvalidInput).unwrap();
    let loaded = load(&source, None).map_err(|error| without(folder.path(), &error.to_string()))?;
    Ok(loaded.encoded.decode().unwrap().0)
}

fn without(folder: &Path, text: &str) -> String {
    text.replace(&format!("{}/", folder.display()), "")
}

/// `text` in which `A` stands for the component.
fn refused(text: &str) -> String {
    workflow(&text.replace("A\n", "component = \"a.wasm\"\n")).unwrap_err()
}

#[test]
fn a_full_workflow_reads_in_the_order_of_the_file() {
    let workflow = workflow(
        r#"
        name = "thumbnails"
        [steps.list]
        component = "a.wasm"
        stdin = "x"
        [steps.resize]
        component = "a.wasm"
        for_each = { lines = "list" }
        retries = 3
        time_limit = "1m"
        timeout = "10m"
        may_fail = true
        [steps.check]
        component = "a.wasm"
        for_each_line = "lines.txt"
        [steps.an.other]
        [finally]
        component = "a.wasm"
        mounts = [{ output = "resize", path = "/in" }]
        "#
        .replace("        [steps.an.other]\n", "        [steps.sheet]\n        component = \"a.wasm\"\n        needs = [\"check\"]\n        mounts = [{ output = \"resize\", path = \"/in\" }, \"lines.txt:/x\"]\n        input = { output = \"list\" }\n        only_if = { output = \"list\", not_equals = \"no\" }\n")
        .as_str(),
    )
    .unwrap();
    let names: Vec<&str> = workflow.every_step().map(|(_, step)| step.name.as_str()).collect();
    assert_eq!(names, ["list", "resize", "check", "sheet", "finally"]);
    let [list, resize, check, sheet] = workflow.steps.as_slice() else { panic!() };
    assert_eq!(list.job.decode().unwrap().name, "");
    assert_eq!(resize.for_each, Some(ForEach::Lines(0)));
    assert_eq!((resize.timeout_ms, resize.may_fail), (Some(600_000), true));
    assert_eq!(resize.job.decode().unwrap().retry.retries, 3);
    assert_eq!(check.job.decode().unwrap().count, 2);
    assert_eq!((sheet.needs.as_slice(), sheet.input), (&[2][..], Some(0)));
    assert_eq!(sheet.mounts, [StepMount { step: 1, path: "/in".into() }]);
    assert_eq!(sheet.job.decode().unwrap().mounts[0].path, "/x");
    let only_if = Condition { step: 0, equals: false, text: "no".into() };
    assert_eq!(sheet.only_if, Some(only_if));
}

#[test]
fn the_files_name_is_the_workflows_unless_it_says_another() {
    let file = "[steps.a]\ncomponent = \"a.wasm\"\n";
    assert_eq!(workflow(file).unwrap().name, "flow");
}

/// Every error is told with file, line, column, and what to do.
#[test]
fn whatever_is_wrong_is_placed() {
    for (text, expected) in [
        (
            "[steps.a]\nA\nneeds = [\"xyz\"]\n[steps.bb]\nA\n",
            "flow.toml:3:10: `steps.a.needs`: there is no step `xyz`; the steps are a, bb",
        ),
        (
            "[steps.a]\nA\nneeds = [\"lits\"]\n[steps.list]\nA\n",
            "flow.toml:3:10: `steps.a.needs`: there is no step `lits`; did you mean `list`?",
        ),
        (
            "[steps.a]\nA\ninput = { output = \"x\" }\n",
            "flow.toml:3:20: `steps.a.input`: there is no step `x`",
        ),
        (
            "[steps.a]\nA\nneeds = [\"finally\"]\n[finally]\nA\n",
            "flow.toml:3:10: `steps.a.needs`: `finally` comes after every other step; leave it out",
        ),
        (
            "[steps.a]\nA\nneeds = [\"b\"]\n[steps.b]\nA\nneeds = [\"a\"]\n",
            "flow.toml:3:9: `steps.a.needs`: steps need each other in a circle: a → b → a",
        ),
        (
            "[steps.a]\nA\n[steps.b]\nA\ninput = { output = \"b\" }\n",
            "flow.toml:3:8: `steps.b.needs`: steps need each other in a circle: b → b",
        ),
        (
            "[steps.a]\nA\ncount = 2\n[steps.b]\nA\nfor_each = { lines = \"a\" }\n",
            "flow.toml:6:12: `steps.b.for_each`: `a` has many tasks",
        ),
        (
            "[steps.a]\nA\nfor_each = { line = \"a\" }\n",
            "flow.toml:3:14: unknown key `line`; did you mean `lines`?",
        ),
        (
            "[steps.a]\nA\nfor_each = { }\n",
            "flow.toml:3:12: `steps.a.for_each`: write one of `lines`, `json` and `tasks`",
        ),
        (
            "[steps.a]\nA\nneed = [\"b\"]\n",
            "flow.toml:3:1: unknown key `need`; did you mean `needs`?",
        ),
        (
            "[steps.a]\nA\nmemroy = 1\n",
            "flow.toml:3:1: unknown key `memroy`; did you mean `memory`?",
        ),
        ("[steps.a]\nA\nmemory = -1\n", "flow.toml:3:10: `steps.a.memory`: `-1` is not a size"),
        (
            "[steps.a]\nA\nmemory = 10\n",
            "flow.toml:3:10: `steps.a.memory`: 10 bytes; at least 1 MiB",
        ),
        ("[steps.a]\nA\nmounts = 7\n", "flow.toml:3:10: `steps.a.mounts`: invalid type"),
        (
            "[steps.a]\nA\nname = \"x\"\n",
            "flow.toml:3:8: `steps.a.name`: a step's job is named after",
        ),
        (
            "[steps.a]\nA\ntimeout = \"soon\"\n",
            "flow.toml:3:11: `steps.a.timeout`: `soon` is not a duration",
        ),
        (
            "[steps.a]\nA\nwhen = \"later\"\n",
            "flow.toml:3:8: `steps.a.when`: unknown variant `later`",
        ),
        (
            "[steps.a]\nA\ndepends_on = [\"3\"]\n",
            "flow.toml:3:14: `steps.a.depends_on`: say what comes before by `needs`",
        ),
        (
            "[steps.a]\nA\n[finally]\nA\nneeds = [\"a\"]\n",
            "flow.toml:5:9: `finally.needs`: the last step comes after",
        ),
        (
            "[steps.a]\nA\nonly_if = { output = \"a\" }\n",
            "flow.toml:3:11: `steps.a.only_if`: write one of `equals`",
        ),
        ("[steps.\"a b\"]\nA\n", "flow.toml:1:8: `steps.a b.name`: `a b` is not a name"),
        ("[steps.a]\nmemory = 10\n", "flow.toml:1:8: `component` is missing; add it"),
        (
            "[steps.a]\ncomponent = \"gone.wasm\"\n",
            "flow.toml:2:13: `steps.a.component`: cannot read the component",
        ),
        ("[steps]\n", "flow.toml:1:1: `steps`: 0; use 1 to"),
        ("steps = 3\n", "flow.toml:1:9: `steps`: write a table: [steps.NAME]"),
        ("count = 3\n[steps.a]\nA\n", "flow.toml:1:1: unknown key `count`; a workflow has `name`,"),
        ("name = \"a/b\"\n[steps.a]\nA\n", "flow.toml:1:8: `name`: `a/b` is not a name"),
        ("[steps.a]\nA\n[steps.a]\nA\n", "flow.toml:3:"),
        (
            "[steps.a]\nA\nstdin = \"x\"\n[steps.b]\nA\nstdin = \"x\"\ninput = { output = \"a\" }\n",
            "flow.toml:7:9: `steps.b.input`: it comes from another step and from elsewhere",
        ),
    ] {
        let error = refused(text);
        assert!(error.starts_with(expected), "{text}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn a_file_with_steps_or_a_last_step_is_a_workflow() {
    let is_one = |text: &str| is_workflow(&Source::from_text("x.toml", text, Exit::InvalidInput));
    assert!(is_one("[steps.a]\n") && is_one("[finally]\n"));
    assert!(!is_one("component = \"a.wasm\"\n") && !is_one("steps = = 3"));
}
