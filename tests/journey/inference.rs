//! Guests that run models through `wasi:nn`, from the model's push to what the guest prints.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use harness::{http, models};
use serde_json::{Value, json};

use crate::desk::{guest, stderr, stdout};
use crate::schema::Schema;
use crate::services::served;
use crate::{Desk, until};

/// A cluster that has the model `double`.
fn desk() -> Desk {
    let desk = Desk::start();
    desk.write("double.onnx", models::double());
    desk.says(&["model", "push", "double", "double.onnx"]);
    desk
}

/// What a guest prints that does these steps, with such flags of `wrun run`.
fn steps(desk: &Desk, flags: &[&str], steps: &[&str]) -> String {
    let guest = guest("nn-obedient");
    desk.says(&[&["run"], flags, &[&guest, "--"], steps].concat())
}

#[test]
fn a_guest_runs_a_model_that_its_job_names() {
    let desk = desk();
    let run = "run:x=fp32:2x2:1/2/3/-4";
    assert_eq!(
        steps(&desk, &["--model", "double"], &["load:double", run]),
        "loaded\ny Fp32 2x2 2/4/6/-8\n"
    );
    let renamed = steps(&desk, &["--model", "twice=double"], &["load:double", "load:twice", run]);
    assert_eq!(
        renamed,
        "NotFound: the job names no model `double` (it names: twice): add it to `models`\n\
         loaded\ny Fp32 2x2 2/4/6/-8\n"
    );
    let array = ["--model", "double", "--count", "40"];
    let all = steps(&desk, &array, &["load:double", "times:50:x=fp32:1x2:0.5/0.25"]);
    assert_eq!(all.matches("y Fp32 1x2 1/0.5").count(), 40, "{all}");
}

/// What a command shows of a model, once its node has told that it is loaded and by nobody used.
fn shown_loaded(desk: &Desk, arguments: &[&str]) -> Value {
    until("the node tells of the model", || {
        let page = desk.json(arguments);
        let counts = &page["nodes"][0]["loaded"]["counts"];
        (counts["users"] == 0).then_some(page)
    })
}

#[test]
fn what_a_node_found_in_a_model_and_did_with_it_is_shown() {
    let desk = desk();
    let schema = Schema::of(&desk);
    let nothing = desk.says(&["model", "show", "double"]);
    assert!(nothing.ends_with("\nnodes       on none\n"), "{nothing}");
    let run = "times:3:x=fp32:1x2:0.5/0.25";
    steps(&desk, &["--model", "double"], &["load:double", run, "run:x=fp32:1x3:1/2/3"]);
    let page = shown_loaded(&desk, &["model", "show", "double"]);
    schema.check("model", &page);
    let node = &page["nodes"][0];
    assert_eq!((&page["on_nodes"], &node["node_state"]), (&1.into(), &"loaded".into()), "{page}");
    let loaded = &node["loaded"];
    let input = json!({"name": "x", "element": "fp32", "dimensions": ["rows", "2"]});
    assert_eq!(loaded["inputs"], json!([input]), "{page}");
    assert_eq!((&loaded["back_end"], &loaded["device"]), (&"tract".into(), &"cpu".into()));
    let counts = &loaded["counts"];
    assert_eq!((&counts["requests"], &counts["users"]), (&3.into(), &0.into()), "{page}");
    let text = desk.says(&["model", "show", "double"]);
    for line in ["\ninputs      x fp32[rows, 2]\n", "\nruns        by tract ", "loaded"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    // Whoever may use it sees what it is, and not how much others do with it.
    desk.says(&["user", "add", "shop", "-o", "shop.toml"]);
    desk.says(&["model", "share", "double", "--with", "shop"]);
    let shared = desk.json(&["--credential", "shop.toml", "model", "show", "main/double"]);
    assert_eq!(shared["nodes"][0]["loaded"]["inputs"], json!([input]), "{shared}");
    assert_eq!(shared["nodes"][0]["loaded"]["counts"], Value::Null, "{shared}");
    // The same bytes of another tenant are another model: what it does is its own.
    desk.says(&["--credential", "shop.toml", "model", "push", "double", "double.onnx"]);
    let other = desk.json(&["--credential", "shop.toml", "model", "show", "double"]);
    assert_eq!(other["nodes"][0]["node_state"], "on-disk", "{other}");
}

#[test]
fn what_is_wrong_with_inputs_is_told_and_the_next_run_is_right() {
    let desk = desk();
    let wrong = [
        ("run:z=fp32:1x2:1/2", "the model has no input `z`; its inputs are x fp32[rows, 2]"),
        ("run:", "input `x` is missing"),
        ("run:x=fp32:1x2:1/2,x=fp32:1x2:1/2", "input `x` is given twice"),
        ("run:x=fp64:1x2:16b", "input `x` is of fp64, and the model takes fp32"),
        ("run:x=fp32:1x3:1/2/3", "input `x` has the dimensions [1, 3]"),
        ("run:x=fp32:2x2:1/2", "need 16 bytes, and it has 8"),
        ("run:x=fp32:4294967295x4294967295x4294967295:4b", "more bytes than can be counted"),
    ];
    let mut all = vec!["load:double"];
    all.extend(wrong.map(|(step, _)| step));
    all.push("run:x=fp32:1x2:NaN/1");
    let printed = steps(&desk, &["--model", "double"], &all);
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), wrong.len() + 2, "{printed}");
    for ((step, told), line) in wrong.iter().zip(&lines[1..]) {
        assert!(line.starts_with("InvalidArgument: ") && line.contains(told), "{step}: {line}");
    }
    assert_eq!(lines.last(), Some(&"y Fp32 1x2 NaN/2"));
}

