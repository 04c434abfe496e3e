//! Models, as their page of the documentation tells of them: pushed, shown, shared, named by
//! work, and removed; by their owner and by another tenant.

use std::path::PathBuf;

use harness::{Cluster, client};
use serde_json::Value;

use crate::Desk;
use crate::desk::{guest, stderr, stdout};
use crate::schema::Schema;

/// A server and a node, each a process, and credentials of two tenants: `lab.toml` and
/// `shop.toml`.
fn desk() -> Desk {
    let desk = Desk::of(Cluster::start());
    desk.says(&["user", "add", "lab", "-o", "lab.toml"]);
    desk.says(&["user", "add", "shop", "-o", "shop.toml"]);
    desk.write("v1.onnx", "the first graph");
    desk.write("v2.onnx", "another graph");
    desk
}

fn of<'a>(tenant: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
    [&["--credential", tenant], arguments].concat()
}

fn lab(desk: &Desk, arguments: &[&str]) -> String {
    desk.says(&of("lab.toml", arguments))
}

fn shop(desk: &Desk, arguments: &[&str]) -> String {
    desk.says(&of("shop.toml", arguments))
}

/// What a command is refused with, which ends with that code.
fn refusal(desk: &Desk, tenant: &str, arguments: &[&str], code: i32) -> String {
    let output = desk.wrun(&of(tenant, arguments));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
    assert_eq!(stdout(&output), "", "{arguments:?}");
    stderr(&output)
}

fn digest(text: &str) -> String {
    client::digest(text.as_bytes()).to_string()
}

/// Where the node keeps a model.
fn on_the_node(desk: &Desk, text: &str) -> PathBuf {
    let cluster = desk.cluster.as_ref().unwrap();
    cluster.worker_data("w1").join("artefacts").join(digest(text))
}

#[test]
fn a_model_is_pushed_looked_at_and_removed() {
    let desk = desk();
    let schema = Schema::of(&desk);
    let json = |arguments: &[&str]| -> Value { desk.json(&of("lab.toml", arguments)) };
    let (first, second) = (digest("the first graph"), digest("another graph"));

    let settings = ["--max-batch", "8", "--max-delay", "5ms", "--target", "cpu"];
    let axes = ["--batch-axis", "input=0", "--batch-axis", "state=1"];
    let push = [&["model", "push", "vad", "v1.onnx"], &settings[..], &axes[..]].concat();
    let pushed = json(&push);
    schema.check("model-push", &pushed);
    assert_eq!(
        (&pushed["model_state"], &pushed["digest"]),
        (&"new".into(), &first.as_str().into())
    );
    let again = lab(&desk, &push);
    assert_eq!(again, format!("vad:latest is {} already\n", &first[..12]));
    lab(&desk, &["model", "push", "vad:v1", "v1.onnx"]);

    let page = json(&["model", "show", "vad"]);
    schema.check("model", &page);
    assert_eq!(page["batch_axes"], serde_json::json!({"input": 0, "state": 1}));
    assert_eq!((&page["max_batch"], &page["max_delay_ms"]), (&8.into(), &5.into()));
    assert_eq!((&page["size"], &page["tags"]), (&15.into(), &serde_json::json!(["latest", "v1"])));
    let text = lab(&desk, &["model", "show", "vad"]);
    for line in [
        "model       vad:latest",
        "target      cpu",
        "batches     at most 8 items, for up to 5 ms",
        "batch axes  input=0, state=1",
        "used by     nothing that lives",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }

    let moved = json(&["model", "push", "vad", "v2.onnx"]);
    assert_eq!((&moved["model_state"], &moved["replaced"]), (&"moved".into(), &first.into()));
    let other = lab(&desk, &["model", "push", "vad", "v2.onnx", "--max-batch", "1"]);
    let told = format!("vad:latest is {}, with other settings than before\n", &second[..12]);
    assert_eq!(other, told);

    let listed = json(&["models"]);
    schema.check("models", &listed);
    let tags: Vec<&Value> =
        listed["models"].as_array().unwrap().iter().map(|of| &of["tag"]).collect();
    assert_eq!(tags, ["latest", "v1"]);
    assert!(lab(&desk, &["models"]).starts_with("NAME"));

    let removed = json(&["model", "rm", "vad:v1"]);
    schema.check("model-change", &removed);
    assert_eq!((&removed["model_state"], &removed["uses_lost"]), (&"removed".into(), &0.into()));
    assert_eq!(lab(&desk, &["model", "rm", "vad"]), "vad:latest is removed\n");
    assert_eq!(json(&["models"])["models"], Value::Array(Vec::new()));
}

