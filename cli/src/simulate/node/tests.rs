//! A node's bookkeeping, by what it tells.

use wrun_protocol::wire::worker::Grant;

use super::*;

const EACH: Resources = Resources { cpu_milli: 1000, memory: 1, scratch: 0, slots: 1 };

struct Bench {
    node: SimulatedNode,
    jobs: Jobs,
    ends: Ends,
    changes: Vec<Change>,
    now: u64,
}

fn bench(cores: u32, cards: u32) -> Bench {
    let capacity = Resources { cpu_milli: cores * 1000, memory: 100, scratch: 0, slots: 100 };
    let known = |job, run_ms, gpu_milli| Known { job, each: EACH, gpu_milli, run_ms };
    let jobs = Jobs::from([
        (JobId(1), known(0, Some(100), 0)),
        (JobId(2), known(1, Some(500), 0)),
        (JobId(3), known(2, None, 400)),
    ]);
    let node = SimulatedNode::new(0, capacity, cards);
    Bench { node, jobs, ends: Ends::new(), changes: Vec::new(), now: 0 }
}

fn run(job: u64, first: u32, count: u32) -> Assignment {
    Assignment { job: JobId(job), attempt: 1, tasks: IndexRange { first, count } }
}

impl Bench {
    fn says(&mut self, message: ToWorker) -> &mut Self {
        let Self { node, jobs, ends, changes, now } = self;
        node.on_message(message, &mut Floor { now: *now, jobs, ends, changes }).unwrap();
        self
    }

    /// What happens up to `until`.
    fn passes(&mut self, until: u64) -> &mut Self {
        while let Some(Reverse((at, _, number))) = self.ends.peek().copied()
            && at <= until
        {
            self.ends.pop();
            self.now = at;
            let Self { node, jobs, ends, changes, now } = self;
            node.on_end(number, &mut Floor { now: *now, jobs, ends, changes });
        }
        self.now = until;
        self
    }

    fn told(&mut self) -> Vec<(Turn, usize, u32)> {
        self.changes.drain(..).map(|change| (change.turn, change.job, change.tasks)).collect()
    }

    fn reports(&mut self) -> Vec<Report> {
        let reports = self.node.take_reports().1;
        reports.into_iter().filter(|report| !matches!(report, Report::Started(_))).collect()
    }
}

#[test]
fn tasks_without_room_start_when_others_end() {
    let mut bench = bench(2, 0);
    bench.says(ToWorker::Assign(vec![run(1, 0, 3), run(2, 0, 1)]));
    assert_eq!(bench.told(), [(Turn::Started, 0, 2)]);
    bench.passes(100);
    assert_eq!(bench.told(), [(Turn::Ended, 0, 2), (Turn::Started, 0, 1), (Turn::Started, 1, 1)]);
    bench.passes(1000);
    assert_eq!(bench.told(), [(Turn::Ended, 0, 1), (Turn::Ended, 1, 1)]);
    assert_eq!(bench.node.used, Resources::default());
    assert_eq!(bench.reports().len(), 3);
}

#[test]
fn a_part_that_is_stopped_leaves_the_rest_running() {
    let mut bench = bench(4, 0);
    bench.says(ToWorker::Assign(vec![run(2, 0, 4)])).passes(10);
    bench.says(ToWorker::Stop(vec![run(2, 1, 2)])).told();
    bench.passes(500);
    assert_eq!(bench.told(), [(Turn::Ended, 1, 1), (Turn::Ended, 1, 1)]);
    let ended = |index| Report::Succeeded {
        tasks: run(2, index, 1),
        usage: Usage { wall_us: 500_000, ..Usage::default() },
    };
    assert_eq!(bench.reports(), [ended(0), ended(3)]);
}

#[test]
fn a_frozen_task_loses_its_processor_and_no_work() {
    let attempt = JobId(1).task(0).attempt(1);
    let mut bench = bench(1, 0);
    bench.says(ToWorker::Assign(vec![run(1, 0, 1), run(2, 0, 1)])).passes(60);
    bench.says(ToWorker::Freeze { attempt, frozen: true });
    assert_eq!(bench.told(), [(Turn::Started, 0, 1), (Turn::Frozen, 0, 1), (Turn::Started, 1, 1)]);
    bench.passes(560);
    bench.says(ToWorker::Freeze { attempt, frozen: false }).passes(599);
    assert_eq!(bench.told(), [(Turn::Ended, 1, 1), (Turn::Thawed, 0, 1)]);
    bench.passes(600);
    assert_eq!(bench.told(), [(Turn::Ended, 0, 1)], "60 ms before, 40 ms after");
}

#[test]
fn a_notice_lets_a_task_run_on_and_stops_it_in_time() {
    let preempt = |index, notice_ms| ToWorker::Preempt {
        attempt: JobId(1).task(index).attempt(1),
        notice_ms,
    };
    let mut bench = bench(2, 0);
    bench.says(ToWorker::Assign(vec![run(1, 0, 2)])).passes(50);
    bench.says(preempt(0, 30)).says(preempt(1, 1000)).told();
    bench.passes(1000);
    assert_eq!(bench.told(), [(Turn::Stopped, 0, 1), (Turn::Ended, 0, 1)]);
    assert!(matches!(bench.reports()[..], [Report::Preempted { .. }, Report::Succeeded { .. }]));
}

#[test]
fn what_waits_can_be_recalled_and_what_runs_cannot() {
    let mut bench = bench(1, 0);
    bench.says(ToWorker::Assign(vec![run(1, 0, 4)]));
    bench.says(ToWorker::Recall(vec![run(1, 0, 3)]));
    assert_eq!(bench.reports(), [Report::Returned(run(1, 1, 2))]);
    bench.told();
    bench.passes(1000);
    assert_eq!(bench.told(), [(Turn::Ended, 0, 1), (Turn::Started, 0, 1), (Turn::Ended, 0, 1)]);
}

#[test]
fn a_card_holds_no_more_than_it_has() {
    let on = |first, card| ToWorker::AssignWith {
        tasks: run(3, first, 1),
        grant: Grant { request: 0, gpus: vec![card] },
    };
    let mut bench = bench(8, 2);
    bench.says(on(0, 0)).says(on(1, 0)).says(on(2, 1)).says(on(3, 0));
    assert_eq!(bench.told(), [(Turn::Started, 2, 1); 3], "three times 400 is too much for one");
    assert_eq!(bench.node.cards, [800, 400]);
    bench.says(ToWorker::Stop(vec![run(3, 1, 1)]));
    assert_eq!(bench.told(), [(Turn::Stopped, 2, 1), (Turn::Started, 2, 1)]);
}
