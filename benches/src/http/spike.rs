//! A service under a load that comes all at once: how long until it has the replicas for it,
//! and what becomes of the requests meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::http::Load;

use super::service::{cluster, deploy, until};
use crate::report::{Report, Section};
use crate::statistics::percentile;

const ROUNDS: usize = 5;

/// Replicas at most.
const MOST: u32 = 8;

/// Each has one request at a time, which takes 20 ms, so that so many are under way: the
/// target of each replica times [`MOST`].
const CLIENTS: usize = 32;

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let mut section = Section::new("HTTP: a spike");
    for (what, least, idle) in [("from one replica", 1, ""), ("from zero", 0, "idle = \"1s\"\n")] {
        let cluster = cluster(2);
        let scale = format!(
            "http.concurrency = 8\ncpu = 0.1\n[scale]\nmin = {least}\nmax = {MOST}\ntarget = 4\n\
             {idle}window = \"4s\"\npanic_window = \"1s\"\ndown_delay = \"1s\"\n"
        );
        deploy(&cluster, "http_obedient", "api", "/", &scale)?;
        let (mut times, mut answered) = (Vec::new(), 0);
        for _ in 0..ROUNDS {
            until(&cluster, "api", |of| of["ready"] == least && of["wanted"] == least)?;
            let begun = Instant::now();
            let load = Load::start(cluster.gateway(0), "/sleep?20", CLIENTS, Duration::ZERO);
            until(&cluster, "api", |service| service["ready"] == MOST)?;
            times.push(begun.elapsed().as_secs_f64());
            let answers = load.stop();
            let whole = |answer: &Result<harness::http::Answer, String>| {
                answer.as_ref().is_ok_and(|answer| answer.status == 200)
            };
            let lost = answers.iter().filter(|answer| !whole(answer)).count();
            ensure!(lost == 0, "{lost} of {} requests were lost", answers.len());
            answered += answers.len();
        }
        let half = percentile(&mut times, 0.5);
        let most = percentile(&mut times, 1.0);
        section.row(
            format!("{what} to {MOST} that are ready, median of {ROUNDS}"),
            format!("{half:.2} s, the slowest {most:.2} s"),
        );
        section.row(format!("requests lost on the way, {what}"), format!("0 of {answered}"));
    }
    section.note(
        "32 clients come at once, each with one request of 20 ms at a time; a replica is to have 4. \
         The panic window is one second: a load is believed when it has filled it. Two workers, the \
         load at one gateway.",
    );
    report.add(section);
    Ok(())
}
