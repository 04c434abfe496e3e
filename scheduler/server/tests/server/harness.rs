//! Users and workers for tests. A worker does exactly what the test tells it to.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use wrun_net::{Connection, Peer, RecvStream, SendStream, signing_request};
use wrun_protocol::codec::append_frame;
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::node::NodeInfo;
use wrun_protocol::task::{Content, Outcome, Usage};
use wrun_protocol::wire::join::{JoinReply, JoinRequest};
use wrun_protocol::wire::user::{
    JobDetail, JobProgress, LogChunk, LogStream, Request, RequestError, Response, Submission,
};
use wrun_protocol::wire::worker::{Assignment, FromWorker, Report, TaskResult, ToWorker};
use wrun_protocol::{
    AttemptId, Digest, IndexRange, JobId, JobSpec, NodeId, Resources, Role, SubmitId, TaskId,
};
use wrun_server::{ServerConfig, ServerHandle};

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// Fails the test instead of hanging.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long for {what}"),
    }
}

pub(crate) struct Cluster {
    pub(crate) dir: TempDir,
    pub(crate) server: ServerHandle,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = start(dir.path()).await;
        Self { dir, server }
    }

    /// Stops the server and starts another over the same folder.
    pub(crate) async fn restart(self) -> Self {
        self.server.shutdown().await.unwrap();
        let server = start(self.dir.path()).await;
        Self { dir: self.dir, server }
    }

    pub(crate) fn user(&self, tenant: &str) -> Client {
        self.client(tenant, Role::User)
    }

    pub(crate) fn admin(&self) -> Client {
        self.client("ops", Role::Admin)
    }

    fn client(&self, tenant: &str, role: Role) -> Client {
        let tenant = tenant.parse().unwrap();
        Client { connection: self.server.connect(Peer::User { tenant, role }) }
    }

    /// Joins a node by that name.
    pub(crate) async fn join(&self, name: &str) -> NodeId {
        let token = self.server.create_token(Duration::from_secs(60)).await.unwrap();
        match self.join_with(token.secret, name).await {
            JoinReply::Welcome { node, .. } => node,
            refused => panic!("{refused:?}"),
        }
    }

    pub(crate) async fn join_with(&self, secret: [u8; 32], name: &str) -> JoinReply {
        let connection = self.server.connect(Peer::Anonymous);
        let (_, csr) = signing_request().unwrap();
        let (mut send, mut recv) = connection.open().await.unwrap();
        send.send(&JoinRequest::Node { secret, csr, name: name.to_owned() }).await.unwrap();
        soon("the answer to a join", recv.recv()).await.unwrap().unwrap()
    }

    /// Joins a node and begins a session.
    pub(crate) async fn worker(&self, name: &str) -> Worker {
        let node = self.join(name).await;
        Worker::connect(self, node, name, 1, Vec::new()).await.0
    }
}

pub(crate) fn config(dir: &Path) -> ServerConfig {
    let mut config = ServerConfig::new(dir);
    config.listen = "127.0.0.1:0".parse().unwrap();
    config.core.lease = Duration::from_millis(300);
    config.core.lease_margin = Duration::from_millis(100);
    config.core.heartbeat = Duration::from_millis(100);
    config
}

pub(crate) async fn start(dir: &Path) -> ServerHandle {
    wrun_server::start(config(dir)).await.unwrap()
}

pub(crate) struct Client {
    pub(crate) connection: Connection,
}

/// The answers to one request.
pub(crate) struct Answers {
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
}

impl Answers {
    pub(crate) async fn next(&mut self) -> Option<Response> {
        soon("an answer", self.recv.recv()).await.unwrap()
    }
}

impl Client {
    pub(crate) async fn open(&self, request: &Request) -> Answers {
        let (mut send, recv) = self.connection.open().await.unwrap();
        send.send(request).await.unwrap();
        Answers { send, recv }
    }

    pub(crate) async fn ask(&self, request: Request) -> Response {
        self.open(&request).await.next().await.unwrap()
    }

    pub(crate) async fn refusal(&self, request: Request) -> RequestError {
        match self.ask(request).await {
            Response::Refused(error) => error,
            other => panic!("not refused: {other:?}"),
        }
    }

