//! The scripts: executions that end when the test says so, a server ([`Server`]) that says what
//! the test wants, and fails on any message that nobody expected.

mod server;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tokio::sync::{Semaphore, mpsc, watch};
use wrun_net::{Connection, Peer, RecvStream, SendStream, memory};
use wrun_protocol::inference::NodeInference;
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::service::{HttpService, ServiceKind, ServiceSpec};
use wrun_protocol::task::{Failure, Outcome, Usage};
use wrun_protocol::wire::user::LogStream;
use wrun_protocol::wire::worker::{
    Assignment, BlobReply, BlobRequest, ComponentKind, FromWorker, Report, ToWorker,
};
use wrun_protocol::{Digest, IndexRange, JobId, JobSpec, NodeId, Resources, Timestamp, limits};
use wrun_sandbox::{
    Body, CallError, JobContext, NextTask, PrepareError, ReplicaEvents, ReplicaStart, ReplicaUsage,
    StartError, TaskEnd, TaskEvents, TaskStart,
};

use crate::data_dir::DataDir;
use crate::executor::Executor;
use crate::handle::{Standing, Timing, WorkerHandle, launch};
use crate::link::{Dial, Dialing};
use crate::{WorkerConfig, WorkerError};

pub(super) use server::Server;

pub(super) const COMPONENT: &[u8] = b"a component, as far as the script cares";
pub(super) const SERVICE: &[u8] = b"a component that answers requests";
/// Half of it is how long a script may keep the worker waiting for an answer.
pub(super) const LEASE: Duration = Duration::from_secs(3);
const HEARTBEAT: Duration = Duration::from_millis(100);

/// A task that the worker has started.
pub(super) struct Started {
    pub(super) task: TaskStart,
    events: Arc<dyn TaskEvents>,
}

/// A replica that the worker has opened.
struct Opened {
    start: ReplicaStart,
    events: Arc<dyn ReplicaEvents>,
    in_flight: u32,
    leaving: bool,
}

/// An open replica, as the worker holds it.
#[derive(Clone)]
pub(crate) struct ScriptedReplica(Script, u64);

struct State {
    replicas: Vec<Opened>,
    /// What replicas answer: a status, or why not.
    answer: Result<u16, CallError>,
    /// What they were asked for.
    asked: Vec<String>,
    /// Requests for `/held` wait for these.
    released: Arc<Semaphore>,
    running: Vec<Started>,
    frozen: Vec<(u64, bool)>,
    /// Tasks that were told that they will be stopped.
    notified: Vec<u64>,
    /// Tasks that end well within the call that starts them.
    ends_at_once: bool,
}

/// Executions and replicas.
#[derive(Clone)]
pub(crate) struct Script(Arc<Mutex<State>>);

impl Default for Script {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State {
            replicas: Vec::new(),
            answer: Ok(200),
            asked: Vec::new(),
            released: Arc::new(Semaphore::new(0)),
            running: Vec::new(),
            frozen: Vec::new(),
            notified: Vec::new(),
            ends_at_once: false,
        })))
    }
}

impl Script {
    pub(super) fn ends_at_once(&self) {
        self.0.lock().unwrap().ends_at_once = true;
    }

    /// The replicas that are open: job, index, attempt.
    pub(super) fn replicas(&self) -> Vec<(u64, u32, u32)> {
        let state = self.0.lock().unwrap();
        let each = state.replicas.iter().map(|open| &open.start);
        let mut open: Vec<_> = each.map(|s| (s.job.job.0, s.index, s.attempt)).collect();
        open.sort_unstable();
        open
    }

    /// Waits until exactly these are open.
    pub(super) async fn opens(&self, wanted: &[(u64, u32, u32)]) {
        let waiting = eventually(|| self.replicas() == wanted);
        if tokio::time::timeout(Duration::from_secs(20), waiting).await.is_err() {
            panic!("{:?} are open, not {wanted:?}", self.replicas());
        }
    }

    /// What replicas answer from now on.
    pub(super) fn answers(&self, answer: Result<u16, CallError>) {
        self.0.lock().unwrap().answer = answer;
    }

    /// How often replicas were asked for that.
    pub(super) fn asked(&self, path: &str) -> usize {
        self.0.lock().unwrap().asked.iter().filter(|asked| *asked == path).count()
    }

    /// Lets so many requests for `/held` be answered.
    pub(super) fn release(&self, requests: usize) {
        self.0.lock().unwrap().released.add_permits(requests);
    }

    /// Lets see how the replica at `index` was opened.
    pub(super) fn with_replica<T>(&self, index: u32, see: impl FnOnce(&ReplicaStart) -> T) -> T {
        let state = self.0.lock().unwrap();
        see(&state.replicas.iter().find(|open| open.start.index == index).unwrap().start)
    }

