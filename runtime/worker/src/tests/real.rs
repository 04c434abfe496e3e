//! The whole worker: over QUIC, with an identity of its own, running components.

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use wrun_net::{Authority, JoinToken, Listener, Peer};
use wrun_protocol::service::HttpService;
use wrun_protocol::task::{Content, Failure, Outcome};
use wrun_protocol::wire::join::{JoinReply, JoinRequest};
use wrun_protocol::wire::service::Readied;
use wrun_protocol::wire::user::LogStream;
use wrun_protocol::wire::worker::{FromWorker, Report, ToWorker};
use wrun_protocol::{JobId, JobSpec, NodeId, Resources};

use super::scripts::*;
use super::services::{endpoints_on, eventually_answers, get};
use crate::log::chunks;
use crate::{WorkerConfig, WorkerError, start};

/// A program whose `run` is `body`.
fn program(body: &str) -> Vec<u8> {
    wat::parse_str(format!(
        r#"(component
            (core module $m (memory 1) (func (export "run") (result i32) {body}))
            (core instance $i (instantiate $m))
            (func $run (result (result)) (canon lift (core func $i "run")))
            (instance $wasi (export "run" (func $run)))
            (export "wasi:cli/run@0.2.0" (instance $wasi)))"#
    ))
    .unwrap()
}

