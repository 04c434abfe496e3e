//! Random events against a model: every request is answered exactly once, no run is larger
//! or more mixed than it may be, nothing is held longer than it may be.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::*;
use super::env::MS;

const TENANTS: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Clone, Debug)]
enum Event {
    Push { tenant: usize, weight: u32, key: Option<u8>, rows: u32, cost: u64, time: u64 },
    Cancel(usize),
    End(usize),
    Pass(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let key = prop_oneof![1 => Just(None), 4 => (0..2_u8).prop_map(Some)];
    let push = (0..4_usize, 1..4_u32, key, 1..4_u32, 1..50_u64, 0..40_u64);
    let push = push.prop_map(|(tenant, weight, key, rows, cost, time)| Event::Push {
        tenant,
        weight,
        key,
        rows,
        cost,
        time,
    });
    let event = prop_oneof![
        5 => push,
        1 => (0..64_usize).prop_map(Event::Cancel),
        3 => (0..4_usize).prop_map(Event::End),
        2 => (0..5_u64).prop_map(Event::Pass),
    ];
    prop::collection::vec(event, 1..200)
}

/// What the model knows of a request.
#[derive(Clone, Debug)]
struct Known {
    tenant: usize,
    key: Option<u8>,
    rows: u32,
    arrived: Instant,
    deadline: Instant,
}

struct Model {
    queue: Queue<u8, u64>,
    settings: Settings,
    now: Instant,
    waiting: BTreeMap<RequestId, Known>,
    runs: Vec<(RunId, Vec<RequestId>, u32)>,
    /// How often each request was answered or given up.
    answers: BTreeMap<RequestId, u32>,
    /// The rows of the run that was over last.
    last_rows: u32,
}

impl Model {
    fn new(settings: Settings) -> Self {
        Self {
            queue: Queue::new(settings),
            settings,
            now: Instant::now(),
            waiting: BTreeMap::new(),
            runs: Vec::new(),
            answers: BTreeMap::new(),
            last_rows: 0,
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Push { tenant, weight, key, rows, cost, time } => {
                let deadline = self.now + Duration::from_millis(time);
                let name = TENANTS[tenant].parse().unwrap();
                let request =
                    Request { tenant: name, weight, key, rows, cost, deadline, payload: 0 };
                let known = Known { tenant, key, rows, arrived: self.now, deadline };
                self.push(request, known);
            }
            Event::Cancel(index) => {
                let under_way = self.runs.iter().flat_map(|(_, requests, _)| requests);
                let all: Vec<_> = self.waiting.keys().chain(under_way).copied().collect();
                if let Some(id) = all.get(index).copied() {
                    self.queue.cancel(id);
                    self.answer(id);
                }
            }
            Event::End(index) if index < self.runs.len() => self.end(index),
            Event::End(_) => {}
            Event::Pass(time) => self.now += Duration::from_millis(time),
        }
        self.settle();
    }

    fn push(&mut self, request: Request<u8, u64>, known: Known) {
        let Settings { waiting, waiting_per_tenant, .. } = self.settings;
        let of_tenant = |other: &&Known| other.tenant == known.tenant;
        let tenants = self.waiting.values().filter(of_tenant).count();
        match self.queue.push(self.now, request) {
            Ok(id) => {
                assert!(self.waiting.len() < waiting && tenants < waiting_per_tenant);
                self.waiting.insert(id, known);
                self.answers.insert(id, 0);
            }
            Err((Refused::Full, _)) => assert_eq!(self.waiting.len(), waiting),
            Err((Refused::TenantFull, _)) => assert_eq!(tenants, waiting_per_tenant),
        }
    }

    /// The request is out of all lists, with one answer more.
    fn answer(&mut self, id: RequestId) {
        self.waiting.remove(&id);
        self.runs.iter_mut().for_each(|(_, requests, _)| requests.retain(|other| *other != id));
        *self.answers.get_mut(&id).unwrap() += 1;
    }

    fn end(&mut self, index: usize) {
        let (run, mut requests, rows) = self.runs.remove(index);
        let mut ended = self.queue.ended(self.now, run);
        ended.sort();
        requests.sort();
        assert_eq!(ended, requests, "a run answers those of its requests that are left");
        ended.into_iter().for_each(|id| *self.answers.get_mut(&id).unwrap() += 1);
        self.last_rows = rows;
    }

    /// Does all there is to do at this time, as a driver would.
    fn settle(&mut self) {
        while let Some(output) = self.queue.poll(self.now) {
            match output {
                Output::Expired { request, started } => {
                    let running = self.runs.iter().any(|(_, all, _)| all.contains(&request));
                    assert_eq!(started, running);
                    self.answer(request);
                }
                Output::Abandoned { run } => {
                    let (_, left, _) = self.runs.iter().find(|(id, _, _)| *id == run).unwrap();
                    assert_eq!(left, &[], "a run is given up when nobody wants it");
                }
            }
        }
        while let Some(Started { run, requests }) = self.queue.start(self.now) {
            self.started(run, requests.into_iter().map(|(id, _)| id).collect());
        }
        self.check_holding();
    }

