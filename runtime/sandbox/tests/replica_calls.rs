//! Requests that a guest sends while it answers one: to hosts that it was granted, and to
//! services of the cluster, which the node carries.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

use common::http::{CONCURRENT, PLAIN, Served, Wish, full};
use wrun_protocol::job::HostGrant;
use wrun_sandbox::{Body, ServiceAnswer, ServiceCallError, ServiceCaller};

const BOTH: [&str; 2] = [PLAIN, CONCURRENT];

/// Answers in place of the cluster.
#[derive(Debug, Default)]
struct Cluster {
    asked: Mutex<Vec<String>>,
}

impl ServiceCaller for Cluster {
    fn call(&self, request: http::Request<Body>) -> ServiceAnswer {
        self.asked.lock().unwrap().push(format!("{} {}", request.method(), request.uri()));
        let refused = match request.uri().path() {
            "/gone" => Some(ServiceCallError::NotFound),
            "/denied" => Some(ServiceCallError::Denied),
            _ => None,
        };
        Box::pin(async move {
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
    }
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
