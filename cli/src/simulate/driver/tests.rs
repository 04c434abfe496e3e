//! Small schedules worked out by hand.

use super::*;
use crate::simulate::trace::Request;

fn job(submit_s: u64, run_s: u64, tasks: u32) -> Job {
    Job {
        name: "job".into(),
        submit_ms: submit_s * 1000,
        run_ms: Some(run_s * 1000),
        limit_ms: None,
        tasks,
        each: Request { cpu_milli: 1000, ..Request::default() },
        class: None,
        partition: None,
        user: 0,
    }
}

fn node(processors: u32) -> Node {
    Node {
        name: format!("node-{processors}").into(),
        cpu_milli: processors * 1000,
        memory: None,
        gpus: 0,
        gpu_model: "".into(),
    }
}

fn run(nodes: &[Node], jobs: &[Job]) -> Run {
    let users = ["alice".into(), "bob".into()];
    simulate(&Setup { jobs, users: &users, nodes, policy: None }).unwrap()
}

/// When each job started and ended, in seconds.
fn times(run: &Run) -> Vec<(u64, u64)> {
    run.outcomes.iter().map(|job| (job.started / 1000, job.ended / 1000)).collect()
}

#[test]
fn jobs_of_one_processor_run_one_after_the_other_where_there_is_one() {
    let run = run(&[node(1)], &[job(100, 10, 1), job(100, 20, 1), job(105, 5, 1)]);
    assert_eq!(times(&run), [(0, 10), (10, 30), (30, 35)]);
    assert_eq!((run.series.end(), run.preemptions), (35_000, 0));
    assert_eq!(run.capacity.shares(&run.series.mean()).cpu, Some(1.0));
}

#[test]
fn an_idle_cluster_waits_for_the_next_submission() {
    let run = run(&[node(2)], &[job(0, 10, 1), job(3600, 10, 1)]);
    assert_eq!(times(&run), [(0, 10), (3600, 3610)]);
    assert_eq!(run.capacity.shares(&run.series.mean()).cpu, Some(20.0 / 7220.0));
}

#[test]
fn a_job_ends_at_its_limit() {
    let over = Job { limit_ms: Some(4000), ..job(0, 10, 1) };
    assert_eq!(times(&run(&[node(1)], &[over, job(0, 1, 1)])), [(0, 4), (4, 5)]);
}

#[test]
fn a_job_that_ends_at_once_is_one() {
    assert_eq!(times(&run(&[node(1)], &[job(0, 0, 1), job(0, 5, 1)])), [(0, 0), (0, 5)]);
}

#[test]
fn jobs_without_an_end_hold_what_they_have_and_the_simulation_ends() {
    let endless = Job { run_ms: None, ..job(0, 0, 1) };
    let run = run(&[node(2)], &[endless.clone(), endless.clone(), endless]);
    assert_eq!((run.outcomes.len(), run.unended, run.unstarted), (0, 3, 1));
    assert_eq!(run.held.cpu, 2000.0);
}

#[test]
fn a_job_that_no_node_can_hold_is_refused_with_the_schedulers_words() {
    let large = Job {
        each: Request { cpu_milli: 1000, memory: 1 << 40, ..Request::default() },
        ..job(0, 5, 1)
    };
    let small = Node { memory: Some(1 << 30), ..node(1) };
    let run = run(&[small], &[large, job(0, 5, 1)]);
    assert_eq!((times(&run), run.refused), (vec![(0, 5)], 1));
    assert!(run.refusals[0].1.contains("no node"), "{}", run.refusals[0].1);
}

#[test]
fn the_same_trace_gives_the_same_schedule() {
    let jobs: Vec<Job> =
        (0..200).map(|i| Job { user: (i % 2) as u32, ..job(i / 3, 1 + i % 17, 1) }).collect();
    let first = run(&[node(2), node(3)], &jobs);
    let again = run(&[node(2), node(3)], &jobs);
    assert_eq!(first.outcomes, again.outcomes);
    assert_eq!((first.events, first.placements), (again.events, again.placements));
}