    fn started(&mut self, run: RunId, requests: Vec<RequestId>) {
        let Settings { max_batch, places, .. } = self.settings;
        let known: Vec<_> =
            requests.iter().map(|id| (*id, self.waiting.remove(id).unwrap())).collect();
        let rows: u32 = known.iter().map(|(_, known)| known.rows).sum();
        assert!(rows <= max_batch || requests.len() == 1, "{rows} rows of {max_batch}");
        for (id, started) in &known {
            assert!(started.key.is_some() || requests.len() == 1, "merged what may not be");
            assert_eq!(started.key, known[0].1.key, "mixed keys");
            assert!(started.deadline > self.now, "ran what was expired");
            let passed_over = self.waiting.iter().any(|(other, waiting)| {
                (waiting.tenant, waiting.key) == (started.tenant, started.key)
                    && (waiting.deadline, *other) < (started.deadline, *id)
            });
            assert!(!passed_over, "a nearer deadline of the tenant was passed over");
        }
        self.runs.push((run, requests, rows));
        assert!(self.runs.len() <= places);
    }

    /// Whatever waits while there is a place waits for company, and for no longer than it may.
    fn check_holding(&self) {
        let Settings { max_batch, max_delay, places, .. } = self.settings;
        if self.waiting.is_empty() || self.runs.len() >= places {
            return;
        }
        let until = self.queue.poll_timeout().expect("somebody waits, and there is a time limit");
        let oldest = self.waiting.values().map(|known| known.arrived).min().unwrap();
        assert!(until > self.now && until <= oldest + max_delay, "held for too long");
        assert!(self.waiting.values().all(|known| known.key.is_some()), "held what runs alone");
        for key in [Some(0), Some(1)] {
            let with_key = self.waiting.values().filter(|known| known.key == key);
            let rows: u32 = with_key.map(|known| known.rows).sum();
            assert!(rows < max_batch, "held a full run");
        }
        let company = !self.runs.is_empty() || self.last_rows > 1;
        assert!(company, "held although nothing else runs, and nobody is likely to come");
    }

    /// Ends everything, and sees that everybody had one answer.
    fn finish(mut self) {
        while !self.runs.is_empty() || !self.waiting.is_empty() {
            self.now += 4 * MS;
            while !self.runs.is_empty() {
                self.end(0);
            }
            self.settle();
        }
        assert!(self.answers.values().all(|answers| *answers == 1), "{:?}", self.answers);
        assert_eq!((self.queue.waiting(), self.queue.running()), (0, 0));
        assert_eq!(self.queue.poll_timeout(), None, "nothing is left behind");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_request_is_answered_once_and_every_run_is_as_it_may_be(
        max_batch in 1..6_u32,
        max_delay in 0..4_u64,
        places in 1..3_usize,
        events in events(),
    ) {
        let mut model = Model::new(Settings {
            max_batch,
            max_delay: Duration::from_millis(max_delay),
            places,
            waiting: 12,
            waiting_per_tenant: 5,
        });
        events.into_iter().for_each(|event| model.event(event));
        model.finish();
    }

    #[test]
    fn tenants_with_work_share_by_weight_whatever_they_send(
        weights in prop::collection::vec(1..5_u32, 2..4),
        costs in prop::collection::vec(1..20_u64, 4),
        max_batch in 1..5_u32,
    ) {
        let settings = Settings {
            max_batch,
            max_delay: Duration::ZERO,
            places: 1,
            waiting: usize::MAX,
            waiting_per_tenant: usize::MAX,
        };
        let mut queue = Queue::new(settings);
        let now = Instant::now();
        for (tenant, weight) in weights.iter().enumerate() {
            for _ in 0..200 {
                let request = Request {
                    tenant: TENANTS[tenant].parse().unwrap(),
                    weight: *weight,
                    key: Some(tenant as u8 % 2),
                    rows: 1,
                    cost: costs[tenant],
                    deadline: now + 1000 * MS,
                    payload: tenant as u64,
                };
                queue.push(now, request).unwrap();
            }
        }
        let mut spent = vec![0; weights.len()];
        let mut left = vec![200; weights.len()];
        while left.iter().all(|left| *left > 0) {
            let Started { run, requests } = queue.start(now).unwrap();
            for (_, tenant) in requests {
                spent[tenant as usize] += costs[tenant as usize];
                left[tenant as usize] -= 1;
            }
            queue.ended(now, run);
        }
        // Nobody is ahead by more than what one run and one request more may cost.
        let share = |(spent, weight): (&u64, &u32)| *spent as f64 / f64::from(*weight);
        let shares: Vec<_> = spent.iter().zip(&weights).map(share).collect();
        let most = shares.iter().fold(0.0, |a: f64, b| a.max(*b));
        let least = shares.iter().fold(f64::MAX, |a: f64, b| a.min(*b));
        prop_assert!(most - least <= 20.0 * 5.0, "{spent:?} for {weights:?} at {costs:?}");
    }
}
