//! How many replicas of a service are wanted, from what gateways tell of its load.
//!
//! As Knative's autoscaler does it (knative.dev, "Additional autoscaling configuration for
//! Knative Pod Autoscaler"): the load is averaged over a stable window, and over a short one
//! that sees spikes. When the short one asks for twice what is ready, there is panic: it
//! counts then, and nothing goes down until the stable window has passed without a reason
//! for panic. Fewer are wanted only when fewer have been enough for the whole of the delay,
//! by either window: bursts that come again within it keep what they need.
//! Between more and fewer there is a band in which nothing changes. A service goes to zero
//! when no request has come for its idle time, and nothing else takes the last replica.
//!
//! Pure, and bounded for each service whatever it is told: nothing here reads a clock, knows
//! of nodes or changes anything but what it remembers of the load. None of that is recorded:
//! after a restart it begins anew, and goes down only when it has seen a whole window.

mod delay;
mod demand;
mod gateways;
mod latency;
#[cfg(test)]
mod tests;
mod window;

use wrun_protocol::limits::MAX_REPLICAS;
use wrun_protocol::service::{ScaleOn, ServiceSpec};
use wrun_protocol::wire::service::{LoadRow, ModelLoad, ScaleTo, ScaledBy, ServiceLoad};
use wrun_protocol::{NodeId, Timestamp};

use self::delay::Delay;
use self::demand::{Demand, Load, by_latency, for_waiting};
use self::gateways::{Gateways, REPORT_MS};
pub(crate) use self::window::Watched;
use self::window::{Span, Sums, Window, share};

/// So many times what is ready, asked for by the panic window, is panic.
const PANIC_FACTOR: u32 = 2;

/// By what a service is scaled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) min: u32,
    pub(crate) max: u32,
    pub(crate) on: Option<ScaleOn>,
    /// So many, whatever the load.
    pub(crate) fixed: Option<u32>,
    /// Requests that a replica handles at once.
    pub(crate) capacity: u32,
    pub(crate) window_ms: u64,
    pub(crate) panic_window_ms: u64,
    pub(crate) down_delay_ms: u64,
    pub(crate) idle_ms: u64,
}

impl Rules {
    /// As the specification says, and what a user has said instead.
    pub(crate) fn new(spec: &ServiceSpec, said: Option<ScaleTo>) -> Self {
        let scale = &spec.scale;
        let (min, max) = match said {
            Some(ScaleTo::Bounds { min, max }) => (min, max),
            _ => (scale.min, scale.max),
        };
        // Without a load to scale on one more than none is for those who wake it.
        let max = if scale.on.is_none() { max.min(min.max(1)) } else { max };
        let fixed = match said {
            Some(ScaleTo::Replicas(count)) => Some(count.min(MAX_REPLICAS)),
            // Nothing wakes a program: it is as many as were asked for.
            _ if spec.http().is_none() => Some(min.min(MAX_REPLICAS)),
            _ => None,
        };
        Self {
            min: min.min(max),
            max: max.min(MAX_REPLICAS),
            on: scale.on,
            fixed,
            capacity: spec.http().map_or(1, |http| http.concurrency),
            window_ms: scale.window_ms,
            panic_window_ms: scale.panic_window_ms,
            down_delay_ms: scale.down_delay_ms,
            idle_ms: scale.idle_ms,
        }
    }
}

/// Replicas that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// As was decided last.
    pub(crate) wanted: u32,
    /// Of all revisions.
    pub(crate) ready: u32,
}

/// How many there are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) wanted: u32,
    /// Why, where it is another number than was wanted before.
    pub(crate) why: ScaledBy,
    /// When this may be another number although no load was told; `None`: never.
    pub(crate) next: Option<Timestamp>,
}

/// What is remembered of a service's load.
#[derive(Clone, Debug)]
pub(crate) struct Autoscaler {
    rules: Rules,
    /// Since when every load was told. Before that, nothing is known.
    since: Timestamp,
    /// When a request was seen last, if ever.
    active: Option<Timestamp>,
    gateways: Gateways,
    stable: Window,
    short: Window,
    /// What its replicas ask of models, where it is scaled on that.
    of_models: Option<Box<OfModels>>,
    /// Of this revision the answers are counted apart.
    watched: Option<u32>,
    /// What the load asked for last, without panic, delay and bounds.
    level: Option<u32>,
    /// When `level` followed how long answers take.
    followed: Timestamp,
    panic: Option<Panic>,
    delay: Delay,
}

