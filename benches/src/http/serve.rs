//! One component, served by wrun and by `wasmtime serve`, one after the other, again and
//! again.

use anyhow::{Context, Result};

use super::load::{Answered, Ask, Load};
use super::service::{cluster, deploy};
use super::wasmtime::{self, Serve};
use crate::report::{Report, Section};
use crate::statistics::median;

const ROUNDS: usize = 10;

/// How a component is served, by either.
struct Way {
    name: &'static str,
    component: &'static str,
    /// What says so to wrun, and to `wasmtime serve`.
    file: &'static str,
    flags: &'static [&'static str],
    bar: Bar,
}

/// What wrun is to reach: requests a second and 99th percentile over those of the peer.
struct Bar {
    rate: f64,
    p99: f64,
}

const WAYS: [Way; 3] = [
    Way {
        name: "WASI 0.2, fresh instances",
        component: "http_obedient",
        file: "",
        flags: &[],
        bar: Bar { rate: 3.0, p99: 0.5 },
    },
    Way {
        name: "WASI 0.2, instances reused for 128 requests",
        component: "http_obedient",
        file: "http.reuse = { requests = 128 }",
        flags: &["--max-instance-reuse-count=128"],
        bar: Bar { rate: 1.0, p99: 1.0 },
    },
    Way {
        name: "WASI 0.3, instances reused for 128 requests, 16 at once",
        component: "http_obedient_async",
        file: "http.reuse = { requests = 128, concurrent = 16 }",
        flags: &["--max-instance-reuse-count=128", "--max-instance-concurrent-reuse-count=16"],
        bar: Bar { rate: 1.0, p99: 1.0 },
    },
];

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let program = wasmtime::program()?;
    let load = Load::new()?;
    let mut section =
        Section::new(&format!("HTTP: a service beside `wasmtime serve` {}", wasmtime::version()?));
    for way in &WAYS {
        let cluster = cluster(1);
        deploy(&cluster, way.component, "api", "/", way.file)?;
        let folder = tempfile::tempdir()?;
        let serve = Serve::start(&program, way.component, way.flags, folder.path())?;
        for ask in Ask::ALL {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                ours.push(load.on(cluster.gateway(0), ask).context("wrun")?);
                theirs.push(load.on(serve.address, ask).context("wasmtime serve")?);
            }
            rows(&mut section, way, ask, &ours, &theirs);
        }
    }
    section.note(
        "The same component, built once, and wrk with one thread and 16 connections for one \
         second a run, on the two cores that server, worker and wrk share. wrun: gateway and \
         replica in one worker, with the server beside it; `wasmtime serve` as it comes, but for \
         the numbers of reuse, which are wrun's. The bars are over ratios within one pair of runs, \
         whose median is given. Every answer was a whole 200.",
    );
    report.add(section);
    Ok(())
}

fn rows(section: &mut Section, way: &Way, ask: Ask, ours: &[Answered], theirs: &[Answered]) {
    let what = format!("{}: {}", way.name, ask.name());
    section.row(format!("{what}, wrun"), figures(ours));
    section.row(format!("{what}, `wasmtime serve`"), figures(theirs));
    let ratio = |of: fn(&Answered) -> f64| {
        let mut all: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| of(a) / of(b)).collect();
        median(&mut all)
    };
    let rate = ratio(|run| run.per_second);
    let Bar { rate: least, p99: most } = way.bar;
    let text = |what: &str| format!("{what}, median of {ROUNDS} alternating pairs");
    section.bar(
        &text("requests a second, ratio"),
        format!("{rate:.2}"),
        &format!("at least {least}"),
        rate >= least,
    );
    let p99 = ratio(|run| run.p99);
    section.bar(
        &text("99th percentile, ratio"),
        format!("{p99:.2}"),
        &format!("at most {most}"),
        p99 <= most,
    );
}

/// Medians of runs.
pub(super) fn figures(runs: &[Answered]) -> String {
    let of = |part: fn(&Answered) -> f64| median(&mut runs.iter().map(part).collect::<Vec<_>>());
    let (rate, p99) = (of(|run| run.per_second), of(|run| run.p99));
    format!("{rate:.0} a second, 99th percentile {p99:.2} ms")
}
