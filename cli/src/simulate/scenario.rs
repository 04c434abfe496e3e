//! From a trace to what is simulated: which jobs, on which cluster.

use std::collections::HashMap;

use super::random::Random;
use super::trace::{Job, Node, Reason, Request, Skipped, Trace};

/// Most pods that one filling draws.
const MAX_DRAWN: usize = 10_000_000;

/// Why there is nothing to simulate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScenarioError {
    /// Every job of the trace was left out.
    #[error("none of the trace's {0} jobs can be simulated on that cluster")]
    Nothing(usize),
    /// The jobs that were asked for are not all there.
    #[error("jobs {first} to {last} are asked for, and the last one is {end}, counted from 0")]
    Beyond {
        /// The first that was asked for.
        first: usize,
        /// The last that was asked for.
        last: usize,
        /// The last that there is.
        end: usize,
    },
    /// The cluster has no cards, or no pod asks for any.
    #[error("{0} no GPU")]
    NoGpu(&'static str),
}

/// A node with so many processors, and as much memory as anyone asks for.
pub(crate) fn plain_node(name: String, cpu_milli: u32) -> Node {
    Node { name: name.into(), cpu_milli, memory: None, gpus: 0, gpu_model: Box::default() }
}

/// The jobs of the trace that the cluster could hold, were it empty. Those that do not
/// say how long they ran are left out too, unless it does not matter.
pub(crate) fn usable(
    trace: &mut Trace,
    nodes: &[Node],
    needs_run_time: bool,
) -> Result<(), ScenarioError> {
    let all = trace.jobs.len();
    let mut room: HashMap<Request, u64> = HashMap::new();
    let skipped = &mut trace.skipped;
    trace.jobs.retain(|job| {
        if needs_run_time && job.run_ms.is_none() {
            skipped.add(Reason::NoRunTime);
            return false;
        }
        let room = match room.get(&job.each) {
            Some(room) => *room,
            None => {
                let tasks = nodes.iter().map(|node| room_on(node, &job.each)).sum();
                room.insert(job.each.clone(), tasks);
                tasks
            }
        };
        let fits = room >= u64::from(job.tasks);
        if !fits {
            skipped.add(Reason::TooLarge);
        }
        fits
    });
    if trace.jobs.is_empty() { Err(ScenarioError::Nothing(all)) } else { Ok(()) }
}

/// How many such tasks the node could hold, were it empty.
fn room_on(node: &Node, each: &Request) -> u64 {
    let of = |have: u64, want: u64| have.checked_div(want).unwrap_or(u64::MAX);
    let model = each.gpu_models.is_empty() || each.gpu_models.contains(&node.gpu_model);
    let by_cards = match each.gpu_milli {
        0 => u64::MAX,
        _ if !model => 0,
        share @ 1..1000 => u64::from(node.gpus) * u64::from(1000 / share),
        whole => of(node.gpus.into(), u64::from(whole / 1000)),
    };
    let by_memory = node.memory.map_or(u64::MAX, |memory| of(memory, each.memory));
    // A sum over nodes must not overflow.
    of(node.cpu_milli.into(), each.cpu_milli.into()).min(by_memory).min(by_cards).min(1 << 32)
}

/// Jobs from `first` on, counted from 0: `count` of them, or all.
pub(crate) fn window(
    jobs: &[Job],
    first: usize,
    count: Option<usize>,
) -> Result<&[Job], ScenarioError> {
    let count = count.unwrap_or(jobs.len().saturating_sub(first)).max(1);
    let last = first.saturating_add(count - 1);
    jobs.get(first..=last).ok_or(ScenarioError::Beyond {
        first,
        last,
        end: jobs.len().saturating_sub(1),
    })
}

/// Pods drawn at random, one a second, none of which ends, until together they ask for
/// `factor` times the GPUs of the cluster.
pub(crate) fn fill(
    pods: &[Job],
    nodes: &[Node],
    factor: f64,
    seed: u64,
) -> Result<Vec<Job>, ScenarioError> {
    let cards: u64 = nodes.iter().map(|node| u64::from(node.gpus)).sum();
    if cards == 0 {
        return Err(ScenarioError::NoGpu("the cluster has"));
    }
    if pods.iter().all(|pod| pod.each.gpu_milli == 0) {
        return Err(ScenarioError::NoGpu("the pods ask for"));
    }
    let wanted = cards as f64 * 1000.0 * factor;
    let mut random = Random::new(seed);
    let mut drawn = Vec::new();
    let mut asked = 0.0;
    while asked < wanted && drawn.len() < MAX_DRAWN {
        let Some(pod) = random.pick(pods) else { break };
        asked += f64::from(pod.each.gpu_milli) * f64::from(pod.tasks);
        let submit_ms = drawn.len() as u64 * 1000;
        drawn.push(Job { submit_ms, run_ms: None, limit_ms: None, ..pod.clone() });
    }
    Ok(drawn)
}

