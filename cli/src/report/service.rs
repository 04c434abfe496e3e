//! Services in words: states, load, what happened, and where they are reached.

use wrun_protocol::Timestamp;
use wrun_protocol::service::{Route, SERVICE_DOMAIN, ScaleOn, ServiceId};
use wrun_protocol::wire::service::{
    GatewayAddresses, GatewayRow, LoadRow, ReplicaRow, ReplicaState, RolledBackBy, RolloutRow,
    ScaledBy, Scaling, ServiceDetail, ServiceHappened, ServiceState,
};
use wrun_protocol::wire::worker::ComponentKind;

use super::human;

/// A service's state in a word.
pub(crate) fn state(state: ServiceState) -> &'static str {
    match state {
        ServiceState::Asleep => "asleep",
        ServiceState::Starting => "starting",
        ServiceState::Ready => "ready",
        ServiceState::RollingOut => "rolling-out",
        ServiceState::Paused => "paused",
        ServiceState::Failing => "failing",
        ServiceState::Stopping => "stopping",
    }
}

/// A replica's state in a word.
pub(crate) fn replica_state(state: ReplicaState) -> &'static str {
    match state {
        ReplicaState::Pending => "pending",
        ReplicaState::Starting => "starting",
        ReplicaState::Ready => "ready",
        ReplicaState::NotReady => "not-ready",
        ReplicaState::Draining => "draining",
        ReplicaState::BackingOff => "backing-off",
    }
}

/// How it is run, in a word.
pub(crate) fn kind(kind: ComponentKind) -> &'static str {
    match kind {
        ComponentKind::Http => "http",
        ComponentKind::Command => "program",
        ComponentKind::Handler => "handler",
    }
}

/// By what replicas are scaled, in a word.
pub(crate) fn scaled_on(on: &ScaleOn) -> &'static str {
    match on {
        ScaleOn::Concurrency { .. } => "concurrency",
        ScaleOn::Rate { .. } => "rate",
        ScaleOn::Latency { .. } => "latency",
        ScaleOn::Waiting { .. } => "waiting",
        ScaleOn::ModelQueue { .. } => "model-queue",
        ScaleOn::ModelLatency { .. } => "model-latency",
    }
}

/// Why another number of replicas is wanted, in a word.
pub(crate) fn scaled_by(by: ScaledBy) -> &'static str {
    match by {
        ScaledBy::User => "user",
        ScaledBy::Load => "load",
        ScaledBy::Request => "request",
        ScaledBy::Idle => "idle",
        ScaledBy::Specification => "specification",
        ScaledBy::Trial => "trial",
    }
}

/// Why a service goes back, in a word.
pub(crate) fn rolled_back_by(by: RolledBackBy) -> &'static str {
    match by {
        RolledBackBy::User => "user",
        RolledBackBy::NotReady => "not-ready",
        RolledBackBy::Errors => "errors",
    }
}

/// The same in a sentence.
pub(crate) fn why_rolled_back(by: RolledBackBy) -> &'static str {
    match by {
        RolledBackBy::User => "somebody said so",
        RolledBackBy::NotReady => "it was not ready in time",
        RolledBackBy::Errors => "too many of its answers were errors",
    }
}

/// `1 replica`.
pub(crate) fn replicas(count: u32) -> String {
    format!("{count} {}", if count == 1 { "replica" } else { "replicas" })
}

/// How many there may be, and by what.
pub(crate) fn scaling(of: &Scaling) -> String {
    let number = |milli: u32| f64::from(milli) / 1000.0;
    let by = match of.on.filter(|_| of.min < of.max) {
        None => String::new(),
        Some(ScaleOn::Concurrency { milli }) => {
            format!(", {} requests at once for each", number(milli))
        }
        Some(ScaleOn::Rate { milli }) => format!(", {} requests a second for each", number(milli)),
        Some(ScaleOn::Latency { ms }) => format!(", nine of ten requests within {ms}ms"),
        Some(ScaleOn::Waiting { requests }) => format!(", {requests} waiting requests for each"),
        Some(ScaleOn::ModelQueue { milli }) => {
            format!(", {} requests to models at once for each", number(milli))
        }
        Some(ScaleOn::ModelLatency { ms }) => {
            format!(", nine of ten answers of models within {ms}ms")
        }
    };
    let bounds = match (of.min, of.max) {
        (min, max) if min == max => format!("always {min}"),
        (min, max) => format!("{min} to {max}"),
    };
    let said = if of.overridden { " (by `wrun scale`)" } else { "" };
    format!("{bounds}{by}{said}")
}

