//! `--json` of every command: it parses, line by line, and is what the schema documents.

use harness::{Cluster, Settings, artefacts};
use serde_json::Value;

use crate::Desk;
use crate::desk::{guest, stderr, stdout};
use crate::schema::Schema;

fn lines(text: &str) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    text.lines().map(parse).collect()
}

#[test]
fn commands_about_work_print_what_is_documented() {
    let mut desk = Desk::start();
    let schema = Schema::of(&desk);
    schema.check("ready", &lines(&desk.dev().printed())[0]);
    let submitted = desk.json(&["submit", &guest("sleep_forever")]);
    schema.check("submit", &submitted);
    desk.running("1");
    schema.check("job", &desk.json(&["job", "1"]));
    schema.check("cancel", &desk.json(&["cancel", "1"]));
    desk.ended("1");
    let input = desk.write("in.txt", [b'a', 0xff, b'z']);
    let flags = ["--input", input.to_str().unwrap(), "--label", "a=b", "--time-limit", "5s"];
    desk.says(&[&["submit", &guest("cat")], &flags[..2]].concat());
    schema.check("job", &desk.ended("2"));
    let waiting = desk.wrun(&[&["submit", &guest("cat")], &flags[..]].concat());
    if waiting.status.success() {
        schema.check("job", &desk.json(&["job", "3"]));
        desk.says(&["cancel", "3"]);
    }
    let jobs = desk.json(&["jobs"]);
    schema.check("jobs", &jobs);
    assert!(jobs["jobs"].as_array().unwrap().len() >= 2);
    let output = desk.json(&["output", "2"]);
    schema.check("output", &output);
    assert_eq!(output["base64"], "Yf96", "what is no text is base64");
    let to_file = desk.json(&["output", "2", "-o", "out"]);
    schema.check("output", &to_file);
    assert_eq!((&to_file["file"], &to_file["size"]), (&"out".into(), &3.into()));
    for event in lines(&desk.says(&["logs", "2", "--json"])) {
        schema.check("event", &event);
    }
    schema.check("exit-codes", &desk.json(&["exit-codes"]));
    schema.check("nodes", &desk.json(&["nodes"]));
}

#[test]
fn an_attached_run_is_a_line_for_each_event() {
    let desk = Desk::start();
    let schema = Schema::of(&desk);
    let run = ["run", "--json", &guest("hello"), "--", "--exit", "3"];
    let output = desk.wrun(&run);
    assert_eq!((output.status.code(), stderr(&output)), (Some(3), String::new()));
    let events = lines(&stdout(&output));
    events.iter().for_each(|event| schema.check("event", event));
    let kinds: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!((kinds[0], *kinds.last().unwrap()), ("submitted", "ended"));
    let written = |stream: &str| -> String {
        let of = |event: &&Value| event["event"] == "log" && event["stream"] == stream;
        events.iter().filter(of).map(|event| event["text"].as_str().unwrap()).collect()
    };
    assert_eq!(written("stdout"), "Hello, wrun!\nI am task 0 of 1.\n");
    assert_eq!(written("stderr"), "ending with exit code 3, as asked\n");
    let end = events.last().unwrap();
    assert_eq!((&end["state"], &end["exit_code"]), (&"failed".into(), &3.into()));
    assert_eq!(end["failure"]["kind"], "exit");
}

/// One handler and an array of them: results are events among the others.
#[test]
fn results_of_handlers_are_events() {
    let desk = Desk::start();
    let schema = Schema::of(&desk);
    let input = desk.write("in.json", r#"[{"log": "hi"}]"#);
    for count in [1, 3] {
        let file = input.to_str().unwrap();
        let run = ["run", &guest("obedient_handler"), "--input", file, "--count"];
        let printed = desk.says(&[&run[..], &[&count.to_string(), "--json"]].concat());
        let events = lines(&printed);
        events.iter().for_each(|event| schema.check("event", event));
        let is_output = |event: &&Value| event["event"] == "output";
        let results: Vec<&Value> = events.iter().filter(is_output).collect();
        assert_eq!(results.len(), count, "{printed}");
        for (index, result) in results.iter().enumerate() {
            assert_eq!(result["task"], index);
            let report: Value = serde_json::from_str(result["text"].as_str().unwrap()).unwrap();
            assert_eq!(report["index"], index);
        }
        assert_eq!(events.last().unwrap()["event"], "ended", "it is the last line");
    }
    for event in lines(&desk.says(&["wait", "2", "--json"])) {
        schema.check("event", &event);
    }
}

#[test]
fn commands_about_the_cluster_print_what_is_documented() {
    let mut desk = Desk::of(Cluster::with(Settings::default()));
    let schema = Schema::of(&desk);
    let ready = lines(&desk.cluster().server.printed());
    schema.check("ready", &ready[0]);
    schema.check("ready", &lines(&desk.cluster().workers[0].printed())[0]);
    schema.check("nodes", &desk.json(&["nodes"]));
    schema.check("node", &desk.json(&["drain", "w1"]));
    schema.check("node", &desk.json(&["drain", "w1", "--undo"]));
    schema.check("token", &desk.json(&["token", "create"]));
    schema.check("credential", &desk.json(&["user", "add", "guests", "-o", "guests.toml"]));
    schema.check("project", &desk.json(&["new", "a-task"]));
    let init = ["server", "init", "--data", "other", "--listen", "127.0.0.1:7999"];
    let another = [&init[..], &["--credential", "other.toml"]].concat();
    schema.check("credential", &desk.json(&another));
}

#[test]
fn an_error_is_one_object_on_standard_error() {
    let desk = Desk::start();
    let schema = Schema::of(&desk);
    for (arguments, kind, code) in [
        (&["job", "99", "--json"][..], "not-found", 66),
        (&["run", "none.wasm", "--json"], "not-found", 66),
        (&["submit", "--json", "--count", "-1"], "usage", 2),
    ] {
        let output = desk.wrun(arguments);
        assert_eq!((output.status.code(), stdout(&output)), (Some(code), String::new()));
        let printed = lines(&stderr(&output));
        assert_eq!(printed.len(), 1);
        schema.check("failure", &printed[0]);
        assert_eq!(printed[0]["error"]["kind"], kind);
    }
}

/// Papers are made from the command line's own description.
#[test]
fn completions_and_man_pages_know_the_commands() {
    let desk = Desk::start();
    for shell in ["bash", "zsh", "fish"] {
        let script = desk.says(&["completions", shell]);
        assert!(script.contains("time-limit") && script.contains("drain"), "{shell}");
    }
    assert!(desk.says(&["man"]).contains(".TH wrun 1"));
    desk.says(&["man", "-o", "pages"]);
    for page in ["wrun.1", "wrun-run.1", "wrun-submit.1", "wrun-worker.1"] {
        assert!(desk.folder().join("pages").join(page).exists(), "{page}");
    }
    let documented = std::fs::read_to_string(artefacts::checkout("docs/exit-codes.md")).unwrap();
    for code in desk.json(&["exit-codes"])["exit_codes"].as_array().unwrap() {
        let row = format!("| {} | `{}` |", code["code"], code["kind"].as_str().unwrap());
        assert!(documented.contains(&row), "{row}");
    }
}
