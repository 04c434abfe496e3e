//! Requests that wait for a replica.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;

use super::env::{Does, Env, api, endpoints, settle};
use crate::CallError;

fn spawn_get(env: &Arc<Env>) -> tokio::task::JoinHandle<Result<String, CallError>> {
    let env = Arc::clone(env);
    tokio::spawn(async move { env.get().await })
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_replica_waits_tells_at_once_and_is_served() {
    let env = Arc::new(Env::new(endpoints(0, |_| {})));
    let waiting = spawn_get(&env);
    env.gateway.urgent().notified().await;
    assert_eq!(env.load(), (0, 1));
    env.gateway.on_services(false, vec![endpoints(1, |_| {})]);
    assert_eq!(waiting.await.unwrap().unwrap(), "hello");
    assert_eq!(env.load(), (0, 0));
    assert!(env.gateway.take_loads().is_empty(), "nothing more to tell");
}

#[tokio::test(start_paused = true)]
async fn requests_are_served_in_the_order_in_which_they_came() {
    let env = Arc::new(Env::new(endpoints(1, |_| {})));
    env.replicas.script(0, &[Does::Takes(100)]);
    let mut order = Vec::new();
    let requests: Vec<_> = (0..5)
        .map(|number| {
            let env = Arc::clone(&env);
            async move {
                env.get().await.unwrap();
                number
            }
        })
        .collect();
    let mut tasks = tokio::task::JoinSet::new();
    for request in requests {
        tasks.spawn(request);
        settle().await;
    }
    assert_eq!(env.load(), (1, 4));
    while let Some(number) = tasks.join_next().await {
        order.push(number.unwrap());
    }
    assert_eq!(order, [0, 1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn too_many_do_not_wait_and_none_waits_too_long() {
    let env = Arc::new(Env::new(endpoints(1, |told| {
        told.http.max_waiting = 2;
        told.http.wait_ms = 300;
    })));
    env.replicas.script(0, &[Does::Takes(1000)]);
    let begun = Instant::now();
    let _busy = spawn_get(&env);
    settle().await;
    let waiting = [spawn_get(&env), spawn_get(&env)];
    settle().await;
    let error = env.get().await.unwrap_err();
    assert_eq!(error, CallError::QueueFull { service: api(), waiting: 2 });
    for waiting in waiting {
        let error = waiting.await.unwrap().unwrap_err();
        assert!(matches!(error, CallError::NoReplica { .. }), "{error}");
    }
    assert!((300..310).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn whoever_gives_up_leaves_the_queue_and_frees_the_replica() {
    let env = Arc::new(Env::new(endpoints(1, |_| {})));
    env.replicas.script(0, &[Does::Takes(60_000), Does::Answers("free")]);
    let busy = spawn_get(&env);
    settle().await;
    let (gone, waiting) = (spawn_get(&env), spawn_get(&env));
    settle().await;
    assert_eq!(env.load(), (1, 2));
    gone.abort();
    settle().await;
    assert_eq!(env.load(), (1, 1));
    busy.abort();
    assert_eq!(waiting.await.unwrap().unwrap(), "free");
    assert_eq!(env.replicas.asked(), [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_goes_lets_nobody_wait() {
    let env = Arc::new(Env::new(endpoints(0, |_| {})));
    let waiting = spawn_get(&env);
    settle().await;
    env.gateway.on_gone(&[api()]);
    assert_eq!(waiting.await.unwrap(), Err(CallError::NotFound(api())));
    assert_eq!(env.get().await, Err(CallError::NotFound(api())));
}

#[tokio::test(start_paused = true)]
async fn permits_that_other_gateways_give_back_are_found() {
    use crate::UpstreamErrorKind::Busy;
    let env = Env::new(endpoints(1, |_| {}));
    let busy = vec![Does::Fails(Busy.before()); 20];
    env.replicas.script(0, &[busy, vec![Does::Answers("at last")]].concat());
    let begun = Instant::now();
    let posted = env.call("POST", crate::full("x")).await.unwrap();
    assert_eq!(super::env::text(posted).await, "at last");
    assert!(begun.elapsed() < Duration::from_millis(400), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_revisions_header_sends_requests_there_and_nothing_else_does() {
    use wrun_protocol::JobId;
    use wrun_protocol::service::HeaderMatch;
    let env = Env::new(endpoints(1, |told| {
        let mut canary = told.revisions[0].clone();
        (canary.revision, canary.job, canary.weight) = (2, JobId(2), 0);
        canary.replicas[0].index = 7;
        canary.header = Some(HeaderMatch { name: "x-canary".into(), value: "yes".into() });
        told.revisions.push(canary);
    }));
    let ask = |value: &'static str| {
        let request =
            http::Request::builder().uri("http://api.wrun.internal/").header("x-canary", value);
        let request = request.body(crate::empty()).unwrap();
        env.gateway.call(&"lab".parse().unwrap(), api(), request).now_or_never()
    };
    for value in ["yes", "no", "yes"] {
        let answered = ask(value);
        assert!(answered.unwrap().is_ok());
    }
    assert_eq!(env.replicas.asked(), [7, 0, 7]);
}
