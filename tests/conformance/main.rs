//! ONNX's own conformance cases, one for each operator and most of its attributes, on the whole
//! path: one job with a task for each case, whose guest loads the case's model through `wasi:nn`
//! and runs it. What it gives is compared here.
//!
//! A wrong result fails, unless it is listed with its reason; so does it when fewer cases pass
//! than did. `WRUN_CONFORMANCE=CASES` makes `CASES.BACKEND.txt`, where all that was said of each case is kept.

mod cases;
mod compare;
mod onnx;
mod summary;

use std::fmt::Write;

use cases::{Case, Verdict};
use harness::{Cluster, Settings, artefacts};
use summary::Summary;

/// Where the cases come from; the numbers below are those of this version.
const WHEEL: &str = "onnx-1.22.0";

/// What tract passed when this was last changed.
const TRACT_PASSES: usize = 848;

/// Cases in which tract gives another result than ONNX expects, and why that is so.
const TRACT_WRONG: &[(&str, &str)] = &[
    (
        "test_causal_conv_with_state_silu_fp16_expanded",
        "half precision: each step is rounded to it, and 9 of 64 elements are off by up to 2.9e-3; \
         the same in single precision passes",
    ),
    ("test_dft_axis_opset19", DFT),
    ("test_dft_opset19", DFT),
    ("test_dft_rfft_opset19", DFT),
    (
        "test_gru_seq_length",
        "all are right to within 1e-6, which for elements of 1e-7 and less is not within 1e-3 of them",
    ),
];

/// The same of ONNX Runtime, of the version that the wheel has.
const ONNX_RUNTIME_PASSES: usize = 1379;
const ONNX_RUNTIME_WRONG: &[(&str, &str)] = &[
    ("test_attention_4d_with_past_and_present_qk_matmul_bias_3d_mask_causal", MASK),
    ("test_attention_4d_with_past_and_present_qk_matmul_bias_4d_mask_causal", MASK),
    ("test_dft", DFT),
    ("test_dft_axis", DFT),
    ("test_dft_axis_opset19", DFT),
    ("test_dft_inverse", DFT),
    ("test_dft_inverse_opset19", DFT),
    ("test_dft_irfft", DFT),
    ("test_dft_irfft_opset19", DFT),
    ("test_dft_opset19", DFT),
    ("test_dft_rfft", DFT),
    ("test_dft_rfft_opset19", DFT),
    ("test_stft", DFT),
    ("test_stft_with_window", DFT),
    ("test_maxunpool_export_with_output_shape", "it puts 8 of 25 elements elsewhere"),
    ("test_resize_downsample_scales_cubic_align_corners", CORNERS),
    ("test_resize_downsample_scales_linear_align_corners", CORNERS),
    ("test_training_dropout", DRAWN),
    ("test_training_dropout_default", DRAWN),
    ("test_training_dropout_default_mask", DRAWN),
    ("test_training_dropout_mask", DRAWN),
];

const DFT: &str = "it computes in single precision: up to 2e-6 of tract and 3e-4 of ONNX Runtime where \
                   sums of hundreds cancel out and ONNX, in double precision, has 0";
const MASK: &str = "what is masked is the lowest number, and ONNX has minus infinity";
const CORNERS: &str = "with a scale that does not divide the size, it takes other samples";
const DRAWN: &str = "what is dropped is drawn at random, by another generator than ONNX's";

/// Runs the cases in a cluster whose worker computes models as `settings` say.
fn verdicts(settings: Settings, cases: &[Case]) -> Vec<Verdict> {
    let cluster = Cluster::with(settings);
    let lines: Vec<String> = cases.iter().map(Case::line).collect();
    std::fs::write(cluster.folder().join("cases.txt"), lines.join("\n")).unwrap();
    let guest = artefacts::guest("nn_conformance");
    let submit = ["submit", "--load-models", "--memory", "256MiB", "--each-line", "cases.txt"];
    let job = cluster.stdout(&[&submit[..], &[guest.to_str().unwrap()]].concat());
    let job = job.trim();
    cluster.stdout(&["wait", job]);
    cluster.stdout(&["output", job, "-o", "answers/"]);
    let answers = cluster.folder().join("answers");
    let verdict = |(index, case): (usize, &Case)| {
        let answer = std::fs::read(answers.join(index.to_string())).unwrap();
        case.verdict(&serde_json::from_slice(&answer).unwrap())
    };
    cases.iter().enumerate().map(verdict).collect()
}

/// Everything that was said, a line for each case.
fn keep(back_end: &str, verdicts: &[(&Case, Verdict)]) {
    let Some(path) = std::env::var_os("WRUN_CONFORMANCE") else { return };
    let mut text = String::new();
    for (case, verdict) in verdicts {
        let _ = writeln!(text, "{back_end} {}: {verdict:?}", case.name);
    }
    let path = std::path::Path::new(&path).with_extension(format!("{back_end}.txt"));
    std::fs::write(path, text).unwrap();
}

/// Runs all cases on a back end that passed so many, and gave these wrong results, when this was
/// last changed.
fn check(back_end: &'static str, settings: Settings, passes: usize, listed: &[(&str, &str)]) {
    let cases = cases::read_all(&artefacts::wheel(WHEEL).join("onnx/backend/test/data/node"));
    let verdicts = verdicts(settings, &cases);
    let verdicts: Vec<_> = cases.iter().zip(verdicts).collect();
    keep(back_end, &verdicts);
    let summary = Summary::new(back_end, &verdicts);
    println!("{}", summary.to_markdown());
    let listed: Vec<&str> = listed.iter().map(|(name, _)| *name).collect();
    let news: Vec<_> =
        summary.wrong.iter().filter(|(name, _)| !listed.contains(&name.as_str())).collect();
    assert!(news.is_empty(), "wrong results: {news:#?}");
    let found = |name: &&&str| !summary.wrong.iter().any(|(other, _)| other == **name);
    let right: Vec<_> = listed.iter().filter(found).collect();
    assert!(right.is_empty(), "these are right now, and listed as wrong: {right:?}");
    assert!(summary.passed >= passes, "{} passed, of {passes} before", summary.passed);
}

#[test]
fn tract_computes_what_onnx_expects_or_says_that_it_cannot() {
    check("tract", Settings::default(), TRACT_PASSES, TRACT_WRONG);
}

#[test]
fn onnx_runtime_computes_what_onnx_expects_or_says_that_it_cannot() {
    let library = artefacts::onnx_runtime("onnxruntime");
    let worker_file = format!(
        "back_ends = [\"onnxruntime\"]\nonnxruntime = \"{}\"\nproviders = [\"cpu\"]\n",
        library.display()
    );
    let settings = Settings { worker_file, ..Settings::default() };
    check("onnxruntime", settings, ONNX_RUNTIME_PASSES, ONNX_RUNTIME_WRONG);
}