/// Adds what the scheduler refused.
pub(crate) fn count_refused(skipped: &mut Skipped, refused: u64) {
    for _ in 0..refused {
        skipped.add(Reason::Refused);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(tasks: u32, each: Request) -> Job {
        Job {
            name: "j".into(),
            submit_ms: 7,
            run_ms: Some(5),
            limit_ms: None,
            tasks,
            each,
            class: None,
            partition: None,
            user: 0,
        }
    }

    fn cpu(milli: u32) -> Request {
        Request { cpu_milli: milli, ..Request::default() }
    }

    fn gpu(milli: u32, model: &str) -> Request {
        let gpu_models = model.split_whitespace().map(Box::from).collect();
        Request { gpu_milli: milli, gpu_models, ..cpu(100) }
    }

    fn node(cards: u32) -> Node {
        let plain = plain_node("n".to_owned(), 4000);
        Node { gpus: cards, gpu_model: "T4".into(), memory: Some(1000), ..plain }
    }

    fn left(jobs: Vec<Job>, needs_run_time: bool) -> (usize, Vec<(Reason, u64)>) {
        let mut trace = Trace { jobs, ..Trace::default() };
        let nodes = [node(2), node(1)];
        let count = match usable(&mut trace, &nodes, needs_run_time) {
            Ok(()) => trace.jobs.len(),
            Err(_) => 0,
        };
        (count, trace.skipped.by_reason.into_iter().collect())
    }

    #[test]
    fn what_the_empty_cluster_could_not_hold_is_left_out() {
        assert_eq!(left(vec![job(8, cpu(1000))], true), (1, vec![]));
        assert_eq!(left(vec![job(9, cpu(1000))], true), (0, vec![(Reason::TooLarge, 1)]));
        assert_eq!(left(vec![job(1, cpu(4001))], true).0, 0, "though there is as much on two");
        assert_eq!(left(vec![job(1, Request { memory: 1001, ..cpu(1) })], true).0, 0);
        assert_eq!(left(vec![job(1, gpu(2000, "")), job(1, gpu(3000, ""))], true).0, 1);
        assert_eq!(left(vec![job(6, gpu(500, "")), job(7, gpu(500, ""))], true).0, 1);
        assert_eq!(left(vec![job(1, gpu(500, "P100 T4")), job(1, gpu(500, "P100"))], true).0, 1);
    }

    #[test]
    fn a_job_without_a_run_time_counts_where_none_ends() {
        let endless = Job { run_ms: None, ..job(1, cpu(1000)) };
        assert_eq!(left(vec![endless.clone()], true), (0, vec![(Reason::NoRunTime, 1)]));
        assert_eq!(left(vec![endless], false), (1, vec![]));
    }

    #[test]
    fn a_window_is_whole_or_an_error() {
        let jobs = vec![job(1, cpu(1)); 10];
        assert_eq!(window(&jobs, 0, None).unwrap().len(), 10);
        assert_eq!(window(&jobs, 4, Some(6)).unwrap().len(), 6);
        let error = window(&jobs, 4, Some(7)).unwrap_err().to_string();
        assert_eq!(error, "jobs 4 to 10 are asked for, and the last one is 9, counted from 0");
        assert!(window(&jobs, 10, None).is_err());
        assert!(window(&jobs, usize::MAX, Some(usize::MAX)).is_err());
    }

    #[test]
    fn a_filling_asks_for_what_it_should_and_a_little_more() {
        let pods = [job(1, gpu(500, "")), job(1, cpu(1000))];
        let drawn = fill(&pods, &[node(10)], 1.3, 1).unwrap();
        let asked: u32 = drawn.iter().map(|pod| pod.each.gpu_milli).sum();
        assert_eq!(asked, 13_000);
        assert!(drawn.iter().any(|pod| pod.each.gpu_milli == 0), "those too are drawn");
        assert_eq!((drawn[3].submit_ms, drawn[3].run_ms), (3000, None));
        assert_eq!(drawn, fill(&pods, &[node(10)], 1.3, 1).unwrap());
        assert_ne!(drawn, fill(&pods, &[node(10)], 1.3, 2).unwrap());
        assert!(fill(&pods, &[node(0)], 1.0, 1).is_err());
        assert!(fill(&pods[1..], &[node(1)], 1.0, 1).is_err());
    }
}