/// What replicas ask of models, as their nodes tell.
#[derive(Clone, Debug)]
struct OfModels {
    nodes: Gateways,
    stable: Window,
    short: Window,
}

/// Nothing goes down.
#[derive(Clone, Copy, Debug)]
struct Panic {
    until: Timestamp,
    most: u32,
}

impl Autoscaler {
    /// One that knows of no load since that instant.
    pub(crate) fn new(rules: Rules, since: Timestamp) -> Self {
        Self {
            since,
            active: None,
            gateways: Gateways::default(),
            stable: Window::new(rules.window_ms),
            short: Window::new(rules.panic_window_ms),
            of_models: rules.on.filter(|on| on.is_of_models()).map(|_| {
                Box::new(OfModels {
                    nodes: Gateways::default(),
                    stable: Window::new(rules.window_ms),
                    short: Window::new(rules.panic_window_ms),
                })
            }),
            watched: None,
            level: None,
            followed: since,
            panic: None,
            delay: Delay::new(rules.down_delay_ms),
            rules,
        }
    }

    /// Other rules from now on. Where these look over other times, the load begins anew.
    pub(crate) fn set_rules(&mut self, now: Timestamp, rules: Rules, standing: Standing) {
        let times =
            |rules: &Rules| (rules.window_ms, rules.panic_window_ms, rules.down_delay_ms, rules.on);
        if times(&self.rules) != times(&rules) {
            let (watched, active) = (self.watched, self.active);
            *self = Self { watched, active, ..Self::new(rules, now) };
        } else if self.rules != rules {
            // What was fixed goes down as what was needed does.
            if self.rules.fixed.is_some() && rules.fixed.is_none() {
                self.delay.clear();
                self.delay.hold(now, standing.wanted);
            }
            self.rules = rules;
        }
    }

    /// A gateway tells of its requests.
    pub(crate) fn on_load(&mut self, now: Timestamp, node: NodeId, load: &ServiceLoad) {
        let known = Timestamp(self.since.0.saturating_sub(REPORT_MS));
        let counted = self.gateways.on_report(now, node, (load.over_ms, load.waiting), known);
        let Span { begin, end } = counted.span;
        let told = self.sums(load);
        let part = end.saturating_sub(begin);
        let of = |amount: u64| {
            if counted.of_ms == 0 { amount } else { share(amount, part, counted.of_ms) }
        };
        let told = Sums { busy: of(told.busy), requests: of(told.requests), waiting: 0, ..told };
        let in_flight = load.revisions.iter().any(|revision| revision.in_flight > 0);
        if in_flight || load.waiting > 0 || told.busy > 0 || told.requests > 0 {
            self.active = self.active.max(Some(now));
        }
        // What waits now has not waited for as long as the report may cover.
        let waits = Span { begin: begin.max(end.saturating_sub(REPORT_MS)), end };
        let waited = u64::from(load.waiting).saturating_mul(1000);
        let waiting = waited.saturating_mul(waits.end.saturating_sub(waits.begin));
        for window in [&mut self.stable, &mut self.short] {
            window.add(counted.span, &told);
            if waiting > 0 {
                window.add(waits, &Sums { waiting, ..Sums::default() });
            }
        }
    }

    /// A node tells what replicas there asked of models.
    pub(crate) fn on_model_load(&mut self, now: Timestamp, node: NodeId, load: &ModelLoad) {
        let known = Timestamp(self.since.0.saturating_sub(REPORT_MS));
        let Some(of_models) = &mut self.of_models else { return };
        let OfModels { nodes, stable, short } = &mut **of_models;
        let counted = nodes.on_report(now, node, (load.over_ms, 0), known);
        let part = counted.span.end.saturating_sub(counted.span.begin);
        let busy = load.busy_ms.saturating_mul(1000);
        let busy = if counted.of_ms == 0 { busy } else { share(busy, part, counted.of_ms) };
        let requests = load.requests.saturating_mul(1000);
        let mut told = Sums { busy, requests, ..Sums::default() };
        told.latencies.add_told(&load.latency);
        stable.add(counted.span, &told);
        short.add(counted.span, &told);
    }