#[test]
fn what_is_no_model_to_push_is_refused_by_name() {
    let desk = desk();
    desk.write("empty.onnx", "");
    for (arguments, code, said) in [
        (&["vad", "none.onnx"][..], 66, "none.onnx"),
        (&["vad", "empty.onnx"], 65, "`empty.onnx`: it is empty"),
        (&["a b", "v1.onnx"], 2, "`a b` is not a model's name"),
        (&["vad:", "v1.onnx"], 2, "`` is not a model's tag"),
        (&["shop/vad", "v1.onnx"], 2, "models are pushed to one's own tenant"),
        (&["vad", "v1.onnx", "--max-batch", "0"], 2, "`0`: write a whole number from 1 to 1024"),
        (&["vad", "v1.onnx", "--max-delay", "1h"], 65, "`--max-delay`: 3600000 ms; at most 10 s"),
        (&["vad", "v1.onnx", "--batch-axis", "x"], 2, "`x`: write TENSOR=AXIS"),
        (&["vad", "v1.onnx", "--batch-axis", "x=99"], 65, "`--batch-axis`: `x`: axis 99"),
        (
            &["vad", "v1.onnx", "--batch-axis", "x=0", "--batch-axis", "x=1"],
            65,
            "`--batch-axis`: `x` is named twice",
        ),
        (&["vad", "v1.onnx", "--encoding", "pickle"], 2, "possible values: onnx"),
    ] {
        let error = refusal(&desk, "lab.toml", &[&["model", "push"], arguments].concat(), code);
        assert!(error.contains(said), "{arguments:?}: {error}");
    }
    assert_eq!(lab(&desk, &["models"]), "");
}

#[test]
fn a_job_keeps_what_it_named_and_its_node_has_it() {
    let desk = desk();
    lab(&desk, &["model", "push", "vad", "v1.onnx"]);
    let sleeper = guest("sleeper");
    let submit = ["submit", "--model", "voice=vad", &sleeper, "--", "60000"];
    let job = lab(&desk, &submit);
    let job = job.trim();
    let page = || desk.json(&of("lab.toml", &["job", job]));
    crate::until("the job runs", || (page()["tasks_shown"][0]["state"] == "running").then_some(()));
    let kept = std::fs::read_to_string(on_the_node(&desk, "the first graph")).unwrap();
    assert_eq!(kept, "the first graph");

    lab(&desk, &["model", "push", "vad", "v2.onnx"]);
    let schema = Schema::of(&desk);
    schema.check("job", &page());
    let named = &page()["spec"]["models"][0];
    assert_eq!(
        (&named["guest_name"], &named["model"]),
        (&"voice".into(), &"lab/vad:latest".into())
    );
    assert_eq!(named["digest"], digest("the first graph"));
    let shown = format!("model      voice = lab/vad:latest ({})", &digest("the first graph")[..12]);
    let text = lab(&desk, &["job", job]);
    assert!(text.contains(&shown), "{text}");

    let second = lab(&desk, &submit);
    let used = format!("used by     job {}", second.trim());
    let text = lab(&desk, &["model", "show", "vad"]);
    assert!(text.contains(&used), "the first job uses what no tag points at: {text}");
    let refused = refusal(&desk, "lab.toml", &["model", "rm", "vad"], 72);
    let said = format!("model `vad:latest` is used by job {}: wait for their end", second.trim());
    assert!(refused.contains(&said), "{refused}");
    let removed = desk.json(&of("lab.toml", &["model", "rm", "vad", "--force"]));
    assert_eq!(removed["uses_lost"], 1);
    let gone = refusal(&desk, "lab.toml", &submit, 66);
    assert!(gone.contains("there is no model `vad`"), "{gone}");
    assert_eq!(page()["state"], "running", "{}", page());
}

