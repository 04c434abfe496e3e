//! Workflows, as their page of the documentation tells of them.

use harness::{Cluster, Settings, artefacts};
use serde_json::Value;

use crate::desk::{stderr, stdout};
use crate::schema::Schema;
use crate::{Desk, until};

/// A desk with guests in its folder.
fn desk(guests: &[&str]) -> Desk {
    with_guests(Desk::start(), guests)
}

fn with_guests(desk: Desk, guests: &[&str]) -> Desk {
    for guest in guests {
        let wasm = format!("{guest}.wasm");
        std::fs::copy(artefacts::guest(guest), desk.folder().join(wasm)).unwrap();
    }
    desk
}

fn step<'a>(page: &'a Value, name: &str) -> &'a Value {
    let steps = page["steps"].as_array().unwrap();
    steps.iter().find(|step| step["name"] == name).unwrap_or_else(|| panic!("{name}: {page:#}"))
}

fn states(page: &Value) -> Vec<(&str, &str)> {
    let steps = page["steps"].as_array().unwrap();
    let text = |value: &'_ Value| -> &'static str { value.as_str().unwrap().to_owned().leak() };
    steps.iter().map(|step| (text(&step["name"]), text(&step["state"]))).collect()
}

/// The file of the example, with the paths of the desk.
fn census(desk: &Desk) {
    let text =
        std::fs::read_to_string(artefacts::checkout("examples/census/workflow.toml")).unwrap();
    let text = text.replace("../target/wasm32-wasip2/release/", "");
    desk.write("workflow.toml", text.replace("../word-count/", ""));
    let declaration = artefacts::checkout("examples/word-count/declaration.txt");
    std::fs::copy(declaration, desk.folder().join("declaration.txt")).unwrap();
}

#[test]
fn the_example_is_that_of_the_documentation() {
    let page = std::fs::read_to_string(artefacts::checkout("docs/workflows.md")).unwrap();
    let file = artefacts::checkout("examples/census/workflow.toml");
    let file = std::fs::read_to_string(file).unwrap();
    assert!(page.contains(&format!("```toml\n{file}```\n")), "docs/workflows.md shows the file");
}