    fn sums(&self, load: &ServiceLoad) -> Sums {
        let mut sums = Sums::default();
        for revision in &load.revisions {
            sums.busy = sums.busy.saturating_add(revision.busy_ms.saturating_mul(1000));
            sums.requests = sums.requests.saturating_add(revision.requests.saturating_mul(1000));
            sums.errors = sums.errors.saturating_add(revision.errors);
            sums.latencies.add_told(&revision.latency);
            if Some(revision.revision) == self.watched {
                sums.watched = Watched { answers: revision.requests, errors: revision.errors };
            }
        }
        sums
    }

    /// It is not to go to zero before its idle time has passed once more.
    pub(crate) fn keep_awake(&mut self, now: Timestamp) {
        self.active = self.active.max(Some(now));
    }

    /// A gateway is gone.
    pub(crate) fn on_gateway_gone(&mut self, node: NodeId) {
        self.gateways.forget(node);
        if let Some(of_models) = &mut self.of_models {
            of_models.nodes.forget(node);
        }
    }

    /// Counts the answers of that revision apart from now on, if it did not yet.
    pub(crate) fn watch(&mut self, revision: Option<u32>) {
        if self.watched != revision {
            self.watched = revision;
            self.stable.forget_watched();
        }
    }

    /// Answers of a revision over the stable window, since it is watched.
    pub(crate) fn watched(&self, revision: u32, now: Timestamp) -> Watched {
        match self.watched {
            Some(watched) if watched == revision => self.stable.sums(now).watched,
            _ => Watched::default(),
        }
    }

    /// How many replicas are wanted now.
    pub(crate) fn decide(&mut self, now: Timestamp, standing: Standing) -> Decision {
        if let Some(wanted) = self.rules.fixed {
            return Decision { wanted, why: ScaledBy::User, next: self.forget_at() };
        }
        let Rules { min, max, .. } = self.rules;
        if self.delay.is_empty() {
            self.delay.hold(now, standing.wanted);
        }
        let level = self.level(now, standing.ready);
        let level = self.panic(now, level, standing);
        let idle_at = self.active.unwrap_or(self.since).0.saturating_add(self.rules.idle_ms);
        let idle_at = Timestamp(idle_at);
        let may_sleep = min == 0 && self.panic.is_none() && self.is_full(now);
        let asleep = may_sleep && now >= idle_at;
        // A service that is awake keeps one until its idle time is over.
        let used = self.active.is_some() && now < idle_at;
        let awake = u32::from(!asleep && (standing.wanted > 0 || used));
        let asked = level.max(awake).min(max);
        let wanted = if asleep {
            self.delay.clear();
            self.level = None;
            0
        } else {
            self.delay.hold(now, asked).clamp(min, max)
        };
        let wanted = if self.is_full(now) { wanted } else { wanted.max(standing.wanted.min(max)) };
        let why = match (standing.wanted, wanted) {
            (0, 1..) => ScaledBy::Request,
            (1.., 0) => ScaledBy::Idle,
            _ => ScaledBy::Load,
        };
        Decision { wanted, why, next: self.next(now, wanted, idle_at) }
    }

    /// What the load asks for, by both windows: the one that the level follows, and the one
    /// in which a spike is seen first.
    fn level(&mut self, now: Timestamp, ready: u32) -> Level {
        let waiting = self.gateways.waiting(now);
        let at_once =
            if ready == 0 { for_waiting(self.rules.on, waiting, self.rules.capacity) } else { 0 };
        let Some(on) = self.rules.on else { return Level { stable: at_once, short: 0 } };
        let (stable, short) = (self.stable.sums(now), self.short.sums(now));
        let of_models = self.of_models.as_ref();
        let of_models = of_models.map(|of| (of.stable.sums(now), of.short.sums(now)));
        let (models_stable, models_short) = of_models.unwrap_or_default();
        let load = |sums, of_models, window: &Window| {
            let over_ms = self.over_ms(now, window.length_ms());
            Demand::of(on, Load { sums, of_models, over_ms, capacity: self.rules.capacity })
        };
        let demand = load(&stable, &models_stable, &self.stable);
        let spike = load(&short, &models_short, &self.short);
        let before = self.level.unwrap_or(0);
        let level = match on {
            ScaleOn::Latency { ms } => {
                self.by_latency(now, ms, ready, &stable, &short).max(demand.least)
            }
            ScaleOn::ModelLatency { ms } => {
                self.by_latency(now, ms, ready, &models_stable, &models_short).max(demand.least)
            }
            _ => before.clamp(demand.least, demand.most.max(demand.least)),
        };
        self.level = Some(level);
        Level { stable: level.max(at_once), short: spike.least.max(at_once) }
    }