#[test]
fn a_job_runs_without_a_model_that_was_taken_away() {
    let desk = desk();
    lab(&desk, &["model", "push", "vad", "v1.onnx"]);
    let job = lab(&desk, &["submit", "--hold", "--model", "vad", &guest("hello")]);
    lab(&desk, &["model", "rm", "vad", "--force"]);
    lab(&desk, &["release", job.trim()]);
    lab(&desk, &["wait", job.trim()]);
    let page = desk.json(&of("lab.toml", &["job", job.trim()]));
    assert_eq!(page["state"], "succeeded", "{page}");
    assert!(!on_the_node(&desk, "the first graph").exists());
}

#[test]
fn a_model_that_is_not_there_refuses_the_submit_as_a_whole() {
    let desk = desk();
    lab(&desk, &["model", "push", "magika", "v1.onnx"]);
    let hello = guest("hello");
    let refused = |models: &[&str]| {
        let arguments = [&["submit"], models, &[hello.as_str()][..]].concat();
        refusal(&desk, "lab.toml", &arguments, 66)
    };
    let error = refused(&["--model", "magika", "--model", "magica"]);
    assert!(error.contains("there is no model `magica`; did you mean `magika`?"), "{error}");
    let error = refused(&["--model", "magika:v2"]);
    assert!(error.contains("model `magika` has no tag `v2`; it has `latest`"), "{error}");
    let twice = ["submit", "--model", "magika", "--model", "magika:latest", &hello];
    let error = refusal(&desk, "lab.toml", &twice, 65);
    assert!(error.contains("`--model`: the guest would call two models `magika`"), "{error}");
    let cached = ["submit", "--cache", "--model", "magika", &hello];
    let error = refusal(&desk, "lab.toml", &cached, 65);
    assert!(error.contains("`models`: not with `cache`"), "{error}");
    assert_eq!(lab(&desk, &["jobs"]), "");
}

#[test]
fn files_of_jobs_services_and_workflows_name_models() {
    let desk = desk();
    lab(&desk, &["model", "push", "vad", "v1.onnx"]);
    for name in ["hello", "sleeper"] {
        std::fs::copy(guest(name), desk.folder().join(format!("{name}.wasm"))).unwrap();
    }
    desk.write(
        "job.toml",
        "component = \"hello.wasm\"\nmodels = [\"voice=vad\"]\nload_models = true\n",
    );
    let job = lab(&desk, &["submit", "job.toml"]);
    let page = desk.json(&of("lab.toml", &["job", job.trim()]));
    assert_eq!(page["spec"]["models"][0]["guest_name"], "voice");
    assert_eq!(page["spec"]["load_models"], true);

    let service =
        "component = \"sleeper.wasm\"\nargs = [\"3600000\"]\nmodels = [\"vad\"]\n[program]\n";
    desk.write("ear.toml", service);
    let deploy = ["deploy", "ear.toml", "--detach"];
    assert_eq!(desk.json(&of("lab.toml", &deploy))["revision"], 1);
    assert_eq!(desk.json(&of("lab.toml", &deploy))["changed"], false, "the same twice");
    lab(&desk, &["model", "push", "vad", "v2.onnx"]);
    let moved = desk.json(&of("lab.toml", &deploy));
    assert_eq!((&moved["revision"], &moved["changed"]), (&2.into(), &true.into()));

    let step = "component = \"hello.wasm\"\nmodels = [\"vad\"]\n";
    desk.write("flow.toml", format!("[steps.a]\n{step}[steps.b]\nneeds = [\"a\"]\n{step}"));
    let flow = lab(&desk, &["submit", "flow.toml"]);
    lab(&desk, &["wait", flow.trim()]);
    desk.write("bad.toml", "[steps.a]\ncomponent = \"hello.wasm\"\nmodels = [\"vat\"]\n");
    let error = refusal(&desk, "lab.toml", &["submit", "bad.toml"], 66);
    assert!(error.contains("step `a`: there is no model `vat`; did you mean `vad`?"), "{error}");

    let add = ["schedule", "add", "nightly", "--cron", "@daily", "--model", "vad", "hello.wasm"];
    lab(&desk, &add);
    let page = desk.json(&of("lab.toml", &["model", "show", "vad"]));
    let kinds: Vec<&Value> =
        page["used_by"].as_array().unwrap().iter().map(|of| &of["kind"]).collect();
    assert_eq!(kinds, ["service", "schedule"], "{page}");
}

