//! A sandbox in a directory of its own, events that can be waited for, and guests in
//! WebAssembly text.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic, reason = "tests")]

pub mod http;

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use wrun_protocol::job::TaskLimits;
use wrun_protocol::wire::user::LogStream;
use wrun_protocol::wire::worker::ComponentKind;
use wrun_protocol::{Digest, JobId, JobSpec};
use wrun_sandbox::{
    CheckpointDone, JobContext, Prepared, Sandbox, SandboxConfig, TaskEnd, TaskEvents, TaskHandle,
    TaskInput, TaskStart,
};

pub const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Default)]
pub struct Told {
    pub ended: Vec<(u64, TaskEnd)>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub progress: Vec<(u16, String)>,
    pub checkpoints: Vec<Bytes>,
}

#[derive(Default)]
pub struct Events {
    told: Mutex<Told>,
    news: Condvar,
}

impl Events {
    /// Waits until `holds`; then what was told.
    pub fn wait(&self, holds: impl Fn(&Told) -> bool) -> std::sync::MutexGuard<'_, Told> {
        let told = self.told.lock().unwrap();
        let (told, timeout) =
            self.news.wait_timeout_while(told, PATIENCE, |told| !holds(told)).unwrap();
        assert!(!timeout.timed_out(), "waited in vain");
        told
    }

    pub fn end_of(&self, token: u64) -> TaskEnd {
        let told = self.wait(|told| told.ended.iter().any(|(ended, _)| *ended == token));
        let mut ends = told.ended.iter().filter(|(ended, _)| *ended == token);
        let end = ends.next().unwrap().1.clone();
        assert!(ends.next().is_none(), "ended twice");
        end
    }

    fn tell(&self, change: impl FnOnce(&mut Told)) {
        change(&mut self.told.lock().unwrap());
        self.news.notify_all();
    }
}

impl TaskEvents for Events {
    fn log(&self, _: u64, stream: LogStream, bytes: Bytes) {
        self.tell(|told| match stream {
            LogStream::Stdout => told.stdout.extend_from_slice(&bytes),
            LogStream::Stderr => told.stderr.extend_from_slice(&bytes),
        });
    }

    fn progress(&self, _: u64, permille: u16, message: &str) {
        self.tell(|told| told.progress.push((permille, message.to_owned())));
    }

    fn save_checkpoint(&self, _: u64, state: Bytes, done: CheckpointDone) {
        self.tell(|told| told.checkpoints.push(state));
        done.saved();
    }

    fn ended(&self, token: u64, end: TaskEnd) {
        self.tell(|told| told.ended.push((token, end)));
    }
}

pub struct Bench {
    pub sandbox: Sandbox,
    pub events: Arc<Events>,
    pub dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut SandboxConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = SandboxConfig::new(dir.path().join("cache"));
        config.slots = 32;
        config.memory = 1 << 30;
        change(&mut config);
        let sandbox = Sandbox::new(config).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { sandbox, events: Arc::default(), dir, runtime }
    }

    pub fn compile(&self, wat: &str) -> Arc<Prepared> {
        let bytes = wat::parse_str(wat).unwrap();
        let digest = digest_of(&bytes);
        let source = move || Ok(Bytes::from(bytes));
        self.runtime.block_on(self.sandbox.compile(digest, source)).unwrap()
    }

    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    pub fn start(&self, prepared: &Arc<Prepared>, task: TaskStart) -> TaskHandle {
        let events: Arc<dyn TaskEvents> = self.events.clone();
        self.sandbox.start(prepared, task, &events).unwrap()
    }

    /// Runs to the end.
    pub fn run(&self, wat: &str, change: impl FnOnce(&mut JobContext)) -> TaskEnd {
        let prepared = self.compile(wat);
        let mut job = job();
        job.kind = prepared.kind();
        change(&mut job);
        self.start(&prepared, task(1, job));
        self.events.end_of(1)
    }
}

/// Not a real digest; tests only need different ones.
pub fn digest_of(bytes: &[u8]) -> Digest {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut digest = [0; 32];
    for (index, part) in digest.chunks_mut(8).enumerate() {
        let mut hasher = DefaultHasher::new();
        (index, bytes).hash(&mut hasher);
        part.copy_from_slice(&hasher.finish().to_le_bytes());
    }
    Digest(digest)
}

pub fn job() -> JobContext {
    JobContext {
        job: JobId(7),
        tenant: "lab".parse().unwrap(),
        kind: ComponentKind::Command,
        count: 3,
        args: vec!["guest".to_owned()],
        env: Vec::new(),
        limits: TaskLimits::default(),
        resources: JobSpec::DEFAULT_RESOURCES,
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

pub fn task(token: u64, job: JobContext) -> TaskStart {
    TaskStart {
        token,
        job: Arc::new(job),
        index: 2,
        attempt: 1,
        input: TaskInput::Empty,
        checkpoint: None,
        scratch: None,
        seed: None,
    }
}

pub fn scratch_in(bench: &Bench, name: &str) -> Option<PathBuf> {
    Some(bench.dir.path().join("scratch").join(name))
}

/// Polls until `holds`, which must not take long.
pub fn eventually(holds: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "waited in vain");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A program whose `run` is `body`, which leaves the exit status on the stack, besides
/// `fields` of its module.
pub fn program(fields: &str, body: &str) -> String {
    format!(
        r#"(component
            (core module $m {fields} (func (export "run") (result i32) {body}))
            (core instance $i (instantiate $m))
            (func $run (result (result)) (canon lift (core func $i "run")))
            (instance $wasi (export "run" (func $run)))
            (export "wasi:cli/run@0.2.0" (instance $wasi)))"#
    )
}

pub const SPIN: &str = "(loop $l (br $l)) (unreachable)";