    /// Follows how long answers take: up by what the short window says, once in that time;
    /// down by the stable one, once in that. Before, an earlier step is not seen in them.
    fn by_latency(
        &mut self,
        now: Timestamp,
        target_ms: u32,
        ready: u32,
        stable: &Sums,
        short: &Sums,
    ) -> u32 {
        let before = self.level.unwrap_or(ready);
        let passed = now.since(self.followed).as_millis();
        let up = by_latency(target_ms, before, ready, short).filter(|to| *to > before);
        let down = match by_latency(target_ms, before, ready, stable) {
            None if stable.requests == 0 => Some(0),
            to => to.filter(|to| *to < before),
        };
        let up = up.filter(|_| passed >= u128::from(self.rules.panic_window_ms));
        let down = down.filter(|_| passed >= u128::from(self.rules.window_ms));
        let Some(to) = up.or(down) else { return before };
        self.followed = now;
        to
    }

    /// What is asked for, by the short window where there is panic.
    fn panic(&mut self, now: Timestamp, level: Level, standing: Standing) -> u32 {
        let short = level.short.min(self.rules.max);
        let over = short >= standing.ready.max(1).saturating_mul(PANIC_FACTOR);
        if over {
            let until = Timestamp(now.0.saturating_add(self.rules.window_ms));
            let most = self.panic.map_or(standing.wanted, |panic| panic.most);
            self.panic = Some(Panic { until, most });
        }
        self.panic = self.panic.filter(|panic| over || now < panic.until);
        // A spike without panic raises nothing, but fewer would not have been enough for it.
        let Some(panic) = &mut self.panic else {
            return level.stable.max(short.min(standing.wanted));
        };
        panic.most = panic.most.max(level.stable).max(level.short).min(self.rules.max);
        panic.most
    }

    /// How long of a time that ends now the load is known; at least as long as a report.
    fn over_ms(&self, now: Timestamp, length_ms: u64) -> u64 {
        let known = now.0.saturating_sub(self.since.0).max(REPORT_MS);
        known.min(length_ms.max(1))
    }

    /// Whether the load of the whole stable window is known.
    fn is_full(&self, now: Timestamp) -> bool {
        now >= self.full_at()
    }

    fn full_at(&self) -> Timestamp {
        Timestamp(self.since.0.saturating_add(self.rules.window_ms))
    }

    fn next(&self, now: Timestamp, wanted: u32, idle_at: Timestamp) -> Option<Timestamp> {
        let sleeps = (self.rules.min == 0 && wanted > 0).then_some(idle_at);
        let falls = wanted > self.rules.min;
        let looks = [
            sleeps,
            falls.then(|| self.full_at()),
            self.forget_at()
                .filter(|at| *at > now)
                .map(|at| if falls { self.stable.next_bucket(now) } else { at }),
            self.delay.next().filter(|_| falls),
            self.panic.map(|panic| panic.until),
        ];
        looks.into_iter().flatten().filter(|at| *at > now).min()
    }

    /// When nothing is left of the loads that were told.
    fn forget_at(&self) -> Option<Timestamp> {
        let of_models = self.of_models.as_ref();
        let of_models = of_models.and_then(|of| of.stable.empty_at().max(of.short.empty_at()));
        self.stable.empty_at().max(self.short.empty_at()).max(of_models)
    }

    /// Whether a new one would decide as this one does, once it has seen a whole window.
    pub(crate) fn is_forgettable(&self, now: Timestamp, wanted: u32) -> bool {
        let settled = self.rules.fixed.is_some() || wanted == self.rules.min;
        settled
            && self.is_full(now)
            && self.panic.is_none()
            && self.forget_at().is_none_or(|at| at <= now)
    }

    /// The load as a user sees it.
    pub(crate) fn load(&self, now: Timestamp) -> LoadRow {
        let sums = self.stable.sums(now);
        let window_ms = self.over_ms(now, self.stable.length_ms());
        LoadRow {
            window_ms,
            requests: sums.requests.div_ceil(1000),
            errors: sums.errors,
            concurrency_milli: sums.busy / window_ms,
            waiting: self.gateways.waiting(now),
            p50_us: sums.latencies.quantile_us(500).unwrap_or(0),
            p99_us: sums.latencies.quantile_us(990).unwrap_or(0),
        }
    }
}

/// What the load asks for.
#[derive(Clone, Copy, Debug)]
struct Level {
    stable: u32,
    short: u32,
}