    pub(crate) async fn upload(&self, bytes: &[u8]) -> Digest {
        let digest = sha256(bytes);
        let request = Request::PutBlob { digest, size: bytes.len() as u64 };
        let mut answers = self.open(&request).await;
        answers.send.write_raw(bytes).await.unwrap();
        answers.send.finish().unwrap();
        assert_eq!(answers.next().await, Some(Response::Done));
        digest
    }

    pub(crate) async fn download(&self, digest: Digest) -> Vec<u8> {
        let mut answers = self.open(&Request::GetBlob(digest)).await;
        let Some(Response::Blob { size }) = answers.next().await else { panic!("no blob") };
        let mut bytes = Vec::new();
        while let Some(piece) = soon("a piece", answers.recv.read_chunk(1 << 20)).await.unwrap() {
            bytes.extend_from_slice(&piece);
        }
        assert_eq!(bytes.len() as u64, size);
        bytes
    }

    /// Uploads the smallest program and says what a job that runs it looks like.
    pub(crate) async fn program(&self) -> JobSpec {
        JobSpec::new(self.upload(&command()).await)
    }

    pub(crate) async fn submit_as(&self, id: u8, spec: &JobSpec) -> Result<JobId, RequestError> {
        let submission =
            Submission { id: SubmitId([id; 16]), spec: EncodedSpec::encode(spec).unwrap() };
        match self.ask(Request::Submit(vec![submission])).await {
            Response::Submitted(mut answers) => answers.pop().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// Submits the smallest program.
    pub(crate) async fn submit(&self, id: u8) -> JobId {
        let spec = self.program().await;
        self.submit_as(id, &spec).await.unwrap()
    }

    pub(crate) async fn job(&self, job: JobId) -> JobDetail {
        match self.ask(Request::Job(job)).await {
            Response::Job(detail) => *detail,
            other => panic!("{other:?}"),
        }
    }

    /// Watches a job to its end.
    pub(crate) async fn end(&self, job: JobId) -> JobProgress {
        let mut answers = self.open(&Request::Watch(job)).await;
        loop {
            match answers.next().await {
                Some(Response::Progress(progress)) if progress.state.is_terminal() => {
                    assert_eq!(answers.next().await, None);
                    return progress;
                }
                Some(Response::Progress(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

pub(crate) struct Worker {
    pub(crate) node: NodeId,
    pub(crate) connection: Connection,
    send: SendStream,
    recv: RecvStream,
    arrived: VecDeque<ToWorker>,
    next_report: u64,
}

impl Worker {
    /// Says hello. Returns what the welcome calls stale besides.
    pub(crate) async fn connect(
        cluster: &Cluster,
        node: NodeId,
        name: &str,
        incarnation: u64,
        attempts: Vec<Assignment>,
    ) -> (Self, Vec<AttemptId>) {
        Self::connect_saying(cluster, node, name, incarnation, attempts, &[]).await
    }

    /// The same, with what it says before its hello.
    pub(crate) async fn connect_saying(
        cluster: &Cluster,
        node: NodeId,
        name: &str,
        incarnation: u64,
        attempts: Vec<Assignment>,
        before: &[FromWorker],
    ) -> (Self, Vec<AttemptId>) {
        let connection = cluster.server.connect(Peer::Node(node));
        let (mut send, recv) = connection.open().await.unwrap();
        for message in before {
            send.send(message).await.unwrap();
        }
        let info = NodeInfo {
            name: name.to_owned(),
            capacity: Resources { cpu_milli: 4000, memory: 4 << 30, scratch: 4 << 30, slots: 100 },
            labels: Default::default(),
            version: "test".to_owned(),
        };
        send.send(&FromWorker::Hello { info, incarnation, attempts }).await.unwrap();
        let arrived = VecDeque::new();
        let mut worker = Self { node, connection, send, recv, arrived, next_report: 1 };
        match worker.next().await {
            ToWorker::Welcome { stale, .. } => (worker, stale),
            other => panic!("no welcome but {other:?}"),
        }
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> ToWorker {
        if let Some(message) = self.arrived.pop_front() {
            return message;
        }
        soon("a message to the worker", self.recv.recv()).await.unwrap().expect("a session")
    }

    /// The next message that is not for its gateway.
    pub(crate) async fn next_of_work(&mut self) -> ToWorker {
        loop {
            match self.next().await {
                ToWorker::Nodes(_) | ToWorker::Services { .. } | ToWorker::ServicesGone(_) => {}
                message => return message,
            }
        }
    }

    /// The next assignment, past all else.
    pub(crate) async fn assigned(&mut self) -> Assignment {
        loop {
            if let ToWorker::Assign(list) = self.next().await {
                let mut list = list.into_iter();
                let first = list.next().unwrap();
                let rest: Vec<_> = list.collect();
                if !rest.is_empty() {
                    self.arrived.push_front(ToWorker::Assign(rest));
                }
                return first;
            }
        }
    }

    pub(crate) async fn say(&mut self, message: &FromWorker) {
        self.send.send(message).await.unwrap();
    }

    pub(crate) async fn report(&mut self, reports: Vec<Report>) {
        let first = self.next_report;
        self.next_report += reports.len() as u64;
        self.say(&FromWorker::Reports { first, reports }).await;
    }

    /// Goes on numbering reports from `next`, as a worker does that has reconnected.
    pub(crate) fn number_reports_from(&mut self, next: u64) {
        self.next_report = next;
    }

    pub(crate) async fn succeed(&mut self, attempt: AttemptId, log: Option<Content>) {
        let result = Box::new(TaskResult {
            outcome: Outcome::Succeeded,
            usage: Usage { wall_us: 7, ..Usage::default() },
            output: None,
            log,
        });
        self.report(vec![Report::Ended { attempt, result }]).await;
    }

    /// Waits until everything up to `report` is acknowledged.
    pub(crate) async fn acknowledged(&mut self, report: u64) {
        loop {
            if let ToWorker::Acknowledge { report: up_to } = self.next().await
                && up_to >= report
            {
                return;
            }
        }
    }

    /// Breaks off without a word.
    pub(crate) fn vanish(self) {
        self.connection.close(0, "gone");
    }
}

/// The only attempt of an assignment of one task.
pub(crate) fn attempt(assignment: Assignment) -> AttemptId {
    assert_eq!(assignment.tasks.count, 1);
    TaskId { job: assignment.job, index: assignment.tasks.first }.attempt(assignment.attempt)
}

pub(crate) fn assignment(attempt: AttemptId) -> Assignment {
    let AttemptId { task, attempt } = attempt;
    Assignment { job: task.job, attempt, tasks: IndexRange::one(task.index) }
}

pub(crate) fn chunk(stream: LogStream, text: &str) -> LogChunk {
    LogChunk { stream, data: Bytes::copy_from_slice(text.as_bytes()) }
}

/// A log as it is recorded.
pub(crate) fn log(chunks: &[LogChunk]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in chunks {
        append_frame(&mut bytes, chunk).unwrap();
    }
    bytes
}

pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    let hash = ring::digest::digest(&ring::digest::SHA256, bytes);
    Digest(hash.as_ref().try_into().unwrap())
}

pub(crate) fn command() -> Vec<u8> {
    wat::parse_str(include_str!("command.wat")).unwrap()
}

pub(crate) fn handler() -> Vec<u8> {
    wat::parse_str(include_str!("handler.wat")).unwrap()
}

/// The smallest component that answers HTTP requests: it is never run here.
pub(crate) fn http_component() -> Vec<u8> {
    let text = include_str!("command.wat");
    let text = text.replace("wasi:cli/run@0.2.6", "wasi:http/incoming-handler@0.2.6");
    wat::parse_str(text.replace("(export \"run\" (func $run))", "(export \"handle\" (func $run))"))
        .unwrap()
}

pub(crate) fn preview1() -> Vec<u8> {
    wat::parse_str(include_str!("preview1.wat")).unwrap()
}

/// One request and one answer on a stream of a node.
pub(crate) async fn exchange<Q: Serialize, A: DeserializeOwned>(
    connection: &Connection,
    request: &Q,
    raw: &[u8],
) -> (A, Vec<u8>) {
    let (mut send, mut recv) = connection.open().await.unwrap();
    send.send(request).await.unwrap();
    send.write_raw(raw).await.unwrap();
    send.finish().unwrap();
    let answer = soon("an answer", recv.recv()).await.unwrap().unwrap();
    let mut bytes = Vec::new();
    while let Some(piece) = soon("a piece", recv.read_chunk(1 << 20)).await.unwrap() {
        bytes.extend_from_slice(&piece);
    }
    (answer, bytes)
}
