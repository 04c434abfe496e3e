//! Placement in time: schedules worked out by hand.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test: it may stop at what it did not expect, and read clocks and files"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wrun_core::{Answer, Config, Core, Effect, Fact, Input, RequestId};
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::node::NodeInfo;
use wrun_protocol::policy::{Backfill, BackfillMode, Balance, Policy, QueueOrder};
use wrun_protocol::reservation::{Reservation, Reserved};
use wrun_protocol::scheduling::{Offer, Request};
use wrun_protocol::task::Usage;
use wrun_protocol::wire::policy::JobChange;
use wrun_protocol::wire::user::{ErrorCode, RequestError};
use wrun_protocol::wire::worker::{Assignment, ComponentKind, Report, ToWorker};
use wrun_protocol::{Digest, JobId, JobSpec, NodeId, Resources, SubmitId, Timestamp};

/// A cluster in virtual time, by the second.
struct Env {
    core: Core,
    now: u64,
    submits: u8,
    reports: BTreeMap<u64, u64>,
    running: BTreeMap<JobId, Vec<(u64, Assignment)>>,
    facts: Vec<Fact>,
    noticed: BTreeSet<JobId>,
}

fn policy(order: QueueOrder, fill_order: Option<QueueOrder>, mode: BackfillMode) -> Policy {
    let backfill = Backfill { mode, ..Backfill::default() };
    Policy { order, fill_order, backfill, ..Policy::default() }
}

fn fcfs(mode: BackfillMode) -> Policy {
    policy(QueueOrder::Fcfs, None, mode)
}

impl Env {
    fn new(policy: Policy, nodes: &[u32]) -> Self {
        let config = Config {
            lease: Duration::from_secs(1_000_000),
            promise_interval: Duration::ZERO,
            rank_interval: Duration::ZERO,
            max_backlog: 0,
            ..Config::default()
        };
        let mut env = Self {
            core: Core::new(config),
            now: 1000,
            submits: 0,
            reports: BTreeMap::new(),
            running: BTreeMap::new(),
            facts: Vec::new(),
            noticed: BTreeSet::new(),
        };
        let request = RequestId(0);
        env.handle(Input::SetPolicy { request, policy: Box::new(policy) });
        for (number, cpus) in (1..).zip(nodes) {
            env.node(number, *cpus);
        }
        env
    }

    fn node(&mut self, number: u64, cpus: u32) {
        let (hash, name) = ([number as u8; 32], format!("n{number}"));
        let (request, expires) = (RequestId(0), Timestamp(u64::MAX));
        self.handle(Input::CreateToken { request, hash, expires });
        self.handle(Input::Join { request, token_hash: hash, name: name.clone() });
        let capacity =
            Resources { cpu_milli: cpus * 1000, memory: 64 << 30, scratch: 64 << 30, slots: 64 };
        let info = NodeInfo { name, capacity, labels: BTreeMap::new(), version: String::new() };
        let (node, attempts) = (NodeId(number), Vec::new());
        self.handle(Input::NodeConnected {
            node,
            info,
            incarnation: 1,
            attempts,
            offer: Offer::default(),
        });
    }

    fn handle(&mut self, input: Input) -> Option<Result<Answer, RequestError>> {
        self.core.handle(Timestamp(self.now * 1000), input);
        let mut answered = None;
        while let Some(effect) = self.core.poll_effect() {
            match effect {
                Effect::Append(fact) => self.facts.push(fact),
                Effect::Reply { answer, .. } => answered = Some(answer),
                Effect::Send { node, message: ToWorker::Assign(runs) } => {
                    for run in runs {
                        self.running.entry(run.job).or_default().push((node.0, run));
                    }
                }
                Effect::Send { message: ToWorker::Preempt { attempt, .. }, .. } => {
                    self.noticed.insert(attempt.task.job);
                }
                _ => {}
            }
        }
        answered
    }

    /// Goes on to that second, waking the core whenever it asks for it.
    fn at(&mut self, second: u64) -> &mut Self {
        while let Some(at) = self.core.poll_timeout().filter(|at| at.0 <= second * 1000) {
            self.now = self.now.max(at.0.div_ceil(1000));
            self.handle(Input::Timeout);
        }
        self.now = second;
        self
    }

    /// A job of `count` tasks of one CPU, as a gang if more than one, that may take
    /// `seconds`.
    fn job(&mut self, count: u32, seconds: u64) -> JobId {
        self.submit(&job(count, seconds)).unwrap()
    }