    /// As the guests of the replica at `index` would.
    pub(super) fn act_as_replica(&self, index: u32, act: impl FnOnce(&dyn ReplicaEvents, u64)) {
        let (events, token) = {
            let state = self.0.lock().unwrap();
            let open = state.replicas.iter().find(|open| open.start.index == index).unwrap();
            (open.events.clone(), open.start.token)
        };
        act(&*events, token);
    }

    /// Takes the replica out if it is to go and nothing holds it; then it has gone.
    fn vacate(&self, token: u64, at_once: bool) {
        let gone = {
            let mut state = self.0.lock().unwrap();
            let is_over = |open: &Opened| {
                open.start.token == token && (at_once || (open.leaving && open.in_flight == 0))
            };
            let at = state.replicas.iter().position(is_over);
            at.map(|at| state.replicas.remove(at))
        };
        if let Some(gone) = gone {
            gone.events.vacated(token);
        }
    }

    fn begin_request(&self, token: u64, path: &str) -> Result<(), CallError> {
        let mut state = self.0.lock().unwrap();
        state.asked.push(path.to_owned());
        let open = state.replicas.iter_mut().find(|open| open.start.token == token);
        let open = open.filter(|open| !open.leaving).ok_or(CallError::Draining)?;
        open.in_flight += 1;
        Ok(())
    }

    fn end_request(&self, token: u64) {
        let mut state = self.0.lock().unwrap();
        if let Some(open) = state.replicas.iter_mut().find(|open| open.start.token == token) {
            open.in_flight -= 1;
        }
        drop(state);
        self.vacate(token, false);
    }

    pub(super) fn running(&self) -> Vec<(u64, u32)> {
        let state = self.0.lock().unwrap();
        let mut running: Vec<_> =
            state.running.iter().map(|s| (s.task.job.job.0, s.task.index)).collect();
        running.sort_unstable();
        running
    }

    /// Waits until exactly these run.
    pub(super) async fn runs(&self, wanted: &[(u64, u32)]) {
        let waiting = eventually(|| self.running() == wanted);
        if tokio::time::timeout(Duration::from_secs(20), waiting).await.is_err() {
            panic!("{:?} run, not {wanted:?}", self.running());
        }
    }

    /// How many notices there were.
    pub(super) fn notices(&self) -> usize {
        self.0.lock().unwrap().notified.len()
    }

    pub(super) fn frozen(&self) -> Vec<bool> {
        self.0.lock().unwrap().frozen.iter().map(|(_, frozen)| *frozen).collect()
    }

    fn take(&self, wanted: impl Fn(&Started) -> bool) -> Option<Started> {
        let mut state = self.0.lock().unwrap();
        let at = state.running.iter().position(wanted)?;
        Some(state.running.remove(at))
    }

    /// Lets the task at `index` end.
    pub(super) fn end_with(&self, index: u32, outcome: Outcome, output: Option<&[u8]>) {
        let started = self.take(|s| s.task.index == index).expect("the task runs");
        let output = output.map(Bytes::copy_from_slice);
        self.finish(started, TaskEnd { outcome, usage: usage(), output });
    }

    /// As the sandbox does: the next of the job may take the place.
    fn finish(&self, started: Started, end: TaskEnd) {
        let Started { task, events } = started;
        match events.hand_over(task.token, end) {
            Some(next) => {
                let task = following(&task.job, next);
                self.0.lock().unwrap().running.push(Started { task, events });
            }
            None => events.vacated(),
        }
    }

    pub(super) fn succeed(&self, index: u32) {
        self.end_with(index, Outcome::Succeeded, None);
    }

    /// Calls `act` as the guest of the task at `index` would.
    pub(super) fn act(&self, index: u32, act: impl FnOnce(&dyn TaskEvents, u64)) {
        let (events, token) = {
            let state = self.0.lock().unwrap();
            let started = state.running.iter().find(|s| s.task.index == index).unwrap();
            (started.events.clone(), started.task.token)
        };
        act(&*events, token);
    }

    pub(super) fn with_task<T>(&self, index: u32, see: impl FnOnce(&mut TaskStart) -> T) -> T {
        let mut state = self.0.lock().unwrap();
        see(&mut state.running.iter_mut().find(|s| s.task.index == index).unwrap().task)
    }
}

fn following(job: &Arc<JobContext>, next: NextTask) -> TaskStart {
    let NextTask { token, index, attempt, input, checkpoint, scratch, seed } = next;
    TaskStart { token, job: job.clone(), index, attempt, input, checkpoint, scratch, seed }
}

pub(super) fn usage() -> Usage {
    Usage { wall_us: 10, cpu_us: 5, frozen_us: 0, peak_memory: 1 << 20 }
}

