//! Guests that run models through `wasi:nn`, from the model's push to what the guest prints.

use harness::{http, models};

use crate::Desk;
use crate::desk::{guest, stderr, stdout};
use crate::services::served;

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
fn a_model_that_was_removed_by_force_is_not_found_by_what_starts_later() {
    let desk = desk();
    let guest = guest("nn-obedient");
    let job = desk.submit(&["--hold", "--model", "double", &guest, "--", "load:double"]);
    desk.says(&["model", "rm", "double", "--force"]);
    desk.says(&["release", &job]);
    desk.says(&["wait", &job]);
    let log = desk.says(&["logs", &job]);
    assert!(log.contains("NotFound: the model `double` was removed"), "{log}");
}

#[test]
fn a_service_answers_with_what_a_model_says() {
    let (desk, gateway) = served();
    desk.write("double.onnx", models::double());
    desk.says(&["model", "push", "double", "double.onnx"]);
    let service = ["--name", "double", "--route", "/", "--model", "double"];
    desk.says(&[&["deploy", &guest("http_infer")], &service[..]].concat());
    for _ in 0..20 {
        let answer = http::post(gateway, "/", "[[1.5, 2], [0, -1]]").unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "[3.0,4.0,0.0,-2.0]"));
    }
    assert_eq!(http::post(gateway, "/", "[[1.5]]").unwrap().status, 400);
}