#[test]
fn models_from_bytes_of_a_guest_are_allowed_by_the_job_alone() {
    let desk = desk();
    desk.write("not.onnx", "this is no model, however long one looks at it");
    desk.write("unheard.onnx", models::unheard_of());
    desk.write("bomb.onnx", models::bomb());
    let own = |flags: &[&str], file: &str, how: &str| {
        steps(&desk, &[flags, &["--input", file]].concat(), &[how, "run:x=fp32:1x2:1/2"])
    };
    let denied = own(&[], "double.onnx", "own:onnx:cpu");
    assert!(denied.starts_with("Security: ") && denied.contains("load_models = true"), "{denied}");
    let allowed = &["--load-models"];
    assert_eq!(own(allowed, "double.onnx", "own:autodetect:cpu"), "loaded\ny Fp32 1x2 2/4\n");
    for (file, how, told) in [
        ("not.onnx", "own:onnx:cpu", "InvalidEncoding: this is not an ONNX model"),
        (
            "double.onnx",
            "own:openvino:cpu",
            "InvalidEncoding: this is a model of encoding OpenVINO",
        ),
        ("double.onnx", "own:onnx:tpu", "UnsupportedOperation: no back end of this node has a TPU"),
        ("double.onnx", "parts:2", "InvalidArgument: an ONNX model is one part, and 2 were given"),
        ("unheard.onnx", "own:onnx:cpu", "UnsupportedOperation: tract has no operator `Triple`"),
        ("bomb.onnx", "own:onnx:cpu", "TooLarge: "),
    ] {
        let printed = own(allowed, file, how);
        assert!(printed.starts_with(told), "{file}, {how}: {printed}");
        assert!(printed.ends_with("\nno model\n"), "{file}, {how}: {printed}");
    }
}

#[test]
fn tensors_and_errors_that_a_guest_keeps_are_memory_of_its_own() {
    let desk = desk();
    for (step, limit) in [("hold:100:1000000", "memory"), ("errors:2000:10", "open handles")] {
        let guest = guest("nn-obedient");
        let run = ["run", "--memory", "64MiB", &guest, "--", "hold:10:1000000", step];
        let output = desk.wrun(&run);
        assert_eq!(stdout(&output), "10 held\n", "{step}");
        let told = stderr(&output);
        assert!(told.contains(limit), "{step}: {told}");
    }
}

