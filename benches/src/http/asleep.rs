//! The first request of a service that sleeps: no replica is there, the component is
//! compiled.

use std::time::Instant;

use anyhow::{Result, ensure};
use harness::http;

use super::service::{cluster, deploy, until};
use crate::report::{Report, Section};
use crate::statistics::percentile;

const ROUNDS: usize = 30;

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let cluster = cluster(1);
    let sleepy = "scale = { min = 0, max = 1, idle = \"200ms\", window = \"200ms\", \
                  panic_window = \"100ms\", down_delay = \"100ms\" }";
    deploy(&cluster, "http_hello", "api", "/", sleepy)?;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        until(&cluster, "api", |service| {
            service["state"] == "asleep"
                && service["replicas"].as_array().is_some_and(Vec::is_empty)
        })?;
        let begun = Instant::now();
        let answer = http::get(cluster.gateway(0), "/").map_err(anyhow::Error::msg)?;
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
        ensure!(answer.status == 200, "{answer:?}");
    }
    let mut section = Section::new("HTTP: from zero");
    let half = percentile(&mut times, 0.5);
    let what = format!("the first request of a sleeping service, median of {ROUNDS}");
    section.bar(&what, format!("{half:.2} ms"), "under 5 ms", half < 5.0);
    let most = percentile(&mut times, 1.0);
    section.row("the slowest of them", format!("{most:.2} ms"));
    section.note(
        "From the connection of the client to the end of the answer: the gateway asks the server, \
         which makes a replica durable and places it; the worker opens it, asks it whether it is \
         ready, and says so; gateways are told; the request is answered. Server and worker are two \
         processes.",
    );
    report.add(section);
    Ok(())
}
