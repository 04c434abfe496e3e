//! The tables of a service file as the specification that travels.

use wrun_protocol::service::{
    CanaryStep, HeaderMatch, HttpService, ProgramService, Readiness, Restart, RestartWhen, Reuse,
    Rollout, Scale, ScaleOn, ServiceKind, ServiceSpec, Strategy,
};

use super::fields::{
    HeaderTable, HttpTable, ProgramTable, ReadinessTable, RestartTable, ReuseTable, RolloutTable,
    ScaleOnName, ScaleTable, ServiceTables, StrategyName, WhenName,
};
use crate::plan::set;

/// What is wrong, with the key at which it is written.
pub(crate) type Misplaced = (&'static str, String);

/// How long an instance is kept without a request.
const REUSE_IDLE_MS: u64 = 60_000;

/// How long a program runs before it counts as ready.
const READY_AFTER_MS: u64 = 1000;

/// How long the old revision stays after a change from blue to green.
const KEEP_OLD_MS: u64 = 300_000;

/// How a component can stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It answers HTTP requests.
    Http,
    /// It is a program that goes on.
    Program,
}

impl ServiceTables {
    /// The specification of a component that stays in that `way`.
    pub(crate) fn spec(self, way: Way) -> Result<ServiceSpec, Misplaced> {
        let Self { http, program, readiness, scale, rollout, restart } = self;
        let kind = match way {
            Way::Http => {
                let why = "the component answers HTTP requests (it exports `wasi:http`) and is no program";
                refuse("program", program.is_some(), || why.to_owned())?;
                ServiceKind::Http(of_http(http.unwrap_or_default(), readiness))
            }
            Way::Program => {
                let exports = "the component is a program (it exports `wasi:cli/run`)";
                let why = || format!("{exports} and answers no HTTP requests");
                refuse("http", http.is_some(), why)?;
                let why = || format!("{exports}; use `program.ready_after`");
                refuse("readiness", readiness.is_some(), why)?;
                ServiceKind::Program(of_program(program.unwrap_or_default()))
            }
        };
        let concurrency = match &kind {
            ServiceKind::Http(http) => Some(http.concurrency),
            ServiceKind::Program(_) => None,
        };
        let scale = of_scale(&scale, concurrency)?;
        let (rollout, restart) = (of_rollout(rollout)?, of_restart(restart));
        Ok(ServiceSpec { kind, scale, rollout, restart })
    }
}

fn refuse(key: &'static str, given: bool, why: impl FnOnce() -> String) -> Result<(), Misplaced> {
    if given { Err((key, why())) } else { Ok(()) }
}

fn of_http(table: HttpTable, readiness: Option<ReadinessTable>) -> HttpService {
    let mut http = HttpService {
        routes: table.routes.into_iter().map(|route| route.0).collect(),
        callers: table.callers.into_iter().map(|caller| caller.0).collect(),
        reuse: table.reuse.map(of_reuse),
        readiness: readiness.map(of_readiness).unwrap_or_default(),
        ..HttpService::default()
    };
    set(&mut http.concurrency, table.concurrency.map(|number| number.0));
    set(&mut http.timeout_ms, table.timeout.map(|span| span.ms));
    set(&mut http.idle_timeout_ms, table.idle_timeout.map(|span| span.ms));
    set(&mut http.max_body, table.max_body.map(|size| size.0));
    set(&mut http.max_waiting, table.max_waiting.map(|number| number.0));
    set(&mut http.wait_ms, table.wait.map(|span| span.ms));
    set(&mut http.retries, table.retries.map(|number| number.0));
    http
}

fn of_reuse(table: ReuseTable) -> Reuse {
    Reuse {
        requests: table.requests.map_or(0, |number| number.0),
        concurrent: table.concurrent.map_or(1, |number| number.0),
        idle_ms: table.idle.map_or(REUSE_IDLE_MS, |span| span.ms),
    }
}

fn of_readiness(table: ReadinessTable) -> Readiness {
    let mut readiness = Readiness { path: table.path, ..Readiness::default() };
    set(&mut readiness.interval_ms, table.interval.map(|span| span.ms));
    set(&mut readiness.timeout_ms, table.timeout.map(|span| span.ms));
    set(&mut readiness.failures, table.failures.map(|number| number.0));
    set(&mut readiness.start_ms, table.start.map(|span| span.ms));
    readiness
}

fn of_program(table: ProgramTable) -> ProgramService {
    // Ports are bounded by their type.
    let port = |port: &crate::value::Whole<1, 65_535>| u16::try_from(port.0).ok();
    ProgramService {
        ports: table.ports.iter().filter_map(port).collect(),
        ready_after_ms: table.ready_after.map_or(READY_AFTER_MS, |span| span.ms),
    }
}