/// What gateways saw of it lately.
pub(crate) fn load(of: &LoadRow) -> String {
    let micros = std::time::Duration::from_micros;
    let seconds = of.window_ms.max(1) as f64 / 1000.0;
    let at_once = of.concurrency_milli as f64 / 1000.0;
    let mut text = format!("{:.1} requests/s, {at_once:.1} at once", of.requests as f64 / seconds);
    if of.waiting > 0 {
        text += &format!(", {} waiting", of.waiting);
    }
    if of.requests > 0 {
        let errors = of.errors as f64 * 100.0 / of.requests as f64;
        let (p50, p99) = (human::took(micros(of.p50_us)), human::took(micros(of.p99_us)));
        text += &format!(", {errors:.1}% errors, half within {p50}, 99% within {p99}");
    }
    let window = std::time::Duration::from_millis(of.window_ms);
    format!("{text} (over {})", human::coarse(window))
}

/// How far a rollout is.
pub(crate) fn rollout(of: &RolloutRow, now: Timestamp) -> String {
    let (ready, wanted) = of.ready;
    let mut text =
        format!("from revision {} to {}: {ready} of {} ready", of.from, of.to, replicas(wanted));
    if let Some((step, steps)) = of.step {
        text += &format!(", step {step} of {steps}");
    }
    match of.next {
        _ if of.paused => text + ", paused",
        Some(next) => text + &format!(", goes on {}", human::until(next, now)),
        None => text,
    }
}

/// How far a revision is on the way to its place: how many replicas are in which state.
pub(crate) fn progress(of: &ServiceDetail, revision: u32) -> String {
    let name = &of.row.id.name;
    let row = of.revisions.iter().find(|row| row.revision == revision);
    let (ready, wanted) = row.map_or((0, 0), |row| (row.ready, row.wanted));
    let mut text = format!("{name}: revision {revision}: {ready} of {} ready", replicas(wanted));
    if let Some((step, steps)) = of.rollout.and_then(|rollout| rollout.step) {
        text += &format!(", step {step} of {steps}");
    }
    let in_state = |state| {
        let all = of.replicas.iter();
        all.filter(|row| row.revision == revision && row.state == state).count()
    };
    for state in [ReplicaState::Starting, ReplicaState::Pending, ReplicaState::BackingOff] {
        match in_state(state) {
            0 => {}
            many => text += &format!(", {many} {}", replica_state(state)),
        }
    }
    match row.filter(|_| in_state(ReplicaState::Pending) > 0) {
        Some(row) => format!("{text} (why: `wrun explain {}`)", row.job),
        None => text,
    }
}

/// What to do about a rollout whose new replicas have no place.
pub(crate) fn without_place(of: &ServiceDetail) -> Option<String> {
    let to = of.rollout.as_ref()?.to;
    let row = of.revisions.iter().find(|row| row.revision == to)?;
    let waits = |row: &&ReplicaRow| row.revision == to && row.state == ReplicaState::Pending;
    let waiting = u32::try_from(of.replicas.iter().filter(waits).count()).unwrap_or(u32::MAX);
    (waiting > 0).then(|| {
        format!(
            "{} of revision {to} without a place: `wrun explain {}` says why. Old replicas keep \
             theirs until new ones are ready; deploy with `rollout.unavailable` above 0 to let \
             them make room, or go back with `wrun rollout undo {}`",
            replicas(waiting),
            row.job,
            of.row.id.name
        )
    })
}

/// Something that happened to it.
pub(crate) fn happened(what: &ServiceHappened) -> String {
    match what {
        ServiceHappened::Deployed { revision } => format!("revision {revision} was deployed"),
        ServiceHappened::Scaled { from, to, why } => {
            let why = match why {
                ScaledBy::User => "somebody said so",
                ScaledBy::Load => "the load asked for it",
                ScaledBy::Request => "a request came",
                ScaledBy::Idle => "no request came",
                ScaledBy::Specification => "its specification says so",
                ScaledBy::Trial => "to see whether the new revision gets ready",
            };
            format!("from {from} to {}: {why}", replicas(*to))
        }
        ServiceHappened::ReplicaFailed { revision, index, outcome } => {
            format!("replica {revision}/{index} failed: {}", human::outcome(outcome))
        }
        ServiceHappened::RolledOut { revision } => format!("revision {revision} is in place"),
        ServiceHappened::RolledBack { from, to, why } => {
            format!("back from revision {from} to {to}: {}", why_rolled_back(*why))
        }
    }
}