    fn submit(&mut self, spec: &JobSpec) -> Result<JobId, RequestError> {
        self.submits += 1;
        let (id, spec) = (SubmitId([self.submits; 16]), EncodedSpec::encode(spec).unwrap());
        let (tenant, kind) = ("ann".parse().unwrap(), ComponentKind::Command);
        let request = RequestId(0);
        let submit = Input::Submit { request, tenant, id, kind, spec, ended: Vec::new() };
        match self.handle(submit).unwrap()? {
            Answer::Submitted(job) => Ok(job),
            other => panic!("{other:?}"),
        }
    }

    /// The job's tasks end well.
    fn end(&mut self, job: JobId) {
        for (node, run) in self.running.remove(&job).unwrap() {
            let first = self.reports.entry(node).or_insert(1);
            let number = std::mem::replace(first, *first + 1);
            let reports = vec![Report::Succeeded { tasks: run, usage: Usage::default() }];
            self.handle(Input::Reports { node: NodeId(node), first: number, reports });
        }
    }

    fn runs(&self, job: JobId) -> bool {
        self.running.contains_key(&job)
    }

    fn reserve(&mut self, reservation: Reservation) -> Result<(), RequestError> {
        let (request, reservation) = (RequestId(0), Box::new(reservation));
        self.handle(Input::Reserve { request, reservation }).unwrap().map(|_| ())
    }
}

fn job(count: u32, seconds: u64) -> JobSpec {
    let mut spec = JobSpec { count, ..JobSpec::new(Digest([7; 32])) };
    spec.resources = Resources { cpu_milli: 1000, memory: 1 << 20, scratch: 0, slots: 1 };
    spec.limits.wall_ms = Some(seconds * 1000);
    spec.scheduling.gang = count > 1;
    spec
}

fn window(name: &str, start: u64, end: u64, what: Reserved) -> Reservation {
    Reservation {
        name: name.to_owned(),
        start: Timestamp(start * 1000),
        end: Timestamp(end * 1000),
        every_ms: None,
        what,
        tenants: ["ann".parse().unwrap()].into(),
    }
}

fn nodes(names: &[&str]) -> Reserved {
    Reserved::Nodes(names.iter().map(|name| (*name).to_owned()).collect())
}

#[test]
fn what_is_filled_in_ends_before_the_promised_start_or_leaves_room_for_it() {
    let mut env = Env::new(fcfs(BackfillMode::Easy), &[4]);
    let first = env.job(3, 100);
    let head = env.job(3, 50);
    let too_long = env.job(1, 101);
    let fits = env.job(1, 100);
    assert!(env.runs(first) && !env.runs(head), "the head waits until 1100");
    assert!(env.runs(too_long), "one CPU is left beside the head");
    assert!(!env.runs(fits), "all four are taken");
    env.at(1010).end(too_long);
    assert!(!env.runs(fits) || env.now + 100 <= 1110, "beside the head there is one CPU again");
    env.at(1100).end(first);
    assert!(env.runs(head), "as it was promised");
}

#[test]
fn a_stream_of_small_jobs_never_delays_a_promised_one() {
    let mut env = Env::new(fcfs(BackfillMode::Easy), &[2]);
    let first = env.job(1, 100);
    let head = env.job(2, 10);
    let mut small = Vec::new();
    for second in 1001..1100 {
        env.at(second);
        let next = env.job(1, 30);
        small.push((second, next));
        let ended: Vec<_> =
            small.extract_if(.., |(at, job)| *at + 30 <= second && env.runs(*job)).collect();
        ended.into_iter().for_each(|(_, job)| env.end(job));
    }
    let late: Vec<_> = env.running.keys().filter(|job| **job != first).copied().collect();
    late.into_iter().for_each(|job| env.end(job));
    env.at(1100).end(first);
    assert!(env.runs(head));
}

#[test]
fn without_backfill_whatever_fits_starts() {
    let mut env = Env::new(fcfs(BackfillMode::Off), &[2]);
    let _first = env.job(1, 100);
    let _head = env.job(2, 10);
    let small = env.job(1, 1000);
    assert!(env.runs(small));
}

#[test]
fn easy_may_delay_the_second_of_the_queue_and_conservative_does_not() {
    for (mode, filled) in [(BackfillMode::Easy, true), (BackfillMode::Conservative, false)] {
        let mut env = Env::new(fcfs(mode), &[4]);
        let _first = env.job(2, 100);
        let _head = env.job(3, 10); // from 1100 to 1110
        let _second = env.job(4, 10); // promised 1110 where all are promised
        let _third = env.job(1, 200);
        assert_eq!(env.runs(_third), filled, "{mode:?}");
    }
}

