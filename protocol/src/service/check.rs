//! The bounds of a service's specification.

use super::{
    CanaryStep, HeaderMatch, HttpService, ProgramService, Readiness, Rollout, Scale, ScaleOn,
    ServiceKind, ServiceSpec, Strategy,
};
use crate::job::{Input, JobSpec};
use crate::limits::{self, MAX_LIST, MAX_NAME, MAX_REPLICAS, MAX_TIME_MS};
use crate::scheduling::Problem;

type Checked = Result<(), Problem>;

impl ServiceSpec {
    /// Checks every field against its bounds, and that the job is one that can stay.
    pub(crate) fn check(&self, job: &JobSpec) -> Checked {
        if let Err(error) = job.name.parse::<super::ServiceName>() {
            return Err(("name", error.to_string()));
        }
        self.check_job(job)?;
        match &self.kind {
            ServiceKind::Http(http) => http.check()?,
            ServiceKind::Program(program) => program.check()?,
        }
        self.scale.check(self.http().is_some())?;
        self.rollout.check(self.http().is_some())?;
        let restart = [
            ("restart.backoff", self.restart.backoff_ms),
            ("restart.max_backoff", self.restart.max_backoff_ms),
        ];
        restart.into_iter().try_for_each(|(field, ms)| time(field, ms))
    }

    /// Checks that there are models where it is scaled on what is asked of them. Apart from the
    /// other checks, since a specification is put together before its models are resolved.
    ///
    /// # Errors
    /// The field, and what is wrong with it.
    pub fn check_models(&self, are_named: bool) -> Result<(), (&'static str, String)> {
        let on_models = self.scale.on.is_some_and(ScaleOn::is_of_models);
        ensure(!on_models || are_named, "scale.on", || {
            "the service names no model: add those that it asks to `models`".to_owned()
        })
    }

    fn check_job(&self, job: &JobSpec) -> Checked {
        let scheduling = &job.scheduling;
        let unfit = [
            ("count", job.count != MAX_REPLICAS, "`scale` says how many replicas there are"),
            ("input", job.input != Input::Empty, "a service has no input"),
            ("time_limit", job.limits.wall_ms.is_some(), "a service stays"),
            ("gang", scheduling.gang, "replicas do not wait for each other"),
            ("max_running", scheduling.max_running.is_some(), "use `scale.max`"),
            ("depends_on", !scheduling.depends_on.is_empty(), "deploy it when it is wanted"),
            ("deadline", scheduling.deadline.is_some(), "a service stays; undeploy it"),
            ("cache", scheduling.cache, "a service observes the outside"),
        ];
        for (field, is_set, why) in unfit {
            ensure(!is_set, field, || format!("cannot be set for a service: {why}"))?;
        }
        Ok(())
    }
}

impl HttpService {
    fn check(&self) -> Checked {
        ensure(self.routes.len() <= MAX_ROUTES, "http.routes", || {
            format!("{}; at most {MAX_ROUTES}", self.routes.len())
        })?;
        for route in &self.routes {
            route.check().map_err(|error| ("http.routes", error.to_string()))?;
        }
        ensure(self.callers.len() <= MAX_LIST, "http.callers", || {
            format!("{}; at most {MAX_LIST}", self.callers.len())
        })?;
        range("http.concurrency", self.concurrency, 1, limits::MAX_CONCURRENCY)?;
        if let Some(reuse) = &self.reuse {
            let most = self.concurrency.min(limits::MAX_CONCURRENT);
            range("http.reuse.concurrent", reuse.concurrent, 1, most)?;
            time("http.reuse.idle", reuse.idle_ms)?;
        }
        time("http.timeout", self.timeout_ms)?;
        time("http.idle_timeout", self.idle_timeout_ms)?;
        time("http.wait", self.wait_ms)?;
        ensure(self.max_body <= limits::MAX_BLOB, "http.max_body", || {
            format!("at most {} bytes", limits::MAX_BLOB)
        })?;
        range("http.max_waiting", self.max_waiting, 0, MAX_WAITING)?;
        range("http.retries", self.retries, 0, 5)?;
        self.readiness.check()
    }
}

/// Most routes of one service.
const MAX_ROUTES: usize = 64;

/// Most requests of one service that may wait at one gateway: each holds a connection.
const MAX_WAITING: u32 = 100_000;

/// Most ports of one program.
const MAX_PORTS: usize = 16;

/// Most steps of a canary.
const MAX_CANARY_STEPS: usize = 32;

impl Readiness {
    fn check(&self) -> Checked {
        if let Some(path) = &self.path {
            let plain = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
            ensure(plain && path.len() <= 1024, "readiness.path", || {
                format!("`{path}` is not a path: begin with `/`, without spaces")
            })?;
        }
        time("readiness.interval", self.interval_ms)?;
        time("readiness.timeout", self.timeout_ms)?;
        time("readiness.start", self.start_ms)?;
        range("readiness.failures", self.failures, 1, 1000)
    }
}