/// What is to be said of a replica beyond its state.
pub(crate) fn replica_note(of: &ReplicaRow, now: Timestamp) -> String {
    let mut parts = Vec::new();
    parts.extend(of.why.clone());
    if let Some(outcome) = of.outcome.as_ref().filter(|outcome| !outcome.is_success()) {
        parts.push(human::outcome(outcome));
    }
    if let Some(at) = of.not_before.filter(|_| of.state == ReplicaState::BackingOff) {
        parts.push(format!("starts again {}", human::until(at, now)));
    }
    parts.join("; ")
}

/// Where other services of its tenant reach it.
pub(crate) fn internal_url(id: &ServiceId) -> String {
    format!("http://{}.{SERVICE_DOMAIN}/", id.name)
}

/// Where gateways take requests for `routes`. A route with a host is reached by that name,
/// wherever it leads.
pub(crate) fn urls(routes: &[Route], gateways: &[GatewayRow]) -> Vec<String> {
    let mut urls: Vec<String> = Vec::new();
    for gateway in gateways {
        let GatewayAddresses { http, https } = &gateway.addresses;
        let https = https.iter().map(|address| ("https", 443, address));
        for (scheme, usual, address) in https.chain(http.iter().map(|of| ("http", 80, of))) {
            let port = address.port();
            let port = if port == usual { String::new() } else { format!(":{port}") };
            for route in routes {
                let host = match &route.host {
                    Some(host) => host.clone(),
                    None if address.is_ipv6() => format!("[{}]", address.ip()),
                    None => address.ip().to_string(),
                };
                let url = format!("{scheme}://{host}{port}{}", route.prefix);
                if !urls.contains(&url) {
                    urls.push(url);
                }
            }
        }
    }
    urls
}

#[cfg(test)]
mod tests {
    use wrun_protocol::NodeId;
    use wrun_protocol::task::{Failure, Outcome};

    use super::*;

    fn gateway(node: u64, http: Option<&str>, https: Option<&str>) -> GatewayRow {
        let parse =
            |text: Option<&str>| text.map(|text| text.parse().unwrap()).into_iter().collect();
        let addresses = GatewayAddresses { http: parse(http), https: parse(https) };
        GatewayRow { node: NodeId(node), name: String::new(), addresses }
    }

    #[test]
    fn a_route_is_reached_at_every_gateway_or_by_its_host() {
        let routes: Vec<Route> =
            ["/api", "shop.example"].iter().map(|text| text.parse().unwrap()).collect();
        let gateways = [
            gateway(1, Some("127.0.0.1:8080"), None),
            gateway(2, Some("[::1]:8080"), Some("10.0.0.2:443")),
        ];
        assert_eq!(
            urls(&routes, &gateways),
            [
                "http://127.0.0.1:8080/api",
                "http://shop.example:8080/",
                "https://10.0.0.2/api",
                "https://shop.example/",
                "http://[::1]:8080/api",
            ]
        );
        assert_eq!(urls(&routes, &[]), [] as [&str; 0]);
    }

    #[test]
    fn scaling_says_by_what_and_who_said_so() {
        let on = Some(ScaleOn::Concurrency { milli: 11_200 });
        let of = Scaling { min: 0, max: 20, on, overridden: false };
        assert_eq!(scaling(&of), "0 to 20, 11.2 requests at once for each");
        let of = Scaling { min: 5, max: 5, on: None, overridden: true };
        assert_eq!(scaling(&of), "always 5 (by `wrun scale`)");
    }

    #[test]
    fn a_replica_that_is_not_ready_says_why_and_how_it_failed_before() {
        let outcome = Outcome::Failed(Failure::Exit { code: 3 });
        let of = ReplicaRow {
            revision: 2,
            index: 0,
            attempt: 2,
            node: Some(NodeId(1)),
            state: ReplicaState::NotReady,
            failures: 1,
            outcome: Some(outcome.clone()),
            not_before: None,
            why: Some("status 503".to_owned()),
        };
        let failed = human::outcome(&outcome);
        assert_eq!(replica_note(&of, Timestamp(0)), format!("status 503; {failed}"));
    }

    #[test]
    fn load_is_a_line() {
        let of = LoadRow {
            window_ms: 10_000,
            requests: 1205,
            errors: 12,
            concurrency_milli: 3400,
            waiting: 0,
            p50_us: 1024,
            p99_us: 8192,
        };
        assert_eq!(
            load(&of),
            "120.5 requests/s, 3.4 at once, 1.0% errors, half within 1.0ms, 99% within 8.2ms (over 10s)"
        );
    }
}