#[test]
fn a_shared_model_is_used_and_not_changed_by_others() {
    let desk = desk();
    lab(&desk, &["model", "push", "vad", "v1.onnx"]);
    lab(&desk, &["model", "push", "secret", "v2.onnx"]);
    let hello = guest("hello");
    let submit = ["submit", "--hold", "--model", "lab/vad", &hello];
    let not_yet = refusal(&desk, "shop.toml", &submit, 66);
    assert!(not_yet.contains("there is no model `lab/vad`"), "{not_yet}");

    assert_eq!(
        lab(&desk, &["model", "share", "vad", "--with", "shop"]),
        "vad is shared with shop\n"
    );
    let names = |rows: Value| -> Vec<String> {
        let name = |row: &Value| {
            format!("{}/{}", row["tenant"].as_str().unwrap(), row["name"].as_str().unwrap())
        };
        rows["models"].as_array().unwrap().iter().map(name).collect()
    };
    assert_eq!(names(desk.json(&of("shop.toml", &["models"]))), ["lab/vad"]);
    let held = shop(&desk, &submit);
    shop(&desk, &["release", held.trim()]);
    shop(&desk, &["wait", held.trim()]);
    assert!(on_the_node(&desk, "the first graph").exists(), "its owner's blob, for shop's job");

    let waits = shop(&desk, &submit);
    let page = desk.json(&of("lab.toml", &["model", "show", "vad"]));
    assert_eq!(page["used_by_others"], serde_json::json!([{"tenant": "shop", "uses": 1}]));
    assert_eq!(page["used_by"], Value::Array(Vec::new()), "and not which");
    let seen = desk.json(&of("shop.toml", &["model", "show", "lab/vad"]));
    assert_eq!(seen["used_by"][0]["job"].to_string(), waits.trim());
    assert_eq!(seen["shared_with"], Value::Array(Vec::new()), "that is its owner's to know");

    for arguments in [
        &["model", "rm", "lab/vad"][..],
        &["model", "share", "lab/vad", "--with", "other"],
        &["model", "unshare", "lab/vad", "--with", "shop"],
    ] {
        let denied = refusal(&desk, "shop.toml", arguments, 77);
        assert!(denied.contains("model `lab/vad` is tenant lab's"), "{denied}");
    }
    for arguments in [&["model", "rm", "lab/secret"][..], &["model", "show", "lab/secret"]] {
        let hidden = refusal(&desk, "shop.toml", arguments, 66);
        assert!(hidden.contains("there is no model `lab/secret`"), "{hidden}");
    }
    refusal(&desk, "shop.toml", &["models", "--all"], 77);
    assert_eq!(names(desk.json(&["models", "--all"])), ["lab/secret", "lab/vad"], "an admin");

    let unshare = ["model", "unshare", "vad", "--with", "shop"];
    let refused = refusal(&desk, "lab.toml", &unshare, 72);
    assert!(refused.contains("used by 1 job, workflow or schedule of tenant shop"), "{refused}");
    let forced = desk.json(&of("lab.toml", &[&unshare[..], &["--force"]].concat()));
    assert_eq!((&forced["model_state"], &forced["uses_lost"]), (&"unshared".into(), &1.into()));
    refusal(&desk, "shop.toml", &submit, 66);
    // An admin may take away what is anybody's.
    assert_eq!(desk.says(&["model", "rm", "lab/secret"]), "lab/secret:latest is removed\n");
}

#[test]
fn a_blob_of_another_tenant_is_no_model_to_push() {
    let desk = desk();
    lab(&desk, &["model", "push", "vad", "v1.onnx"]);
    // The same bytes are uploaded again for the other tenant: its file is read and sent.
    shop(&desk, &["model", "push", "vad", "v1.onnx"]);
    let blobs = desk.cluster.as_ref().unwrap().server_data().join("blobs");
    let digest = digest("the first graph");
    for tenant in ["lab", "shop"] {
        let blob = blobs.join(tenant).join(&digest[..2]).join(&digest);
        assert!(blob.exists(), "{}", blob.display());
    }
}