#[test]
fn the_fill_has_an_order_of_its_own() {
    let fill = policy(QueueOrder::Fcfs, Some(QueueOrder::ShortestFirst), BackfillMode::Easy);
    let mut env = Env::new(fill, &[2]);
    let first = env.job(2, 100);
    let head = env.job(2, 10);
    let (long, short) = (env.job(1, 90), env.job(1, 20));
    let other = env.job(1, 30);
    env.at(1005).end(first);
    assert!(env.runs(head));
    env.at(1010);
    let next = env.job(2, 10);
    env.end(head);
    assert_eq!((env.runs(long), env.runs(short)), (true, true), "in the order of the queue");
    assert!(!env.runs(next) && !env.runs(other));
}

#[test]
fn a_gang_starts_as_a_whole_over_several_nodes() {
    let mut env = Env::new(fcfs(BackfillMode::Easy), &[2, 2]);
    let one = env.job(1, 100);
    let gang = env.job(4, 10);
    assert!(!env.runs(gang), "three of four places are not enough");
    env.at(1050).end(one);
    let placed: u32 = env.running[&gang].iter().map(|(_, run)| run.tasks.count).sum();
    assert_eq!(placed, 4);
    assert!(
        matches!(env.facts.last(), Some(Fact::GangPlaced { parts, .. }) if parts.len() == 2),
        "both parts are recorded at once"
    );
}

#[test]
fn nothing_starts_that_would_run_into_a_reservation() {
    let mut env = Env::new(fcfs(BackfillMode::Easy), &[2]);
    env.reserve(window("maintenance", 1100, 1200, Reserved::All)).unwrap();
    let long = env.job(1, 101);
    let short = env.job(1, 100);
    assert!(!env.runs(long));
    assert!(env.runs(short), "it ends as the window begins");
    env.at(1100).end(short);
    env.at(1199);
    assert!(!env.runs(long));
    env.at(1200);
    assert!(env.runs(long));
    assert_eq!(env.core.reservations(), [], "it is over");
}

#[test]
fn jobs_of_a_reservation_run_inside_it_and_only_there() {
    let mut env = Env::new(fcfs(BackfillMode::Easy), &[2, 2]);
    let each = Request { resources: job(1, 50).resources, ..Request::default() };
    let amount = Reserved::Amount { each, count: 1, partition: None };
    env.reserve(window("demo", 1100, 1200, amount)).unwrap();
    let mut inside = job(1, 50);
    inside.scheduling.reservation = Some("demo".to_owned());
    let (a, b) = (env.submit(&inside).unwrap(), env.submit(&inside).unwrap());
    let outside: Vec<JobId> = (0..4).map(|_| env.job(1, 500)).collect();
    let started = outside.iter().filter(|job| env.runs(**job)).count();
    assert_eq!(started, 3, "one place stays free for the window");
    assert!(!env.runs(a));
    env.at(1100);
    assert!(env.runs(a) && !env.runs(b), "one place is set aside");
    env.at(1130).end(a);
    assert!(env.runs(b), "it ends in the window");
    let mut late = inside.clone();
    late.limits.wall_ms = Some(101_000);
    assert_eq!(env.submit(&late).unwrap_err().code, ErrorCode::Unsatisfiable);
    late.scheduling.reservation = Some("other".to_owned());
    assert_eq!(env.submit(&late).unwrap_err().code, ErrorCode::InvalidInput);
}

#[test]
fn what_has_no_limit_is_stopped_when_a_window_begins() {
    let mut env = Env::new(fcfs(BackfillMode::Easy), &[2]);
    let mut open = job(1, 0);
    open.limits.wall_ms = None;
    let open = env.submit(&open).unwrap();
    let sure = env.job(1, 90);
    env.reserve(window("maintenance", 1100, 1200, nodes(&["n1"]))).unwrap();
    env.at(1069);
    assert!(env.noticed.is_empty());
    env.at(1070);
    assert_eq!(env.noticed, [open].into(), "half a minute of notice; the other ends in time");
    assert!(env.runs(sure));
}

