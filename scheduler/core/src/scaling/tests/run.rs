//! A service under a load: gateways that tell of it every second, and replicas that are
//! ready a second after they are wanted.

use wrun_protocol::service::{HttpService, ScaleOn, ServiceKind, ServiceSpec};
use wrun_protocol::wire::service::{ModelLoad, RevisionLoad, ScaleTo, ScaledBy, ServiceLoad};
use wrun_protocol::{JobId, NodeId, Timestamp};

use crate::scaling::{Autoscaler, Decision, Rules, Standing};

/// When every run begins.
pub(super) const BEGIN: u64 = 1_000_000_000;

pub(super) struct Run {
    pub(super) scaler: Autoscaler,
    pub(super) standing: Standing,
    pub(super) now: Timestamp,
    gateways: u64,
    last: Decision,
    /// What was wanted, each time that was another number: when, in milliseconds from the
    /// begin.
    pub(super) changes: Vec<(u64, u32, ScaledBy)>,
    /// Times that it was looked at without a report.
    pub(super) looks: usize,
}

/// A service that is to have ten requests at once for each replica, of which it can hold
/// sixteen; with the windows that there are by default.
pub(super) fn spec(min: u32, max: u32) -> ServiceSpec {
    let mut spec = ServiceSpec::new(ServiceKind::Http(HttpService::default()));
    (spec.scale.min, spec.scale.max) = (min, max);
    spec.scale.on = Some(ScaleOn::Concurrency { milli: 10_000 });
    spec
}

/// A report over so long: requests under way and waiting, both times ten.
pub(super) fn report(over_ms: u64, tenths: u64, waiting: u32) -> ServiceLoad {
    let id = "ann/api".split_once('/').unwrap();
    let id = wrun_protocol::service::ServiceId {
        tenant: id.0.parse().unwrap(),
        name: id.1.parse().unwrap(),
    };
    let revision = RevisionLoad {
        revision: 1,
        in_flight: u32::try_from(tenths / 10).unwrap_or(u32::MAX),
        busy_ms: tenths.saturating_mul(over_ms) / 10,
        requests: tenths.saturating_mul(over_ms) / 1000,
        errors: 0,
        // Each takes a tenth of a second.
        latency: std::iter::repeat_n(0, 17).chain([tenths * over_ms / 1000]).collect(),
    };
    ServiceLoad { id, over_ms, waiting, revisions: vec![revision] }
}

impl Run {
    /// Of a service that there has been for long, without load.
    pub(super) fn new(spec: &ServiceSpec, gateways: u64) -> Self {
        Self::since(spec, gateways, 0)
    }

    /// The same with a core that began to look then.
    pub(super) fn since(spec: &ServiceSpec, gateways: u64, since: u64) -> Self {
        let rules = Rules::new(spec, None);
        let wanted = rules.min;
        Self {
            scaler: Autoscaler::new(rules, Timestamp(since)),
            standing: Standing { wanted, ready: wanted },
            now: Timestamp(BEGIN),
            gateways,
            last: Decision { wanted, why: ScaledBy::Load, next: None },
            changes: Vec::new(),
            looks: 0,
        }
    }

    pub(super) fn set(&mut self, spec: &ServiceSpec, said: Option<ScaleTo>) {
        self.scaler.set_rules(self.now, Rules::new(spec, said), self.standing);
        self.decide();
    }

    /// A second passes under so much load, in tenths of requests at once. What the replicas
    /// cannot hold waits.
    pub(super) fn second(&mut self, tenths: u32) -> &mut Self {
        self.idle_until(Timestamp(self.now.0 + 1000));
        if tenths > 0 {
            let held = u64::from(tenths).min(u64::from(self.standing.ready) * 160);
            let waiting = (u64::from(tenths) - held).div_ceil(10) as u32;
            for node in 0..self.gateways {
                let of = |all: u64| all / self.gateways + u64::from(node < all % self.gateways);
                let load = report(1000, of(held), of(waiting.into()) as u32);
                self.scaler.on_load(self.now, NodeId(node + 1), &load);
            }
        }
        self.standing.ready = self.standing.wanted;
        self.decide();
        self
    }

    /// The same, while so much is asked of models at once by replicas on two nodes, and each
    /// answer takes so many microseconds; how much is known of `asked` is what models do with it.
    pub(super) fn second_of_models(&mut self, asked: u64, latency_us: u64) -> &mut Self {
        let bucket = (u64::BITS - latency_us.leading_zeros()) as usize;
        let answers = (asked * 1_000_000).checked_div(latency_us).unwrap_or_default();
        for node in [1, 2] {
            let load = ModelLoad {
                job: JobId(1),
                over_ms: 1000,
                busy_ms: asked * 1000 / 2,
                requests: answers / 2,
                latency: std::iter::repeat_n(0, bucket).chain([answers / 2]).collect(),
            };
            self.scaler.on_model_load(Timestamp(self.now.0 + 1000), NodeId(node), &load);
        }
        self.second(10)
    }

    pub(super) fn seconds(&mut self, count: u32, tenths: u32) -> &mut Self {
        (0..count).for_each(|_| _ = self.second(tenths));
        self
    }

    /// A value of the curve for each five seconds.
    pub(super) fn curve(&mut self, curve: &[u32]) -> &mut Self {
        curve.iter().for_each(|tenths| _ = self.seconds(5, *tenths));
        self
    }

    /// Nothing is told until then; it is looked at when it asked for that.
    pub(super) fn idle_until(&mut self, until: Timestamp) {
        while let Some(at) = self.last.next.filter(|at| *at <= until) {
            assert!(at > self.now, "it asks to be looked at now, for ever");
            self.now = at;
            self.looks += 1;
            self.standing.ready = self.standing.wanted;
            self.decide();
        }
        self.now = until;
    }

    pub(super) fn decide(&mut self) {
        self.last = self.scaler.decide(self.now, self.standing);
        let Decision { wanted, why, .. } = self.last;
        if wanted != self.standing.wanted {
            self.standing.wanted = wanted;
            self.changes.push((self.now.0 - BEGIN, wanted, why));
            // What was wanted is what the next decision begins with.
            self.last = self.scaler.decide(self.now, self.standing);
            assert_eq!(self.last.wanted, wanted, "it decides otherwise at once");
        }
    }

    pub(super) fn wanted(&self) -> u32 {
        self.standing.wanted
    }

    pub(super) fn next(&self) -> Option<u64> {
        self.last.next.map(|at| at.0 - BEGIN)
    }

    /// How often what was wanted went up after it had gone down, or the reverse.
    pub(super) fn turns(&self) -> usize {
        let wanted: Vec<u32> = self.changes.iter().map(|(_, wanted, _)| *wanted).collect();
        let ups: Vec<bool> = wanted.windows(2).map(|pair| pair[1] > pair[0]).collect();
        ups.windows(2).filter(|pair| pair[0] != pair[1]).count()
    }
}
