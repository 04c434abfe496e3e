//! Benchmarks that the core has itself (`scheduler/core/benches`): run, and their lines read.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use harness::artefacts;

/// The numbers of each line that the benchmark prints, which are as many as are asked for.
pub(crate) fn core_bench<const N: usize>(name: &str) -> Result<Vec<[f64; N]>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let bench = ["bench", "--quiet", "--locked", "--package", "wrun-core", "--bench", name];
    let output = Command::new(cargo)
        .args(bench)
        .current_dir(artefacts::checkout(""))
        .output()
        .context("cargo bench")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo bench failed: {errors}");
    let text = String::from_utf8(output.stdout)?;
    let lines = text.lines().filter(|line| line.contains('\t'));
    lines.map(|line| numbers(line).with_context(|| format!("`{line}`"))).collect()
}

fn numbers<const N: usize>(line: &str) -> Result<[f64; N]> {
    let numbers: Result<Vec<f64>, _> = line.split('\t').map(|word| word.trim().parse()).collect();
    numbers?.try_into().ok().with_context(|| format!("not {N} numbers"))
}

/// With a comma after each three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