#[test]
fn reservations_that_cannot_be_kept_are_refused() {
    let mut env = Env::new(fcfs(BackfillMode::Easy), &[2]);
    let code = |result: Result<(), RequestError>| result.unwrap_err().code;
    assert_eq!(code(env.reserve(window("a", 10, 20, Reserved::All))), ErrorCode::InvalidInput);
    let unknown = window("a", 1100, 1200, nodes(&["n9"]));
    assert_eq!(code(env.reserve(unknown)), ErrorCode::NotFound);
    env.reserve(window("a", 1100, 1200, nodes(&["n1"]))).unwrap();
    assert_eq!(code(env.reserve(window("a", 1300, 1400, Reserved::All))), ErrorCode::Conflict);
    assert_eq!(code(env.reserve(window("b", 1150, 1250, Reserved::All))), ErrorCode::Conflict);
    let nightly = Reservation { every_ms: Some(100_000), ..window("b", 1010, 1020, Reserved::All) };
    assert_eq!(code(env.reserve(nightly)), ErrorCode::Conflict, "its second window meets it");
    let each = Request {
        resources: Resources { cpu_milli: 1000, ..Resources::default() },
        ..Request::default()
    };
    let three = Reserved::Amount { each, count: 3, partition: None };
    assert_eq!(code(env.reserve(window("b", 1300, 1400, three))), ErrorCode::Conflict);
    let request = RequestId(0);
    let unreserve = |name: &str| Input::Unreserve { request, name: name.to_owned() };
    assert_eq!(env.handle(unreserve("b")).unwrap().unwrap_err().code, ErrorCode::NotFound);
    assert_eq!(env.handle(unreserve("a")), Some(Ok(Answer::Done)));
}

#[test]
fn reservations_outlive_a_restart() {
    let mut env = Env::new(fcfs(BackfillMode::Easy), &[2]);
    env.reserve(window("a", 1100, 1200, nodes(&["n1"]))).unwrap();
    let snapshot = env.core.snapshot();
    let restored = Core::restore(env.core.config().clone(), &snapshot).unwrap();
    assert_eq!(restored.reservations(), env.core.reservations());
    assert_eq!(restored.snapshot(), snapshot);
}

/// Half a minute is short; what takes longer leaves that part, in millionths.
fn with_headroom(headroom: u32) -> Policy {
    let mut policy = fcfs(BackfillMode::Easy);
    policy.backfill = Backfill { headroom, short_ms: 30_000, ..policy.backfill };
    policy
}

#[test]
fn long_jobs_leave_headroom_and_short_ones_use_it() {
    let mut env = Env::new(with_headroom(250_000), &[8]);
    let long = env.job(6, 100);
    let longer = env.job(1, 31);
    let short = env.job(2, 30);
    assert!(env.runs(long), "it and what it leaves are all there is");
    assert!(!env.runs(longer), "of three it has two");
    assert!(env.runs(short), "it may take the last");
    env.at(1030).end(short);
    assert!(!env.runs(longer));
    env.at(1100).end(long);
    assert!(env.runs(longer));
}

#[test]
fn what_could_never_leave_headroom_leaves_none() {
    let mut env = Env::new(with_headroom(250_000), &[8]);
    let large = env.job(7, 100);
    assert!(env.runs(large), "with two more it would be more than there is");
    let small = env.job(1, 100);
    assert!(!env.runs(small));
}

#[test]
fn a_start_is_promised_for_when_headroom_is_left_and_takes_none_of_it() {
    let mut env = Env::new(with_headroom(250_000), &[8]);
    let (first, second) = (env.job(4, 50), env.job(2, 100));
    let head = env.job(5, 100);
    env.at(1049);
    let short = env.job(2, 30);
    assert!(env.runs(short), "the head has its seven not at 1050 but at 1100");
    env.at(1050).end(first);
    env.at(1079).end(short);
    assert!(!env.runs(head), "six are free");
    env.at(1080);
    let late = env.job(4, 25);
    assert!(!env.runs(late), "beside the head it would find three");
    let beside = env.job(3, 30);
    assert!(env.runs(beside), "it holds five, not seven");
    env.at(1100).end(second);
    assert!(!env.runs(head), "five and three are there, but nothing would be left");
    env.at(1110).end(beside);
    assert!(env.runs(head));
}

#[test]
fn headroom_is_left_on_all_nodes_together() {
    let mut env = Env::new(with_headroom(250_000), &[4, 4]);
    let gang = env.job(6, 100);
    let long = env.job(1, 100);
    let short = env.job(2, 30);
    assert!(env.runs(gang) && env.runs(short) && !env.runs(long));
    let mut env = Env::new(with_headroom(250_000), &[4, 4]);
    let tasks = env.submit(&JobSpec { count: 8, ..job(1, 100) }).unwrap();
    let placed: u32 = env.running[&tasks].iter().map(|(_, run)| run.tasks.count).sum();
    assert_eq!(placed, 6, "of tasks that need not start together, as many as leave it");
}

