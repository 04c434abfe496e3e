//! The whole path: an array through `wrun server` and `wrun worker`, each a process, a
//! fresh sandbox for each task, over QUIC, durable; beside the raw loop in this process.

use std::time::Instant;

use anyhow::{Result, ensure};
use bytes::Bytes;
use harness::{Cluster, artefacts};
use wrun_protocol::job::Input;
use wrun_protocol::task::Content;
use wrun_protocol::wire::user::JobState;
use wrun_protocol::{JobSpec, Resources};

use crate::profile::{Meter, Profile};
use crate::raw;
use crate::report::{Report, Section};
use crate::statistics::median;

const TASKS: u32 = 100_000;
const ROUNDS: usize = 3;

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let mut section = Section::new("Whole path, array of 100,000 no-op tasks");
    let mut shares = Section::new("Where the whole path's time goes");
    for (label, name) in [("`wasi:cli/run`", "noop"), ("`wrun:task/handler`", "noop_handler")] {
        let (mut raws, mut wholes, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        let mut last = None;
        for _ in 0..ROUNDS {
            let raw = raw::tasks_per_second(name)?;
            let (whole, profile) = array(name, b"")?;
            last = Some(profile);
            raws.push(raw);
            wholes.push(whole);
            ratios.push(whole / raw);
        }
        if let Some(profile) = last {
            let what = format!("{label}, 100,000 tasks, CPU time of all processes");
            profile.rows(&what, &mut shares);
        }
        let ratio = median(&mut ratios);
        section.row(format!("{label}, raw loop on two threads"), rate(median(&mut raws)));
        section.row(format!("{label}, whole path"), rate(median(&mut wholes)));
        let what = format!("{label}, whole path to raw, median of {ROUNDS} alternating rounds");
        section.bar(&what, format!("{ratio:.2}"), "0.6", ratio >= 0.6);
    }
    let mut answering = Vec::new();
    for _ in 0..ROUNDS {
        answering.push(array("noop_handler", b"sixteen bytes...")?.0);
    }
    let what = "`wrun:task/handler` that returns 16 bytes, whole path";
    section.row(what.to_owned(), rate(median(&mut answering)));
    section.note(
        "Raw: two threads that each make a fresh store from a pre-linked component on the engine \
         that the worker uses, with epochs armed and output captured, call, and drop it; nothing \
         is scheduled, sent or kept. The whole path shares the same two cores with the server, the \
         worker's session and the journal; it makes the guest's WASI context when that first asks \
         for it, which these do not. The handler returns what it is given: without bytes to \
         keep, neighbouring successes are one report and one record, with some each is its own.",
    );
    report.add(section);
    report.add(shares);
    Ok(())
}

fn rate(per_second: f64) -> String {
    format!("{per_second:.0} a second")
}

fn array(guest: &str, input: &'static [u8]) -> Result<(f64, Profile)> {
    let cluster = Cluster::start();
    let component = std::fs::read(artefacts::guest(guest))?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let mut client = cluster.client().await;
        let mut spec = JobSpec::new(client.upload(&component).await);
        spec.resources = Resources { memory: 16 << 20, scratch: 0, ..JobSpec::DEFAULT_RESOURCES };
        if !input.is_empty() {
            spec.input = Input::Content(Content::Inline(Bytes::from_static(input)));
        }
        let warm = client.submit(&spec).await;
        client.wait(warm).await;
        spec.count = TASKS;
        let worker = cluster.workers.first().map_or(0, harness::Process::id);
        let meter = Meter::start(&[
            ("server", cluster.server.id()),
            ("worker", worker),
            ("client", std::process::id()),
        ]);
        let begun = Instant::now();
        let job = client.submit(&spec).await;
        let end = client.wait(job).await;
        ensure!(end.state == JobState::Succeeded, "the array ended as {end:?}");
        Ok((f64::from(TASKS) / begun.elapsed().as_secs_f64(), meter.end()))
    })
}