impl Executor for Script {
    type Program = ComponentKind;
    type Handle = (Script, u64);
    type Replica = ScriptedReplica;

    async fn compile(
        &self,
        _: Digest,
        _: bool,
        file: PathBuf,
    ) -> Result<Arc<ComponentKind>, PrepareError> {
        match std::fs::read(file) {
            Ok(bytes) if bytes == COMPONENT => Ok(Arc::new(ComponentKind::Command)),
            Ok(bytes) if bytes == SERVICE => Ok(Arc::new(ComponentKind::Http)),
            Ok(_) => Err(PrepareError::Compile("not the component".to_owned())),
            Err(error) => Err(PrepareError::Source(error.to_string())),
        }
    }

    fn kind(program: &ComponentKind) -> ComponentKind {
        *program
    }

    fn start(
        &self,
        _: &Arc<ComponentKind>,
        task: TaskStart,
        events: &Arc<dyn TaskEvents>,
    ) -> Result<Self::Handle, StartError> {
        let token = task.token;
        if self.0.lock().unwrap().ends_at_once {
            let end = TaskEnd { outcome: Outcome::Succeeded, usage: usage(), output: None };
            // As from a guest thread: not within the call that starts it.
            let events = events.clone();
            tokio::spawn(async move { events.ended(token, end) });
        } else {
            self.0.lock().unwrap().running.push(Started { task, events: events.clone() });
        }
        Ok((self.clone(), token))
    }

    fn freeze((script, token): &Self::Handle, frozen: bool) {
        script.0.lock().unwrap().frozen.push((*token, frozen));
    }

    fn notify((script, token): &Self::Handle, _: std::time::Instant) {
        script.0.lock().unwrap().notified.push(*token);
    }

    fn stop((script, token): &Self::Handle) {
        if let Some(started) = script.take(|s| s.task.token == *token) {
            let outcome = Outcome::Failed(Failure::Cancelled);
            let end = TaskEnd { outcome, usage: usage(), output: None };
            script.finish(started, end);
        }
    }

    fn followed_by((script, _): Self::Handle, token: u64) -> Self::Handle {
        (script, token)
    }

    fn open_replica(
        &self,
        _: &Arc<ComponentKind>,
        start: ReplicaStart,
        events: Arc<dyn ReplicaEvents>,
    ) -> Result<ScriptedReplica, StartError> {
        let token = start.token;
        let opened = Opened { start, events, in_flight: 0, leaving: false };
        self.0.lock().unwrap().replicas.push(opened);
        Ok(ScriptedReplica(self.clone(), token))
    }

    fn call(
        ScriptedReplica(script, token): &ScriptedReplica,
        request: Request<Body>,
        _: std::time::Instant,
    ) -> impl Future<Output = Result<Response<Body>, CallError>> + Send + 'static {
        let (script, token) = (script.clone(), *token);
        async move {
            let path = request.uri().path().to_owned();
            script.begin_request(token, &path)?;
            if path == "/held" {
                let released = script.0.lock().unwrap().released.clone();
                released.acquire().await.unwrap().forget();
            }
            script.end_request(token);
            let status = script.0.lock().unwrap().answer.clone()?;
            let body = wrun_gateway::full(format!("answer to {path}"));
            Ok(Response::builder().status(status).body(body).unwrap())
        }
    }

    async fn drain(ScriptedReplica(script, token): &ScriptedReplica) {
        let mut state = script.0.lock().unwrap();
        let open = state.replicas.iter_mut().filter(|open| open.start.token == *token);
        open.for_each(|open| open.leaving = true);
        drop(state);
        script.vacate(*token, false);
    }

    fn stop_replica(ScriptedReplica(script, token): &ScriptedReplica) {
        script.vacate(*token, true);
    }

    fn freeze_replica(ScriptedReplica(script, token): &ScriptedReplica, frozen: bool) {
        script.0.lock().unwrap().frozen.push((*token, frozen));
    }

    fn usage(_: &ScriptedReplica) -> ReplicaUsage {
        ReplicaUsage { requests: 1, failed: 0, cpu: Duration::from_micros(7), peak_memory: 1 << 20 }
    }
}

struct ScriptedDial(tokio::sync::Mutex<mpsc::Receiver<Connection>>);

impl Dial for ScriptedDial {
    fn dial(&self) -> Dialing<'_> {
        Box::pin(async {
            match self.0.lock().await.recv().await {
                Some(connection) => Ok(connection),
                None => std::future::pending().await,
            }
        })
    }
}

/// A worker and what surrounds it.
pub(super) struct World {
    pub(super) script: Script,
    pub(super) worker: WorkerHandle,
    connections: mpsc::Sender<Connection>,
    pub(super) dir: tempfile::TempDir,
}

