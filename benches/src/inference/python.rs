//! The same models behind HTTP, as a service of wrun and as a user of Python would serve them:
//! FastAPI, uvicorn and ONNX Runtime.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use harness::artefacts::checkout;
use harness::{Cluster, Process, http, models as small};
use serde_json::Value;

use super::{models, onnx_runtime};
use crate::http::load::{Answered, Load};
use crate::http::service::{cluster_of, deploy};
use crate::report::{Report, Section};
use crate::statistics::median;

/// Versions that `benches/peers/fastapi_server.py` was written against.
const PACKAGES: [&str; 4] =
    ["fastapi==0.165.0", "uvicorn[standard]==0.54.0", "onnxruntime==1.32.0", "numpy==2.4.6"];

/// How much two scores of one file may differ.
const SAME: f64 = 1e-4;

/// What is asked: a path, a body, and what it is called on the page.
struct Ask {
    path: &'static str,
    body: Vec<u8>,
    what: &'static str,
}

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let (rounds, seconds) = if report.is_quick() { (1, 1) } else { (5, 5) };
    let load = Load::new()?;
    let ours = [
        ("wrun, tract", serving(String::new())?),
        ("wrun, ONNX Runtime", serving(onnx_runtime::worker_file())?),
    ];
    let peer = Python::start(ours[0].1.folder())?;
    let asks = [
        Ask { path: "/double", body: b"[[1.5, 2], [0, -1]]".to_vec(), what: "two rows, doubled" },
        Ask {
            path: "/file-type",
            body: std::fs::read(checkout("LICENSE"))?,
            what: "a file's type, by `magika`",
        },
    ];
    let mut section = Section::new("Inference: a service beside FastAPI with ONNX Runtime");
    for ask in &asks {
        let right = answer(peer.address, ask)?;
        for (who, cluster) in &ours {
            let said = answer(cluster.gateway(0), ask)?;
            ensure!(same(&said, &right), "{}: {who} says {said}, the peer {right}", ask.path);
        }
        let (mut of_ours, mut of_peer) = ([const { Vec::new() }; 2], Vec::new());
        let run = |who, address| load.post(address, ask.path, &ask.body, seconds).context(who);
        for _ in 0..rounds {
            for ((who, cluster), runs) in ours.iter().zip(&mut of_ours) {
                runs.push(run(*who, cluster.gateway(0))?);
            }
            of_peer.push(run("FastAPI", peer.address)?);
        }
        section.row(format!("{}: FastAPI, ONNX Runtime", ask.what), figures(&of_peer));
        for ((who, _), runs) in ours.iter().zip(&of_ours) {
            section.row(format!("{}: {who}", ask.what), figures(runs));
            let ratio = |of: fn(&Answered) -> f64| {
                median(
                    &mut runs.iter().zip(&of_peer).map(|(a, b)| of(a) / of(b)).collect::<Vec<_>>(),
                )
            };
            let (rate, p50, p99) =
                (ratio(|run| run.per_second), ratio(|run| run.p50), ratio(|run| run.p99));
            section.row(
                format!("{}: {who} to FastAPI, median of {rounds} alternating rounds", ask.what),
                format!(
                    "{rate:.2} of its requests a second, {p50:.2} and {p99:.2} of its percentiles"
                ),
            );
        }
    }
    section.note(format!(
        "wrk with one thread and 16 connections for {seconds} s a run. wrun: one replica of \
         `tests/guests/http-infer`, a fresh sandbox for each request, gateway and replica in one \
         worker; ONNX Runtime with its two threads in its process beside that. {}: uvicorn with a \
         process for each of the two cores, each with both models on one thread \
         (`benches/peers/fastapi_server.py`). Percentiles are the 50th and the 99th. All gave the \
         same answers.",
        PACKAGES.map(|package| package.replace("==", " ")).join(", "),
    ));
    report.add(section);
    Ok(())
}

/// A cluster with the service, whose worker has such a file.
fn serving(worker_file: String) -> Result<Cluster> {
    let cluster = cluster_of(1, worker_file);
    std::fs::write(cluster.folder().join("double.onnx"), small::double())?;
    cluster.stdout(&["model", "push", "double", "double.onnx"]);
    models::magika()?.push(&cluster, &[])?;
    deploy(&cluster, "http_infer", "infer", "/", "models = [\"double\", \"magika\"]")?;
    Ok(cluster)
}

fn answer(server: SocketAddr, ask: &Ask) -> Result<Value> {
    let body = String::from_utf8(ask.body.clone())?;
    let answer = http::post(server, ask.path, &body).map_err(anyhow::Error::msg)?;
    ensure!(answer.status == 200, "{server}{}: {}", ask.path, answer.text());
    Ok(serde_json::from_slice(&answer.body)?)
}

/// Lists of numbers that are close to each other.
fn same(first: &Value, second: &Value) -> bool {
    let numbers = |value: &Value| -> Option<Vec<f64>> {
        value.as_array()?.iter().map(Value::as_f64).collect()
    };
    let (Some(first), Some(second)) = (numbers(first), numbers(second)) else { return false };
    first.len() == second.len() && first.iter().zip(&second).all(|(a, b)| (a - b).abs() <= SAME)
}

fn figures(runs: &[Answered]) -> String {
    let of = |part: fn(&Answered) -> f64| median(&mut runs.iter().map(part).collect::<Vec<_>>());
    let (rate, p50, p99) = (of(|run| run.per_second), of(|run| run.p50), of(|run| run.p99));
    format!("{rate:.0} a second, percentiles {p50:.2} ms and {p99:.2} ms")
}

/// The peer's server, until it is dropped.
struct Python {
    address: SocketAddr,
    process: Process,
}

impl Python {
    fn start(folder: &Path) -> Result<Self> {
        let python = environment()?;
        let magika = folder.join("magika.onnx");
        let mut command = Command::new(python);
        command.arg(checkout("benches/peers/fastapi_server.py"));
        command.arg(folder.join("double.onnx")).arg(magika).arg("2").current_dir(folder);
        // What Python compiles of the script shall not lie beside it.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        let mut process = Process::start(command, folder, "fastapi");
        let address = process.wait_for_log("uvicorn serves", |logged| {
            // Both processes have loaded their models.
            let started = logged.matches("Application startup complete").count() == 2;
            let (_, rest) = logged.split_once("http://").filter(|_| started)?;
            rest.split_whitespace().next()?.parse().ok()
        });
        Ok(Self { address, process })
    }
}

impl Drop for Python {
    /// Its processes end with it when it is asked to end, and not when it is killed.
    fn drop(&mut self) {
        self.process.terminate();
        self.process.wait();
    }
}

/// A virtual environment with the peer, made once.
fn environment() -> Result<PathBuf> {
    let folder = checkout("target/peers/fastapi");
    let python = folder.join("bin/python");
    if !python.exists() {
        done(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    }
    done(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(PACKAGES))?;
    Ok(python)
}

fn done(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}