#[test]
fn headroom_that_comes_free_on_one_node_lets_a_job_start_on_another() {
    let mut env = Env::new(with_headroom(200_000), &[4, 6]);
    let large = |seconds| {
        let mut large = job(1, seconds);
        large.resources.memory = 40 << 30;
        large
    };
    env.submit(&large(30)).unwrap();
    let short = env.job(1, 30);
    assert_eq!(env.running[&short][0].0, 2);
    let filling: Vec<JobId> = (0..6).map(|_| env.job(1, 100)).collect();
    assert!(filling.iter().all(|job| env.runs(*job)));
    let waiting = env.submit(&large(100)).unwrap();
    assert!(!env.runs(waiting), "each node has one left");
    env.at(1010).end(short);
    assert_eq!(env.running[&waiting][0].0, 1, "the other has not the memory");
}

#[test]
fn jobs_of_a_reservation_leave_no_headroom() {
    let mut env = Env::new(with_headroom(500_000), &[2]);
    let each = Request { resources: job(1, 50).resources, ..Request::default() };
    let amount = Reserved::Amount { each, count: 2, partition: None };
    env.reserve(window("demo", 1100, 1200, amount)).unwrap();
    let mut inside = job(1, 50);
    inside.scheduling.reservation = Some("demo".to_owned());
    let both = [env.submit(&inside).unwrap(), env.submit(&inside).unwrap()];
    env.at(1100);
    assert!(both.iter().all(|job| env.runs(*job)));
}

#[test]
fn a_limit_that_was_lowered_since_a_task_was_placed_frees_no_window_of_it() {
    let mut env = Env::new(fcfs(BackfillMode::Easy), &[2]);
    let long = env.job(1, 500);
    let request = RequestId(0);
    let change = JobChange::TimeLimit(Some(50_000));
    assert_eq!(env.handle(Input::Change { request, job: long, change }), Some(Ok(Answer::Done)));
    env.reserve(window("maintenance", 1100, 1200, Reserved::All)).unwrap();
    env.at(1069);
    assert!(env.noticed.is_empty());
    env.at(1070);
    assert_eq!(env.noticed, [long].into(), "its worker knows the limit of 500 s");
}

#[test]
fn a_job_whose_reservation_was_given_up_does_not_run_elsewhere() {
    let mut env = Env::new(fcfs(BackfillMode::Easy), &[2]);
    env.reserve(window("demo", 1100, 1200, nodes(&["n1"]))).unwrap();
    let mut inside = job(1, 50);
    inside.scheduling.reservation = Some("demo".to_owned());
    let inside = env.submit(&inside).unwrap();
    let (request, name) = (RequestId(0), "demo".to_owned());
    assert_eq!(env.handle(Input::Unreserve { request, name }), Some(Ok(Answer::Done)));
    let outside = env.job(1, 50);
    assert!(env.runs(outside) && !env.runs(inside));
}

#[test]
fn jobs_that_are_alike_do_not_pass_what_stands_between_them_by_age() {
    let mut policy = policy(QueueOrder::ShortestFirst, None, BackfillMode::Conservative);
    policy.age_bound_ms = Some(50_000);
    let mut env = Env::new(policy, &[3]);
    let first = env.job(3, 100);
    let old = env.job(1, 60);
    let wide = env.at(1001).job(2, 100);
    let young = env.at(1090).job(1, 60);
    env.at(1100).end(first);
    assert!(env.runs(old) && env.runs(wide), "both have waited for the age bound");
    assert!(!env.runs(young));
}

#[test]
fn jobs_that_are_alike_do_not_pass_what_is_due_between_them() {
    let mut policy = policy(QueueOrder::Balanced, None, BackfillMode::Conservative);
    policy.balance = Balance { patience_ms: 50_000, full_area_ms: 20_000 };
    let mut env = Env::new(policy, &[4]);
    let first = env.job(4, 100);
    let old = env.job(1, 100); // due at 1050
    let wide = env.at(1030).job(2, 100); // due at 1080
    let young = env.at(1040).job(1, 100); // due at 1090
    let small = env.at(1045).job(1, 16); // a fifth of the full area: due at 1055
    env.at(1100).end(first);
    assert!(env.runs(old) && env.runs(small) && env.runs(wide));
    assert!(!env.runs(young));
}