impl World {
    /// A worker with room for two tasks of a job like [`spec`].
    pub(super) async fn new() -> Self {
        Self::with(|_, _| ()).await
    }

    /// The same, with another configuration. Unless changed, it tells of no task that runs
    /// for long, so that no test depends on how fast the machine is.
    pub(super) async fn with(change: impl FnOnce(&mut WorkerConfig, &mut Timing)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = WorkerConfig::new("server:1", dir.path());
        config.capacity =
            Resources { cpu_milli: 2000, memory: 1 << 30, scratch: 1 << 30, slots: 8 };
        config.grace = Duration::from_secs(3);
        let mut timing = Timing {
            first_pause: Duration::from_millis(1),
            sweep: Duration::from_secs(3600),
            last_reports: Duration::from_secs(30),
        };
        change(&mut config, &mut timing);
        let script = Script::default();
        let (connections, dialled) = mpsc::channel(4);
        let dial = ScriptedDial(tokio::sync::Mutex::new(dialled));
        let data = DataDir::open(dir.path()).unwrap();
        let standing = Standing {
            node: NodeId(1),
            warnings: Vec::new(),
            inference: NodeInference::default(),
            cards: watch::channel(Vec::new()).1,
            peers: None,
        };
        let launched: Result<_, WorkerError> =
            launch(config, timing, data, standing, script.clone(), Box::new(dial)).await;
        Self { script, worker: launched.unwrap(), connections, dir }
    }

    /// Lets the worker connect; returns with its `Hello` and leaves it unanswered.
    pub(super) async fn accept(&self) -> (Server, Vec<Assignment>) {
        let (ours, theirs) = memory::pair(Peer::Server, Peer::Node(NodeId(1)));
        self.connections.send(theirs).await.unwrap();
        Server::accept(ours).await
    }

    /// The same, answered, from a worker that has nothing.
    pub(super) async fn connect(&self) -> Server {
        let (mut server, attempts) = self.accept().await;
        assert_eq!(attempts, [], "a new worker has nothing");
        server.welcome().await;
        server
    }

    /// A server that has told the worker of job 1 and assigned `tasks` of it, which run or
    /// wait.
    pub(super) async fn assigned(&self, tasks: std::ops::Range<u32>) -> Server {
        let mut server = self.connect().await;
        server.job(1, &spec()).await;
        let first: Vec<_> = tasks.clone().map(|index| (1, index)).take(2).collect();
        server.assign(1, tasks).await;
        server.serve_blob(COMPONENT).await;
        if !self.script.0.lock().unwrap().ends_at_once {
            self.script.runs(&first).await;
        }
        server
    }
}

/// A job of 100,000 tasks, of which each takes one core.
pub(super) fn spec() -> JobSpec {
    JobSpec { count: 100_000, ..JobSpec::new(digest(COMPONENT)) }
}

/// A service whose replicas have four instances.
pub(super) fn service_spec(http: HttpService) -> JobSpec {
    let http = HttpService { concurrency: 4, ..http };
    let mut spec = JobSpec::new(digest(SERVICE));
    (spec.name, spec.count) = ("hello".to_owned(), limits::MAX_REPLICAS);
    spec.resources.slots = 4;
    spec.service = Some(Box::new(ServiceSpec::new(ServiceKind::Http(http))));
    spec
}

pub(super) fn digest(bytes: &[u8]) -> Digest {
    let mut digest = [0; 32];
    digest.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    Digest(digest)
}

pub(super) fn tasks(job: u64, range: std::ops::Range<u32>) -> Assignment {
    let tasks = IndexRange { first: range.start, count: range.end - range.start };
    Assignment { job: JobId(job), attempt: 1, tasks }
}

/// Waits until `holds`.
pub(super) async fn eventually(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("it happens");
}

/// Lets happen what should not, if it would.
pub(super) async fn settle() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// Hears nothing of a replica.
pub(super) struct Nobody;

impl ReplicaEvents for Nobody {
    fn log(&self, _: u64, _: LogStream, _: Bytes) {}
}

/// A job without anything.
pub(super) fn context() -> JobContext {
    let spec = spec();
    JobContext {
        job: JobId(1),
        tenant: "lab".parse().unwrap(),
        kind: ComponentKind::Http,
        count: 1,
        args: Vec::new(),
        env: Vec::new(),
        limits: spec.limits,
        resources: spec.resources,
        mounts: Vec::new(),
        network: Vec::new(),
        listen: Vec::new(),
        services: None,
        models: Vec::new(),
        model_weight: 1,
        models_asked: Arc::default(),
        cards: None,
        load_models: false,
    }
}
