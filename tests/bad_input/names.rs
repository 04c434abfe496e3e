//! Jobs, services and nodes that are not there, and jobs that fit no node.

use harness::{Cluster, artefacts};

use crate::{exit, goes_on, refused};

#[test]
fn what_is_not_there_is_named() {
    let cluster = Cluster::start();
    for verb in ["job", "logs", "output", "wait", "cancel"] {
        let words = ["there is no job 99", "`wrun jobs` lists"];
        refused(&cluster.wrun(&[verb, "99"]), exit::NOT_FOUND, &words);
        let words = ["`Nonsense` is not a job id", "as `wrun submit` prints it"];
        refused(&cluster.wrun(&[verb, "Nonsense"]), exit::USAGE, &words);
    }
    for line in [
        &["service", "nobody"][..],
        &["logs", "nobody"],
        &["scale", "nobody", "3"],
        &["rollout", "undo", "nobody"],
        &["undeploy", "nobody"],
    ] {
        let words = ["there is no service `nobody`", "`wrun services` lists"];
        refused(&cluster.wrun(line), exit::NOT_FOUND, &words);
    }
    for verb in ["drain", "forget"] {
        let words = ["there is no node `nobody`", "`wrun nodes` lists them"];
        refused(&cluster.wrun(&[verb, "nobody"]), exit::NOT_FOUND, &words);
    }
    goes_on(&cluster, 0);
    refused(&cluster.wrun(&["output", "1", "--task", "7"]), exit::NOT_FOUND, &["1", "7"]);
    goes_on(&cluster, 1);
}

#[test]
fn a_job_that_no_node_can_ever_run_is_refused_at_once() {
    let cluster = Cluster::start();
    let noop = artefacts::guest("noop");
    let noop = noop.to_str().unwrap();
    let unsatisfiable = exit::UNSATISFIABLE;
    for (flags, words) in [
        (["--memory", "64GiB"], ["64 GiB memory", "the largest has 2 CPU, 2 GiB", "ask for less"]),
        (["--label", "gpu=yes"], ["no node carries the labels gpu=yes", "`wrun nodes`", "see"]),
    ] {
        for verb in ["submit", "run"] {
            let output = cluster.wrun(&[&[verb, noop], &flags[..]].concat());
            refused(&output, unsatisfiable, &words);
        }
    }
    goes_on(&cluster, 0);
}