/// `concurrency` of a service that answers HTTP requests.
fn of_scale(table: &ScaleTable, concurrency: Option<u32>) -> Result<Scale, Misplaced> {
    let min = table.min.map_or(1, |number| number.0);
    let max = table.max.map_or(min.max(1), |number| number.0);
    let mut scale = Scale { min, max, ..Scale::default() };
    set(&mut scale.window_ms, table.window.map(|span| span.ms));
    set(&mut scale.panic_window_ms, table.panic_window.map(|span| span.ms));
    set(&mut scale.down_delay_ms, table.down_delay.map(|span| span.ms));
    set(&mut scale.idle_ms, table.idle.map(|span| span.ms));
    let varies = max > min && concurrency.is_some();
    let on = table.on.or(varies.then_some(ScaleOnName::Concurrency));
    scale.on = match (on, table.target, concurrency) {
        (None, None, _) => None,
        (None, Some(_), _) => {
            let why = "there are always as many replicas; set `scale.max` above `scale.min`";
            return Err(("scale.target", why.to_owned()));
        }
        (Some(on), Some(target), _) => {
            Some(target.on(on).map_err(|why| ("scale.target", why.to_owned()))?)
        }
        // Some room is left, for what comes before another replica is there.
        (Some(ScaleOnName::Concurrency), None, Some(most)) => {
            Some(ScaleOn::Concurrency { milli: most.saturating_mul(700) })
        }
        (Some(_), None, _) => {
            let why = "it needs `scale.target`: what each replica is to have of it";
            return Err(("scale.on", why.to_owned()));
        }
    };
    Ok(scale)
}

fn of_rollout(table: RolloutTable) -> Result<Rollout, Misplaced> {
    let name = table.strategy.unwrap_or(StrategyName::Rolling);
    let (is_canary, is_rolling) = (name == StrategyName::Canary, name == StrategyName::Rolling);
    let only = |what: &str| format!("it is for `strategy = \"{what}\"`");
    refuse("rollout.steps", table.steps.is_some() && !is_canary, || only("canary"))?;
    let is_other = name != StrategyName::BlueGreen;
    refuse("rollout.keep_old", table.keep_old.is_some() && is_other, || only("blue-green"))?;
    let either = || "it is for `strategy = \"canary\"` or `\"blue-green\"`".to_owned();
    refuse("rollout.header", table.header.is_some() && is_rolling, either)?;
    let header = table.header.map(of_header);
    let strategy = match name {
        StrategyName::Rolling => Strategy::Rolling,
        StrategyName::Canary => {
            let steps = table.steps.unwrap_or_default();
            let write = "a canary needs `steps`, like [{ percent = 5, wait = \"10m\" }]";
            refuse("rollout.strategy", steps.is_empty(), || write.to_owned())?;
            let step = |step: super::fields::StepTable| CanaryStep {
                // Bounded by its type.
                percent: u8::try_from(step.percent.0).unwrap_or(100),
                wait_ms: step.wait.map(|span| span.ms),
            };
            Strategy::Canary { steps: steps.into_iter().map(step).collect(), header }
        }
        StrategyName::BlueGreen => {
            let keep_ms = table.keep_old.map_or(KEEP_OLD_MS, |span| span.ms);
            Strategy::BlueGreen { header, keep_ms }
        }
    };
    let mut rollout = Rollout { strategy, ..Rollout::default() };
    set(&mut rollout.surge, table.surge.map(|number| number.0));
    set(&mut rollout.unavailable, table.unavailable.map(|number| number.0));
    set(&mut rollout.max_errors_milli, table.max_errors.map(|part| part.millionths.div_ceil(1000)));
    set(&mut rollout.drain_ms, table.drain.map(|span| span.ms));
    set(&mut rollout.keep, table.keep.map(|number| number.0));
    Ok(rollout)
}

/// Names of headers have no case.
fn of_header(table: HeaderTable) -> HeaderMatch {
    HeaderMatch { name: table.name.to_ascii_lowercase(), value: table.value }
}

fn of_restart(table: RestartTable) -> Restart {
    let mut restart = Restart::default();
    set(&mut restart.backoff_ms, table.backoff.map(|span| span.ms));
    set(&mut restart.max_backoff_ms, table.max_backoff.map(|span| span.ms));
    restart.when = match table.when {
        None | Some(WhenName::Always) => RestartWhen::Always,
        Some(WhenName::OnFailure) => RestartWhen::OnFailure,
        Some(WhenName::Never) => RestartWhen::Never,
    };
    restart
}