impl ProgramService {
    fn check(&self) -> Checked {
        ensure(self.ports.len() <= MAX_PORTS, "program.ports", || {
            format!("{}; at most {MAX_PORTS}", self.ports.len())
        })?;
        let mut ports = self.ports.clone();
        ports.sort_unstable();
        let twice = ports.windows(2).any(|pair| pair.first() == pair.last());
        ensure(!twice && !ports.contains(&0), "program.ports", || {
            "use each port once, and none that is 0".to_owned()
        })?;
        ensure(self.ready_after_ms <= MAX_TIME_MS, "program.ready_after", too_long)
    }
}

impl Scale {
    fn check(&self, is_http: bool) -> Checked {
        range("scale.max", self.max, 1, MAX_REPLICAS)?;
        range("scale.min", self.min, 0, self.max)?;
        ensure(is_http || self.on.is_none(), "scale.on", || {
            "only a service that answers HTTP requests has a load to scale on".to_owned()
        })?;
        ensure(is_http || self.min > 0, "scale.min", || {
            "nothing would wake a program that sleeps; use at least 1, or `wrun scale` it to 0"
                .to_owned()
        })?;
        let target = match self.on {
            Some(
                ScaleOn::Concurrency { milli }
                | ScaleOn::Rate { milli }
                | ScaleOn::ModelQueue { milli },
            ) => milli,
            Some(ScaleOn::Latency { ms } | ScaleOn::ModelLatency { ms }) => ms,
            Some(ScaleOn::Waiting { requests }) => requests,
            None => 1,
        };
        ensure(target > 0, "scale.target", || "use more than 0".to_owned())?;
        time("scale.window", self.window_ms)?;
        time("scale.panic_window", self.panic_window_ms)?;
        time("scale.down_delay", self.down_delay_ms)?;
        time("scale.idle", self.idle_ms)?;
        ensure(self.panic_window_ms <= self.window_ms, "scale.panic_window", || {
            "it is a part of `scale.window`: use less than that".to_owned()
        })
    }
}

impl Rollout {
    fn check(&self, is_http: bool) -> Checked {
        range("rollout.surge", self.surge, 0, MAX_REPLICAS)?;
        range("rollout.unavailable", self.unavailable, 0, MAX_REPLICAS)?;
        ensure(self.surge + self.unavailable > 0, "rollout.surge", || {
            "with `surge` and `unavailable` both 0 no replica could be exchanged".to_owned()
        })?;
        range("rollout.max_errors", self.max_errors_milli, 0, 1000)?;
        range("rollout.keep", self.keep, 1, 100)?;
        time("rollout.drain", self.drain_ms)?;
        let (steps, header) = match &self.strategy {
            Strategy::Rolling => return Ok(()),
            Strategy::Canary { steps, header } => (steps.as_slice(), header),
            Strategy::BlueGreen { header, .. } => (&[][..], header),
        };
        ensure(is_http, "rollout.strategy", || {
            "a program gets no requests that could be shared out; use `rolling`".to_owned()
        })?;
        ensure(steps.len() <= MAX_CANARY_STEPS, "rollout.steps", || {
            format!("{}; at most {MAX_CANARY_STEPS}", steps.len())
        })?;
        steps.iter().try_for_each(CanaryStep::check)?;
        header.iter().try_for_each(HeaderMatch::check)
    }
}

impl CanaryStep {
    fn check(&self) -> Checked {
        range("rollout.steps", u32::from(self.percent), 1, 100)?;
        self.wait_ms.map_or(Ok(()), |ms| time("rollout.steps", ms))
    }
}

impl HeaderMatch {
    fn check(&self) -> Checked {
        let token = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let name = (1..=MAX_NAME).contains(&self.name.len()) && self.name.bytes().all(token);
        ensure(name, "rollout.header", || {
            format!("`{}` is not the name of a header in lower case", self.name.escape_default())
        })?;
        let value = self.value.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        ensure(value && self.value.len() <= MAX_NAME, "rollout.header", || {
            format!("its value must be at most {MAX_NAME} plain characters")
        })
    }
}

fn range(field: &'static str, value: u32, least: u32, most: u32) -> Checked {
    ensure((least..=most).contains(&value), field, || format!("{value}; use {least} to {most}"))
}

fn time(field: &'static str, ms: u64) -> Checked {
    ensure((1..=MAX_TIME_MS).contains(&ms), field, too_long)
}

fn too_long() -> String {
    "use more than zero and at most 366 days".to_owned()
}

fn ensure(holds: bool, field: &'static str, problem: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err((field, problem())) }
}