#[test]
fn the_example_runs_and_is_shown_as_a_graph() {
    let desk = desk(&["census"]);
    census(&desk);
    let output = desk.wrun(&["run", "workflow.toml"]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(stdout(&output), "1335 words of 6605 letters in 34 paragraphs\n");
    assert!(said.contains("workflow 1: split succeeded, job 2\n"), "{said}");
    assert!(said.contains("again skipped: the output of `judge` is not what"), "{said}");
    let graph = desk.says(&["job", "1"]);
    println!("{graph}");
    for line in
        ["✓ split ", "└─✓ count ", "  └─✓ sum ", "    └─✓ judge ", "      └─- again ", "✓ finally "]
    {
        assert!(graph.lines().any(|shown| shown.starts_with(line)), "`{line}`: {graph}");
    }
    let page = desk.json(&["job", "1"]);
    Schema::of(&desk).check("workflow", &page);
    assert_eq!(step(&page, "count")["tasks"]["succeeded"], 34);
    assert_eq!(desk.says(&["output", "1", "--step", "judge"]), "long\n");
    assert_eq!(desk.says(&["output", "1"]), stdout(&output), "as `run` printed it");
    let listed = desk.says(&["jobs"]);
    assert!(listed.lines().any(|row| row.contains("census/sum") && row.ends_with("step of 1")));
    assert!(listed.lines().any(|row| row.ends_with("workflow")), "{listed}");
    let rows = desk.json(&["jobs"]);
    Schema::of(&desk).check("jobs", &rows);
    assert_eq!(rows["jobs"][0]["workflow"], 1, "{rows:#}");
    let counted = desk.says(&["job", "1", "--step", "count"]);
    assert!(counted.contains("census/count") && counted.contains("one of 34 items"), "{counted}");
}

#[test]
fn a_failed_workflow_runs_again_and_reuses_what_succeeded() {
    let desk = desk(&["cat", "flaky"]);
    desk.write(
        "flow.toml",
        "[steps.first]\ncomponent = \"cat.wasm\"\nstdin = \"x\"\n\
         [steps.second]\ncomponent = \"flaky.wasm\"\nargs = [\"9\"]\nneeds = [\"first\"]\n\
         [steps.third]\ncomponent = \"cat.wasm\"\nneeds = [\"second\"]\n\
         [steps.alarm]\ncomponent = \"cat.wasm\"\nwhen = \"failure\"\nneeds = [\"second\"]\n\
         [finally]\ncomponent = \"cat.wasm\"\nstdin = \"over\"\n",
    );
    let output = desk.wrun(&["run", "flow.toml"]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("first failure: step `second`: see `wrun job 3`"), "{said}");
    assert!(said.contains("`wrun rerun 1` runs it again"), "{said}");
    assert!(stdout(&output).ends_with("over"), "the last step ran: {}", stdout(&output));
    let page = desk.json(&["job", "1"]);
    assert_eq!(page["state"], "failed");
    let of_all = [
        ("first", "succeeded"),
        ("second", "failed"),
        ("third", "skipped"),
        ("alarm", "succeeded"),
        ("finally", "succeeded"),
    ];
    assert_eq!(states(&page), of_all);

    let again = desk.says(&["rerun", "1"]);
    let again = again.trim_end();
    assert_eq!(desk.wrun(&["wait", again]).status.code(), Some(1));
    let page = desk.json(&["job", again]);
    assert_eq!((&page["rerun_of"], &step(&page, "first")["state"]), (&1.into(), &"reused".into()));
    assert_eq!(desk.says(&["output", again, "--step", "first"]), "x");
    let wrong = desk.wrun(&["rerun", "1", "--from", "frist"]);
    assert_eq!(wrong.status.code(), Some(66), "{}", stderr(&wrong));
}

#[test]
fn a_workflow_that_runs_again_does_anew_only_what_has_changed() {
    let cluster = Cluster::with(Settings { workers: 1, ..Settings::default() });
    let mut desk = with_guests(Desk::of(cluster), &["census"]);
    desk.write(
        "flow.toml",
        "[steps.split]\ncomponent = \"census.wasm\"\nargs = [\"split\"]\ninput = \"text\"\n\
         cache = true\n\
         [steps.count]\ncomponent = \"census.wasm\"\nargs = [\"count\"]\ncache = true\n\
         for_each = { lines = \"split\" }\n\
         [steps.sum]\ncomponent = \"census.wasm\"\nargs = [\"sum\"]\ncache = true\n\
         mounts = [{ output = \"count\", path = \"/counts\" }]\n",
    );
    let run = |desk: &Desk, text: &str| {
        desk.write("text", text);
        let flow = desk.submit(&["flow.toml"]);
        assert_eq!(desk.wrun(&["wait", &flow]).status.code(), Some(0));
        let ran = |name: &str| {
            let page = desk.json(&["job", &flow, "--step", name]);
            let given = page["remembered"].as_array().unwrap().iter();
            let given: u64 = given.map(|of| of["count"].as_u64().unwrap()).sum();
            page["tasks"]["succeeded"].as_u64().unwrap() - given
        };
        (["split", "count", "sum"].map(ran), desk.says(&["output", &flow]))
    };

    let first = run(&desk, "one two\n\nthree\n\nfour\n");
    assert_eq!(first.0, [1, 3, 1]);
    let spaced = run(&desk, "one two\n\n\n\nthree\n\nfour\n");
    assert_eq!(spaced, ([1, 0, 0], first.1.clone()), "split anew, into the same paragraphs");
    let changed = run(&desk, "one two\n\nthree\n\nfour five six\n");
    assert_eq!(changed.0, [1, 3, 1], "an items file counts as a whole");
    // Nobody is left to run anything.
    desk.cluster().workers[0].kill();
    assert_eq!(run(&desk, "one two\n\nthree\n\nfour\n"), ([0, 0, 0], first.1));
}

#[test]
fn what_is_asked_of_a_step_that_is_not_there_is_told() {
    let desk = desk(&["cat"]);
    desk.write("flow.toml", "[steps.a]\ncomponent = \"cat.wasm\"\n[steps.b]\ncomponent = \"cat.wasm\"\nneeds = [\"a\"]\nwhen = \"failure\"\n");
    let flow = desk.submit(&["flow.toml"]);
    assert_eq!(desk.wrun(&["wait", &flow]).status.code(), Some(0));
    for (arguments, code, words) in [
        (
            vec!["logs", &flow],
            65,
            "is a workflow, and has no tasks of its own; choose with --step; its steps are a, b",
        ),
        (vec!["output", &flow, "--step", "c"], 66, "has no step `c`; its steps are a, b"),
        (
            vec!["logs", &flow, "--step", "b"],
            72,
            "step `b` is skipped and has no job: none of the steps before it failed",
        ),
        (vec!["output", "2", "--step", "a"], 65, "job 2 is no workflow"),
        (vec!["wait", &flow, "--task", "0"], 65, "choose with --step"),
        (vec!["explain", &flow], 72, "has ended; `wrun rerun 1` runs it again"),
        (vec!["submit", "flow.toml", "--count", "3"], 65, "`--count` says something of one job"),
    ] {
        let output = desk.wrun(&arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(words), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn a_cancelled_workflow_ends_so_and_json_tells_of_every_step() {
    let desk = desk(&["sleep_forever", "cat"]);
    desk.write("flow.toml", "[steps.long]\ncomponent = \"sleep_forever.wasm\"\n[steps.after]\ncomponent = \"cat.wasm\"\nneeds = [\"long\"]\n");
    let flow = desk.submit(&["flow.toml"]);
    until("the step runs", || {
        let page = desk.json(&["job", &flow]);
        (step(&page, "long")["tasks"]["running"] == 1).then_some(())
    });
    let shown = desk.says(&["job", &flow]);
    assert!(shown.contains("● long") && shown.contains("└─○ after"), "{shown}");
    desk.says(&["cancel", &flow]);
    let waited = desk.wrun(&["wait", &flow, "--json"]);
    assert_eq!(waited.status.code(), Some(130), "{}", stderr(&waited));
    let schema = Schema::of(&desk);
    for line in stdout(&waited).lines() {
        schema.check("event", &serde_json::from_str(line).unwrap());
    }
    let last: Value = serde_json::from_str(stdout(&waited).lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["exit_code"]), (&"ended".into(), &130.into()));
}

#[test]
fn what_each_open_step_waits_for_is_explained() {
    let desk = desk(&["noop"]);
    let first = "[steps.first]\ncomponent = \"noop.wasm\"\nhold = true\n";
    let second = "[steps.second]\ncomponent = \"noop.wasm\"\nneeds = [\"first\"]\n";
    desk.write("held.toml", format!("{first}{second}"));
    let id = desk.says(&["submit", "held.toml"]);
    let id = id.trim();
    let explained = || desk.json(&["explain", id]);
    let explanation = || explained()["open_steps"][0]["explanation"].is_object().then_some(());
    until("the first step is submitted", explanation);
    let said = desk.says(&["explain", id]);
    assert!(said.starts_with("workflow 1: 2 of its 2 steps are open\n"), "{said}");
    assert!(said.contains("first (running), job 2: 1 task waits"), "{said}");
    assert!(said.contains("it is held"), "{said}");
    assert!(said.ends_with("second (waiting) for first\n"), "{said}");
    let page = explained();
    Schema::of(&desk).check("explain-workflow", &page);
    assert_eq!(page["open_steps"][1]["waits_for"][0], "first");
    desk.says(&["release", "2"]);
    desk.says(&["wait", id]);
    assert_eq!(desk.wrun(&["explain", id]).status.code(), Some(72), "it has ended");
}
