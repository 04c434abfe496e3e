//! What services that nobody asks anything hold of memory.

use anyhow::{Result, ensure};
use harness::{Cluster, http};

use super::service::{deploy, deploy_detached, roomy, until, written};
use crate::machine::resident;
use crate::report::{Report, Section};

const SERVICES: u32 = 1000;

/// Little of everything is reserved, so that one node takes all of them.
const SMALL: &str = "cpu = 0.001\nmemory = \"8MiB\"\nscratch = 0\nhttp.concurrency = 1";

/// Each is tried once, and sleeps soon after.
const SLEEPY: &str = "scale = { min = 0, max = 1, idle = \"1s\", window = \"1s\", \
                      panic_window = \"500ms\", down_delay = \"1s\" }";

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let mut section = Section::new("HTTP: memory of idle services");
    for (what, scale, bar) in [
        ("at zero", SLEEPY, None),
        ("with one idle replica", "", Some(100.0)),
        ("with one idle replica that keeps its instance", "http.reuse = { idle = \"10m\" }", None),
    ] {
        let cluster = roomy(SERVICES + 1);
        // What the first one costs everyone pays once: compiled code, and the pool.
        deploy(&cluster, "http_hello", "first", "/first", SMALL)?;
        asked(&cluster, "/first")?;
        let before = memory(&cluster);
        for number in 0..SERVICES {
            let (name, rest) = (format!("s{number}"), format!("{SMALL}\n{scale}"));
            let file = written(&cluster, "http_hello", &name, &format!("/{name}"), &rest)?;
            deploy_detached(&cluster, &file)?;
        }
        let last = format!("s{}", SERVICES - 1);
        let ready =
            |state: &str| state == if scale.contains("min = 0") { "asleep" } else { "ready" };
        until(&cluster, &last, |service| service["state"].as_str().is_some_and(ready))?;
        if scale.contains("reuse") {
            for number in 0..SERVICES {
                asked(&cluster, &format!("/s{number}"))?;
            }
        }
        let after = memory(&cluster);
        let each = |before: f64, after: f64| (after - before) / f64::from(SERVICES) / 1000.0;
        let [server, worker] =
            [each(before.server, after.server), each(before.worker, after.worker)];
        let name = format!("each of {SERVICES} services {what}, of its worker");
        match bar {
            Some(most) => {
                let figure = format!("{worker:.1} kB");
                section.bar(&name, figure, &format!("{most} kB"), worker <= most);
            }
            None => section.row(name, format!("{worker:.1} kB")),
        }
        section.row(format!("the same, of the server: {what}"), format!("{server:.1} kB"));
    }
    section.note(
        "Growth of resident memory, all services of one component. A service at zero is a line of \
         the routes of each gateway, a replica without an instance an entry of its worker; an instance \
         that is kept has its own memory, and touched pages of it stay.",
    );
    report.add(section);
    Ok(())
}

fn asked(cluster: &Cluster, path: &str) -> Result<()> {
    let answer = http::get(cluster.gateway(0), path).map_err(anyhow::Error::msg)?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(())
}

/// Resident memory, in bytes.
struct Memory {
    server: f64,
    worker: f64,
}

fn memory(cluster: &Cluster) -> Memory {
    let of = |process: u32| resident(process) as f64;
    let worker = cluster.workers.first().map_or(0, harness::Process::id);
    Memory { server: of(cluster.server.id()), worker: of(worker) }
}
