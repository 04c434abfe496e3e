//! Calls from service to service.

use http::Request;
use wrun_protocol::service::{HOPS, MAX_HOPS};

use super::env::{Does, Env, api, endpoints, tenant};
use crate::{CallError, UpstreamErrorKind, empty};

fn request() -> http::request::Builder {
    Request::builder().uri("http://api.wrun.internal/x?y=1")
}

#[tokio::test(start_paused = true)]
async fn only_tenants_that_are_named_may_call() {
    let env = Env::new(endpoints(1, |told| told.http.callers = vec![tenant("friend")]));
    for (caller, may) in [("lab", true), ("friend", true), ("other", false)] {
        let (caller, request) = (tenant(caller), request().body(empty()).unwrap());
        let answered = env.gateway.call(&caller, api(), request).await.map(drop);
        let denied = CallError::Denied { caller, service: api() };
        assert_eq!(answered, if may { Ok(()) } else { Err(denied) });
    }
}

#[tokio::test(start_paused = true)]
async fn a_circle_of_services_ends() {
    let env = Env::new(endpoints(1, |_| {}));
    let mut hops = None;
    for number in 1..=MAX_HOPS {
        let request = hops.iter().fold(request(), |request, hops| request.header(HOPS, hops));
        env.gateway.call(&tenant("lab"), api(), request.body(empty()).unwrap()).await.unwrap();
        hops = env.replicas.seen().last().unwrap().fields.get(HOPS).cloned();
        assert_eq!(hops.as_ref().unwrap(), &number.to_string());
    }
    let request = request().header(HOPS, hops.unwrap()).body(empty()).unwrap();
    let error = env.gateway.call(&tenant("lab"), api(), request).await.unwrap_err();
    assert_eq!(error, CallError::Loop(MAX_HOPS));
    for bad in ["x", "-1", "99999999999"] {
        let request = Request::get("http://api.wrun.internal/").header(HOPS, bad);
        let error = env.gateway.call(&tenant("lab"), api(), request.body(empty()).unwrap()).await;
        assert!(matches!(error, Err(CallError::Request(_))), "{bad}");
    }
}

#[tokio::test(start_paused = true)]
async fn fields_for_one_connection_go_no_further_either_way() {
    let env = Env::new(endpoints(1, |_| {}));
    let request =
        request().header("connection", "x-own").header("x-own", "1").header("x-kept", "1");
    let request = request.header("host", "api.wrun.internal").body(empty()).unwrap();
    env.gateway.call(&tenant("lab"), api(), request).await.unwrap();
    let seen = env.replicas.seen().pop().unwrap();
    assert_eq!(seen.uri, "http://api.wrun.internal/x?y=1");
    let mut names: Vec<&str> = seen.fields.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, [HOPS, "x-kept"]);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_has_no_more_requests_under_way_than_it_may() {
    let env = Env::with(endpoints(1, |told| told.revisions[0].concurrency = 9), |config| {
        config.requests_per_tenant = 2;
    });
    env.replicas.script(0, &[Does::Ticks(100)]);
    let answers =
        [env.call("GET", empty()).await.unwrap(), env.call("GET", empty()).await.unwrap()];
    let error = env.call("GET", empty()).await.unwrap_err();
    assert_eq!(error, CallError::TenantBusy { tenant: tenant("lab"), limit: 2 });
    drop(answers);
    env.call("GET", empty()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn load_is_told_for_each_revision() {
    let env = Env::new(endpoints(2, |told| told.http.retries = 0));
    let failed = UpstreamErrorKind::Failed("x".to_owned()).after();
    for index in 0..2 {
        env.replicas
            .script(index, &[Does::Takes(500), Does::Says(503), Does::Fails(failed.clone())]);
    }
    env.gateway.take_loads();
    // One after the other, each by whichever of the two replicas is chosen.
    for _ in 0..6 {
        let _ = env.get().await;
    }
    let loads = env.gateway.take_loads();
    assert_eq!(loads.len(), 1);
    assert_eq!((&loads[0].id, loads[0].waiting), (&api(), 0));
    let [load] = &loads[0].revisions[..] else { panic!("{loads:?}") };
    assert_eq!((load.revision, load.in_flight, load.requests), (1, 0, 6));
    assert!(load.errors >= 3 && load.errors <= 5, "{load:?}");
    let slow = 6 - load.errors;
    assert!((500 * slow..500 * slow + 20).contains(&load.busy_ms), "{load:?}");
    assert_eq!(load.latency.iter().sum::<u64>(), 6);
    assert_eq!(load.latency[19], slow, "half a second is below 2^19 microseconds: {load:?}");
    assert_eq!(loads[0].over_ms / 500, slow);
}
