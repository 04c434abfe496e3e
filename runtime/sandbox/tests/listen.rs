//! Programs that listen: on the ports that they were granted, and on no other.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use common::{Bench, digest_of, eventually, http, job, task};
use wrun_protocol::task::{Failure, Outcome};
use wrun_sandbox::JobContext;

/// A port that nobody uses now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn listener(port: u16, granted: u16) -> (Bench, JobContext) {
    let args = vec!["listener".to_owned(), port.to_string()];
    (Bench::new(), JobContext { args, listen: vec![granted], ..job() })
}

fn start(bench: &Bench, job: JobContext) {
    let bytes = http::guest("listener");
    let compiled = bench.sandbox.compile(digest_of(&bytes), move || Ok(bytes));
    bench.start(&bench.block_on(compiled).unwrap(), task(1, job));
}

#[test]
fn a_program_is_reached_on_a_port_that_it_was_granted() {
    let port = free_port();
    let (bench, job) = listener(port, port);
    start(&bench, job);
    let connected = std::cell::RefCell::new(None);
    eventually(|| {
        *connected.borrow_mut() = TcpStream::connect(("127.0.0.1", port)).ok();
        connected.borrow().is_some()
    });
    let mut stream = connected.into_inner().unwrap();
    stream.write_all(b"hello").unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert_eq!(said, "hello");
    assert_eq!(bench.events.end_of(1).outcome, Outcome::Succeeded);
}

#[test]
fn a_port_that_was_not_granted_is_denied() {
    let (bench, job) = listener(free_port(), 1);
    start(&bench, job);
    assert_eq!(bench.events.end_of(1).outcome, Outcome::Failed(Failure::Exit { code: 1 }));
    let told = bench.events.wait(|told| !told.stderr.is_empty());
    assert_eq!(told.stderr, b"PermissionDenied\n");
}