/// A program that writes a line to its standard output.
const HELLO: &str = r#"(component
    (import "wasi:io/error@0.2.0" (instance $error (export "error" (type (sub resource)))))
    (alias export $error "error" (type $e))
    (import "wasi:io/streams@0.2.0" (instance $streams
        (alias outer 1 $e (type $e2))
        (export "error" (type $err (eq $e2)))
        (export "output-stream" (type $out (sub resource)))
        (type $stream-error' (variant (case "last-operation-failed" (own $err)) (case "closed")))
        (export "stream-error" (type $stream-error (eq $stream-error')))
        (export "[method]output-stream.blocking-write-and-flush"
            (func (param "self" (borrow $out)) (param "contents" (list u8))
                (result (result (error $stream-error)))))))
    (alias export $streams "output-stream" (type $o))
    (import "wasi:cli/stdout@0.2.0" (instance $stdout
        (alias outer 1 $o (type $o2))
        (export "output-stream" (type $out (eq $o2)))
        (export "get-stdout" (func (result (own $out))))))
    (core module $mem (memory (export "memory") 1) (data (i32.const 64) "hello\n"))
    (core instance $mem (instantiate $mem))
    (core func $get (canon lower (func $stdout "get-stdout")))
    (core func $write (canon lower (func $streams "[method]output-stream.blocking-write-and-flush")
        (memory (core memory $mem "memory"))))
    (core module $m
        (import "" "get" (func $get (result i32)))
        (import "" "write" (func $write (param i32 i32 i32 i32)))
        (func (export "run") (result i32)
            (call $write (call $get) (i32.const 64) (i32.const 6) (i32.const 16))
            (i32.const 0)))
    (core instance $i (instantiate $m (with "" (instance
        (export "get" (func $get)) (export "write" (func $write))))))
    (func $run (result (result)) (canon lift (core func $i "run")))
    (instance $wasi (export "run" (func $run)))
    (export "wasi:cli/run@0.2.0" (instance $wasi)))"#;

struct Cluster {
    authority: Authority,
    listener: Listener,
    dir: tempfile::TempDir,
}

impl Cluster {
    fn new() -> Self {
        let authority = Authority::create().unwrap();
        let identity = authority.issue_server(&["127.0.0.1".to_owned()]).unwrap();
        let address = "127.0.0.1:0".parse().unwrap();
        let listener = Listener::bind(address, &identity, authority.certificate_der()).unwrap();
        Self { authority, listener, dir: tempfile::tempdir().unwrap() }
    }

    fn config(&self) -> WorkerConfig {
        let server = self.listener.local_addr().to_string();
        let mut config = WorkerConfig::new(server, self.dir.path().join("data"));
        config.capacity =
            Resources { cpu_milli: 2000, memory: 1 << 30, scratch: 1 << 30, slots: 16 };
        config
    }

    fn joining(&self) -> WorkerConfig {
        let token = JoinToken::create(self.authority.fingerprint()).unwrap();
        WorkerConfig { join: Some(token), ..self.config() }
    }

    /// Takes the next machine in as node 7.
    async fn take_in(&self) {
        let connection = self.listener.accept().await.unwrap();
        assert_eq!(connection.peer(), &Peer::Anonymous);
        let (mut send, mut recv) = connection.accept().await.unwrap();
        let Some(JoinRequest::Node { csr, name, .. }) = recv.recv().await.unwrap() else {
            panic!("expected a request to join")
        };
        assert_eq!(name, "node");
        let node = NodeId(7);
        let certificate = self.authority.issue_node(node, &csr, Duration::from_secs(3600)).unwrap();
        let authority = self.authority.certificate_der().to_vec();
        send.send(&JoinReply::Welcome { node, certificate, authority }).await.unwrap();
        // The machine closes the connection once it has the answer.
        let _ = send.finish_and_wait().await;
    }

    async fn session(&self) -> Server {
        let connection = self.listener.accept().await.unwrap();
        assert_eq!(connection.peer(), &Peer::Node(NodeId(7)));
        let (mut server, attempts) = Server::accept(connection).await;
        assert_eq!(attempts, []);
        server.welcome().await;
        server
    }
}

fn of(component: &[u8]) -> JobSpec {
    JobSpec { component: digest(component), ..spec() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_joins_once_runs_tasks_and_needs_no_token_again() {
    let cluster = Cluster::new();
    let error = start(cluster.config()).await.unwrap_err();
    assert!(matches!(error, WorkerError::NoIdentity { .. }), "{error}");
    let (worker, ()) = tokio::join!(start(cluster.joining()), cluster.take_in());
    let worker = worker.unwrap();
    assert_eq!(worker.node(), NodeId(7));
    for entry in std::fs::read_dir(cluster.dir.path().join("data/identity")).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", entry.path());
    }
    let mut server = cluster.session().await;
    let hello = wat::parse_str(HELLO).unwrap();
    server.job(1, &of(&hello)).await;
    server.assign(1, 0..1).await;
    server.serve_blob(&hello).await;
    let report = loop {
        match server.report().await {
            Report::Started(_) => {}
            other => break other,
        }
    };
    let Report::Ended { result, .. } = report else { panic!("{report:?}") };
    assert_eq!(result.outcome, Outcome::Succeeded);
    let Some(Content::Inline(log)) = result.log else { panic!("{:?}", result.log) };
    let (log, _) = chunks(&log);
    assert_eq!((log[0].stream, &log[0].data[..]), (LogStream::Stdout, &b"hello\n"[..]));
    server.say(ToWorker::Acknowledge { report: 2 }).await;
    settle().await;
    worker.stop();
    worker.ended().await.unwrap();
    drop(worker);

    let worker = start(cluster.config()).await.unwrap();
    let mut server = cluster.session().await;
    server.job(1, &of(&hello)).await;
    server.assign(1, 1..2).await;
    let (_, reports) = server.reports().await;
    assert!(
        reports.iter().any(|report| matches!(report, Report::Ended { .. } | Report::Started(_))),
        "the component is still there: {reports:?}"
    );
    drop(worker);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_machine_says_why_and_keeps_nothing() {
    let cluster = Cluster::new();
    let mut config = cluster.joining();
    config.join = Some(JoinToken::create([7; 32]).unwrap());
    let error = start(config).await.unwrap_err();
    assert!(matches!(error, WorkerError::Unreachable(_)), "{error}");
    let error = start(cluster.config()).await.unwrap_err();
    assert!(matches!(error, WorkerError::NoIdentity { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_that_never_end_are_stopped_and_handed_back_by_a_drain() {
    let cluster = Cluster::new();
    let config = WorkerConfig { grace: Duration::from_millis(300), ..cluster.joining() };
    let (worker, ()) = tokio::join!(start(config), cluster.take_in());
    let worker = worker.unwrap();
    let mut server = cluster.session().await;
    let spin = program("(loop $l (br $l)) (unreachable)");
    server.job(1, &of(&spin)).await;
    server.assign(1, 0..3).await;
    server.serve_blob(&spin).await;
    let mut started = 0;
    while started < 2 {
        for report in server.reports().await.1 {
            let Report::Started(_) = report else { panic!("{report:?}") };
            started += 1;
        }
    }
    let drained = tokio::spawn(async move { worker.drain().await });
    assert_eq!(server.next().await, FromWorker::Draining);
    let mut returned = 0;
    while returned < 3 {
        let (first, reports) = server.reports().await;
        let last = first + reports.len() as u64 - 1;
        for report in reports {
            let Report::Returned(tasks) = report else { panic!("{report:?}") };
            returned += tasks.tasks.count;
        }
        server.say(ToWorker::Acknowledge { report: last }).await;
    }
    assert_eq!(server.next().await, FromWorker::Goodbye);
    server.ends().await;
    drained.await.unwrap();
}

/// A program that saves `size` bytes and ends well only if that is acknowledged.
fn saving(size: u32) -> Vec<u8> {
    let text = format!(
        r#"(component
    (import "wrun:task/context@0.1.0" (instance $context
        (type $error' (variant (case "too-large" u64) (case "unavailable" string)))
        (export "checkpoint-error" (type $error (eq $error')))
        (export "save-checkpoint"
            (func (param "state" (list u8)) (result (result (error $error)))))))
    (core module $mem (memory (export "memory") 4)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
    (core instance $mem (instantiate $mem))
    (core func $save (canon lower (func $context "save-checkpoint")
        (memory (core memory $mem "memory")) (realloc (core func $mem "realloc"))))
    (core module $m
        (import "" "memory" (memory 1))
        (import "" "save" (func $save (param i32 i32 i32)))
        (func (export "run") (result i32)
            (call $save (i32.const 4096) (i32.const {size}) (i32.const 16))
            (i32.load8_u (i32.const 16))))
    (core instance $i (instantiate $m (with "" (instance
        (export "memory" (memory $mem "memory")) (export "save" (func $save))))))
    (func $run (result (result)) (canon lift (core func $i "run")))
    (instance $wasi (export "run" (func $run)))
    (export "wasi:cli/run@0.2.0" (instance $wasi)))"#
    );
    wat::parse_str(text).unwrap()
}

async fn next_but_started(server: &mut Server) -> (u64, Report) {
    loop {
        let (number, mut reports) = server.reports().await;
        reports.retain(|report| !matches!(report, Report::Started(_)));
        match reports.pop() {
            Some(report) => return (number, report),
            None => continue,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_saves_its_state_goes_on_when_the_server_holds_it() {
    let cluster = Cluster::new();
    let (worker, ()) = tokio::join!(start(cluster.joining()), cluster.take_in());
    let _worker = worker.unwrap();
    let mut server = cluster.session().await;
    for (job, size) in [(1, 3), (2, 100_000)] {
        let component = saving(size);
        server.job(job, &of(&component)).await;
        server.assign(job, 0..1).await;
        server.serve_blob(&component).await;
        let wanted = if size > 4096 {
            let (digest, bytes) = server.take_blob().await;
            assert_eq!(bytes, vec![0; size as usize]);
            Content::Blob { digest, size: u64::from(size) }
        } else {
            Content::Inline(vec![0; size as usize].into())
        };
        let (_, report) = next_but_started(&mut server).await;
        let Report::Checkpoint { attempt, content } = report else { panic!("{report:?}") };
        assert_eq!((attempt.task.job.0, content), (job, wanted));
        while let Ok(message) =
            tokio::time::timeout(Duration::from_millis(300), server.next()).await
        {
            let FromWorker::Reports { reports, .. } = message else { panic!("{message:?}") };
            assert!(matches!(reports[..], [Report::Started(_)]), "it waits: {reports:?}");
        }
        server.say(ToWorker::Acknowledge { report: u64::MAX }).await;
        let (_, report) = next_but_started(&mut server).await;
        assert!(matches!(report, Report::Succeeded { .. }), "{report:?}");
        server.say(ToWorker::Acknowledge { report: u64::MAX }).await;
    }
}

/// A guest that `cargo xtask guests` has built.
fn guest(name: &str) -> Vec<u8> {
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().nth(3).expect("below target/debug/deps");
    let path = target.join(format!("guests/wasm32-wasip2/release/{name}.wasm"));
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask guests`", path.display()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_answers_requests_that_come_in_at_its_worker_and_drains() {
    let cluster = Cluster::new();
    let mut config = cluster.joining();
    config.http.http = vec![(Ipv4Addr::LOCALHOST, 0).into()];
    let (worker, ()) = tokio::join!(start(config), cluster.take_in());
    let worker = worker.unwrap();
    let mut server = cluster.session().await;
    let component = guest("http_obedient");
    let mut http = HttpService { concurrency: 4, ..HttpService::default() };
    http.readiness.path = Some("/hello".to_owned());
    let spec = JobSpec { component: digest(&component), ..service_spec(http.clone()) };
    server.service(1, &spec).await;
    server.assign(1, 0..1).await;
    server.serve_blob(&component).await;
    let (_, report) = next_but_started(&mut server).await;
    let attempt = JobId(1).task(0).attempt(1);
    assert_eq!(report, Report::Readied { attempt, state: Readied::Ready });
    let services = vec![endpoints_on(worker.node(), http, &[0])];
    server.say(ToWorker::Services { whole: true, services }).await;
    let address = worker.http_addresses()[0];
    eventually_answers(address, "/hello", "200 OK").await;
    let failed = get(address, "/trap").await;
    assert!(failed.contains(" 502 "), "{failed}");
    let answer = get(address, "/hello").await;
    assert!(answer.contains(" 200 ") && answer.contains("hello"), "the next has its own: {answer}");
    server.say(ToWorker::Drain { attempt, within_ms: 10_000 }).await;
    loop {
        let message = server.next().await;
        let FromWorker::Reports { reports, .. } = message else { continue };
        // It has a log: of the request that failed.
        if let Some(Report::Ended { attempt: of, result }) = reports.last() {
            assert_eq!((*of, &result.outcome), (attempt, &Outcome::Failed(Failure::Cancelled)));
            let usage = result.usage;
            assert!(usage.cpu_us > 0 && usage.peak_memory > 0, "{usage:?}");
            let Some(Content::Inline(log)) = &result.log else { panic!("{result:?}") };
            let log = String::from_utf8_lossy(log);
            assert!(log.contains("a request failed: "), "{log}");
            break;
        }
    }
}
