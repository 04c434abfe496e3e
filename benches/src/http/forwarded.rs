//! A request that enters at one worker and is answered by another, over QUIC, beside nginx
//! in front of that other one's gateway.

use anyhow::{Context, Result, ensure};
use harness::Cluster;

use super::load::{Ask, Load};
use super::nginx::{self, Nginx};
use super::serve::figures;
use super::service::{cluster, deploy, service};
use crate::report::{Report, Section};
use crate::statistics::median;

const ROUNDS: usize = 10;

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let load = Load::new()?;
    let title = format!("HTTP: to another worker over QUIC, beside nginx {}", nginx::version()?);
    let mut section = Section::new(&title);
    let cluster = cluster(2);
    deploy(&cluster, "http_obedient", "api", "/", "http.reuse = {}")?;
    let node = node_of_replica(&cluster)?;
    let at = ["n1", "n2"].iter().position(|name| *name == node);
    let at = at.with_context(|| format!("the replica is on {node}"))?;
    let (near, far) = (cluster.gateway(at), cluster.gateway(1 - at));
    let folder = tempfile::tempdir()?;
    let nginx = Nginx::start(near, folder.path())?;
    for ask in Ask::ALL {
        let (mut direct, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            direct.push(load.on(near, ask)?);
            ours.push(load.on(far, ask)?);
            theirs.push(load.on(nginx.address, ask)?);
        }
        section.row(format!("{}, at the replica's own gateway", ask.name()), figures(&direct));
        section.row(format!("{}, at the other worker's gateway", ask.name()), figures(&ours));
        section.row(format!("{}, through nginx to the first", ask.name()), figures(&theirs));
        let ratio = |of: fn(&super::load::Answered) -> f64| {
            let pairs = ours.iter().zip(&theirs);
            median(&mut pairs.map(|(a, b)| of(a) / of(b)).collect::<Vec<_>>())
        };
        let (rate, p99) = (ratio(|run| run.per_second), ratio(|run| run.p99));
        section.row(
            format!("{}, wrun to nginx, median of {ROUNDS} alternating pairs", ask.name()),
            format!("{rate:.2} of its requests a second, {p99:.2} of its 99th percentile"),
        );
    }
    ensure!(node_of_replica(&cluster)? == node, "the replica has moved");
    section.note(
        "One replica of a WASI 0.2 component that reuses its instances. wrun goes from gateway to \
         worker over QUIC, encrypted and with certificates on both sides; nginx goes over plain TCP, \
         with connections that stay, to the gateway of the replica's worker, which is one more hop \
         of HTTP there. wrk, two workers or one and nginx share two cores.",
    );
    report.add(section);
    Ok(())
}

fn node_of_replica(cluster: &Cluster) -> Result<String> {
    let known = service(cluster, "api")?;
    let node = known.pointer("/replicas/0/node").and_then(serde_json::Value::as_str);
    Ok(node.with_context(|| format!("no replica on a node: {known:#}"))?.to_owned())
}