#[test]
fn a_guest_that_runs_a_model_and_reads_no_result_ends_at_its_memory_limit_and_alone() {
    let desk = desk();
    let guest = guest("nn-obedient");
    let inputs = "x=fp32:8192x2:65536b";
    let arguments = ["run", "--memory", "32MiB", "--model", "double", &guest, "--", "load:double"];
    let few = desk.says(&[&arguments[..], &[&format!("keep:50:{inputs}")]].concat());
    assert_eq!(few, "loaded\n50 held\n");
    let neighbour = desk.submit(&[
        "--model",
        "double",
        &guest,
        "--",
        "load:double",
        "times:500:x=fp32:1x2:1/2",
    ]);
    let output = desk.wrun(&[&arguments[..], &[&format!("keep:100000:{inputs}")]].concat());
    assert_eq!(stdout(&output), "loaded\n");
    let told = stderr(&output);
    assert!(told.contains("memory"), "{told}");
    desk.says(&["wait", &neighbour]);
    assert!(desk.says(&["logs", &neighbour]).ends_with("y Fp32 1x2 2/4\n"));
}

#[test]
fn a_model_that_was_removed_by_force_is_not_found_by_what_starts_later() {
    let desk = desk();
    let guest = guest("nn-obedient");
    let job = desk.submit(&["--hold", "--model", "double", &guest, "--", "load:double"]);
    desk.says(&["model", "rm", "double", "--force"]);
    desk.says(&["release", &job]);
    desk.says(&["wait", &job]);
    let log = desk.says(&["logs", &job]);
    assert!(log.contains("NotFound: there is no such model: `double` was removed"), "{log}");
}

#[test]
fn a_service_answers_with_what_a_model_says() {
    let (desk, gateway) = served();
    desk.write("double.onnx", models::double());
    desk.says(&["model", "push", "double", "double.onnx"]);
    let service = ["--name", "double", "--route", "/", "--model", "double"];
    desk.says(&[&["deploy", &guest("http_infer")], &service[..]].concat());
    // It is loaded before there was any request.
    let page = shown_loaded(&desk, &["model", "show", "double"]);
    assert_eq!(page["nodes"][0]["loaded"]["counts"]["requests"], 0, "{page}");
    for _ in 0..20 {
        let answer = http::post(gateway, "/double", "[[1.5, 2], [0, -1]]").unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "[3.0,4.0,0.0,-2.0]"));
    }
    assert_eq!(http::post(gateway, "/double", "[[1.5]]").unwrap().status, 400);
}

#[test]
fn a_service_whose_model_cannot_be_loaded_does_not_roll_out_and_says_why() {
    let (desk, _gateway) = served();
    desk.write("unheard.onnx", models::unheard_of());
    desk.says(&["model", "push", "unheard", "unheard.onnx"]);
    let service = ["--name", "double", "--route", "/", "--model", "double=unheard"];
    let output = desk.wrun(&[&["deploy", &guest("http_infer")], &service[..]].concat());
    assert!(!output.status.success(), "{}", stdout(&output));
    let told = stderr(&output);
    assert!(told.contains("models: `double`: tract has no operator `Triple`"), "{told}");
}

/// Its requests alone would be held by one replica.
#[test]
fn a_service_is_scaled_on_what_it_asks_of_models() {
    let (desk, gateway) = served();
    desk.write("double.onnx", models::double());
    desk.says(&["model", "push", "double", "double.onnx"]);
    let file = format!(
        "name = \"double\"\ncomponent = \"{}\"\ncpu = 0.1\nmodels = [\"double\"]\n\
         [http]\nroutes = [\"/\"]\nconcurrency = 8\n\
         [scale]\nmin = 1\nmax = 3\non = \"model-queue\"\ntarget = 0.002\n\
         window = \"10s\"\npanic_window = \"2s\"\n",
        guest("http_infer")
    );
    desk.write("double.toml", file);
    desk.says(&["deploy", "double.toml"]);
    let scaling = desk.says(&["service", "double"]);
    assert!(scaling.contains("1 to 3, 0.002 requests to models at once for each"), "{scaling}");
    let begun = Instant::now();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                // Whoever waits for replicas waits no longer.
                while !done.load(Ordering::Relaxed) && begun.elapsed() < Duration::from_secs(120) {
                    let answer = http::post(gateway, "/double", "[[1.5, 2]]").unwrap();
                    assert_eq!(answer.status, 200, "{}", answer.text());
                }
            });
        }
        until("there are more replicas", || {
            let page = desk.json(&["service", "double"]);
            (page["wanted"] == 3 && page["ready"] == 3).then_some(())
        });
        done.store(true, Ordering::Relaxed);
    });
}
