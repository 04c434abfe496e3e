//! Requests that a guest sends while it answers one: to hosts that it was granted, and to
//! services of the cluster, which the node carries.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

use common::http::{CONCURRENT, PLAIN, Served, Wish, full, read, request, reuse};
use tokio::sync::Notify;
use wrun_protocol::job::HostGrant;
use wrun_protocol::service::{HOPS, Reuse};
use wrun_sandbox::{Body, ServiceAnswer, ServiceCallError, ServiceCaller};

const BOTH: [&str; 2] = [PLAIN, CONCURRENT];

/// Answers in place of the cluster.
#[derive(Debug, Default)]
struct Cluster {
    asked: Mutex<Vec<String>>,
    /// What each request says of how far it has come.
    hops: Mutex<Vec<String>>,
    /// Lets a request to `/held` be answered.
    let_go: Arc<Notify>,
}

impl ServiceCaller for Cluster {
    fn call(&self, request: http::Request<Body>) -> ServiceAnswer {
        self.asked.lock().unwrap().push(format!("{} {}", request.method(), request.uri()));
        let refused = match request.uri().path() {
            "/gone" => Some(ServiceCallError::NotFound),
            "/denied" => Some(ServiceCallError::Denied),
            "/circle" => Some(ServiceCallError::Loop),
            _ => None,
        };
        let told: Vec<_> = request.headers().get_all(HOPS).iter().collect();
        assert_eq!(told.len(), 1, "{told:?}");
        self.hops.lock().unwrap().push(told[0].to_str().unwrap().to_owned());
        let held = (request.uri().path() == "/held").then(|| Arc::clone(&self.let_go));
        Box::pin(async move {
            if let Some(let_go) = held {
                let_go.notified().await;
            }
            match refused {
                Some(error) => Err(error),
                None => Ok(http::Response::new(full("from a service"))),
            }
        })
    }
}

fn grant(host: &str) -> impl FnOnce(&mut Wish) {
    let grant = HostGrant { host: host.to_owned(), port: None };
    move |wish| wish.job.network = vec![grant]
}

#[test]
fn a_service_that_was_granted_is_called_through_the_node() {
    for guest in BOTH {
        let cluster = Arc::<Cluster>::default();
        let services = cluster.clone();
        let served = Served::with(
            guest,
            |_| {},
            |wish| {
                grant("prices.wrun.internal")(wish);
                wish.job.services = Some(services);
            },
        );
        let got = served.get("/fetch?prices.wrun.internal/of/tea").unwrap().1;
        assert_eq!(got, "200 from a service", "{guest}");
        assert_eq!(*cluster.asked.lock().unwrap(), ["GET http://prices.wrun.internal/of/tea"]);
        let got = served.get("/fetch?prices.wrun.internal/gone").unwrap().1;
        assert!(got.contains("DestinationNotFound"), "{got}");
        let got = served.get("/fetch?prices.wrun.internal/denied").unwrap().1;
        assert!(got.contains("HttpRequestDenied"), "{got}");
        let got = served.get("/fetch?prices.wrun.internal/circle").unwrap().1;
        assert!(got.contains("LoopDetected"), "{got}");
    }
}

/// A replica whose guest may call `prices`, and what it calls in place of it.
fn calling(guest: &str, reuse: Option<Reuse>) -> (Served, Arc<Cluster>) {
    let cluster = Arc::<Cluster>::default();
    let services = cluster.clone();
    let wish = |wish: &mut Wish| {
        grant("prices.wrun.internal")(wish);
        wish.job.services = Some(services);
        wish.http.reuse = reuse;
    };
    (Served::with(guest, |_| {}, wish), cluster)
}

/// A request that has come so far, for a guest that lies about it.
fn having_come(hops: &str, path: &str) -> http::Request<Body> {
    let mut request = request(path);
    request.headers_mut().insert(HOPS, hops.parse().unwrap());
    request
}

impl Cluster {
    /// Since it was last asked.
    fn hops(&self) -> Vec<String> {
        std::mem::take(&mut self.hops.lock().unwrap())
    }
}

#[test]
fn what_a_guest_calls_has_come_as_far_as_what_it_handles() {
    for guest in BOTH {
        for reuse in [None, reuse(0, 1, 60_000)] {
            let (served, cluster) = calling(guest, reuse);
            for hops in ["3", "0", "16", "1"] {
                served.call(having_come(hops, "/fetch?prices.wrun.internal/")).unwrap();
                assert_eq!(cluster.hops(), [hops], "{guest}");
            }
            served.get("/fetch?prices.wrun.internal/").unwrap();
            assert_eq!(cluster.hops(), ["0"], "{guest}: nobody called it by name");
            served.call(having_come("nonsense", "/fetch?prices.wrun.internal/")).unwrap();
            assert_eq!(cluster.hops(), ["16"], "{guest}");
        }
    }
    let served = Served::new(PLAIN);
    let seen = served.call(having_come("3", "/seen")).unwrap();
    let seen = served.bench.block_on(read(seen)).unwrap().1;
    assert!(
        seen.starts_with("Method::Get") && !seen.contains(HOPS),
        "a guest does not see it: {seen}"
    );
}

#[test]
fn of_requests_in_one_instance_each_call_goes_on_with_its_own() {
    let (served, cluster) = calling(CONCURRENT, reuse(0, 16, 60_000));
    let deadline = std::time::Instant::now() + common::PATIENCE;
    // Read to the end: an answer that is dropped before takes the instance down.
    let ask = |hops: &str, path: &str| {
        let response = served.call(having_come(hops, path)).unwrap();
        served.bench.block_on(read(response)).unwrap();
    };
    let held = having_come("9", "/fetch?prices.wrun.internal/held");
    let held = served.replica.call(held, deadline);
    common::eventually(|| !cluster.hops.lock().unwrap().is_empty());
    assert_eq!(cluster.hops(), ["9"]);
    for (hops, path) in [("0", "/fetch"), ("2", "/fetch"), ("4", "/fetch-plain")] {
        ask(hops, &format!("{path}?prices.wrun.internal/"));
        assert_eq!(cluster.hops(), [hops], "{path}");
    }
    // After its answer too.
    ask("5", "/fetch-late?prices.wrun.internal/");
    common::eventually(|| !cluster.hops.lock().unwrap().is_empty());
    assert_eq!(cluster.hops(), ["5"]);
    // Tasks' numbers come again.
    for round in 0..40 {
        let hops = (round % 3).to_string();
        ask(&hops, "/fetch?prices.wrun.internal/");
        assert_eq!(cluster.hops(), [hops]);
    }
    cluster.let_go.notify_one();
    assert_eq!(served.bench.block_on(async { read(held.await?).await }).unwrap().0, 200);
    assert_eq!(served.get("/count").unwrap().1, "46", "all in one instance");
}

#[test]
fn a_service_that_was_not_granted_is_never_asked() {
    for guest in BOTH {
        let cluster = Arc::<Cluster>::default();
        let services = cluster.clone();
        let served = Served::with(
            guest,
            |_| {},
            |wish| {
                grant("prices.wrun.internal")(wish);
                wish.job.services = Some(services);
            },
        );
        let got = served.get("/fetch?secrets.wrun.internal/").unwrap().1;
        assert!(got.contains("HttpRequestDenied"), "{got}");
        assert!(cluster.asked.lock().unwrap().is_empty());
    }
}

#[test]
fn who_is_refused_hears_why_and_not_that_its_body_was_not_read() {
    let cluster = Arc::<Cluster>::default();
    let wish = |wish: &mut Wish| {
        grant("gone.wrun.internal")(wish);
        wish.job.services = Some(cluster);
    };
    let served = Served::with(PLAIN, |_| {}, wish);
    for (host, why) in [
        ("127.0.0.1:9", "HttpRequestDenied"),
        ("secrets.wrun.internal", "HttpRequestDenied"),
        ("gone.wrun.internal/gone", "DestinationNotFound"),
    ] {
        let got = served.get(&format!("/post?{host}")).unwrap().1;
        assert!(got.contains(why), "{host}: {got}");
    }
}

#[test]
fn a_host_is_reached_only_if_it_was_granted() {
    for guest in BOTH {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let answers = std::thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\noutside").unwrap();
        });
        let denied = Served::new(guest).get(&format!("/fetch?{address}/")).unwrap().1;
        assert!(denied.contains("HttpRequestDenied"), "{denied}");
        let served = Served::with(guest, |_| {}, grant("127.0.0.1"));
        let got = served.get(&format!("/fetch?{address}/")).unwrap().1;
        assert_eq!(got, "200 outside", "{guest}");
        answers.join().unwrap();
    }
}

#[test]
fn an_instance_has_room_for_a_call_of_each_request_that_it_may_have_at_once() {
    let many = 16;
    let cluster = Arc::<Cluster>::default();
    let services = cluster.clone();
    let wish = |wish: &mut Wish| {
        grant("prices.wrun.internal")(wish);
        wish.job.services = Some(services);
        wish.http.concurrency = many;
        wish.http.reuse = reuse(0, many, 60_000);
        wish.memory = wish.http.least_memory();
    };
    let served = Served::with(CONCURRENT, |_| {}, wish);
    let deadline = std::time::Instant::now() + common::PATIENCE;
    let ask = |_| served.replica.call(request("/fetch?prices.wrun.internal/held"), deadline);
    let calls: Vec<_> = (0..many).map(ask).collect();
    common::eventually(|| cluster.asked.lock().unwrap().len() == many as usize);
    // One by one: whoever does not wait yet finds it later.
    let answered = async {
        for call in calls {
            cluster.let_go.notify_one();
            assert_eq!(read(call.await.unwrap()).await.unwrap().0, 200);
        }
    };
    served.bench.block_on(answered);
}
