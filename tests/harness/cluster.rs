//! A server and its workers, each a process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::artefacts;
use crate::client::Client;
use crate::process::Process;

/// What a test may choose.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many workers are started.
    pub workers: usize,
    /// CPUs of each, as `--cpu` takes them.
    pub cpu: String,
    /// Memory of each, as `--memory` takes it.
    pub memory: String,
    /// Places of each, as `--slots` takes them.
    pub slots: String,
    /// How long a worker may be out of reach before its tasks run elsewhere.
    pub lease: String,
    /// How often a worker says that it is there.
    pub heartbeat: String,
    /// How long a draining worker lets its tasks run.
    pub grace: String,
    /// Further settings of the server, as its file has them.
    pub server_file: String,
    /// Further settings of each worker, as its file has them.
    pub worker_file: String,
    /// The environment of each worker, beside the tests' own.
    pub worker_environment: Vec<(String, String)>,
}

impl Default for Settings {
    fn default() -> Self {
        let text = str::to_owned;
        Self {
            workers: 1,
            cpu: text("2"),
            memory: text("2GiB"),
            slots: text("256"),
            lease: text("2s"),
            heartbeat: text("200ms"),
            grace: text("5s"),
            server_file: String::new(),
            worker_file: String::new(),
            worker_environment: Vec::new(),
        }
    }
}

/// A running cluster. Everything it started stops when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    /// The server; killed and started again by tests.
    pub server: Process,
    /// The workers, in order of start.
    pub workers: Vec<Process>,
    settings: Settings,
    address: String,
    folder: TempDir,
}

impl Cluster {
    /// One server and one worker.
    pub fn start() -> Self {
        Self::with(Settings::default())
    }

    /// A server and as many workers as `settings` say; returns when they have joined.
    pub fn with(settings: Settings) -> Self {
        let folder = tempfile::Builder::new().prefix("wrun-test-").tempdir().unwrap();
        run(command(folder.path()).args(["server", "init", "--data"]).arg(server_data(&folder)));
        std::fs::write(folder.path().join("server.toml"), &settings.server_file).unwrap();
        std::fs::write(worker_file(folder.path()), &settings.worker_file).unwrap();
        let (server, address) = start_server(&folder, &settings, "127.0.0.1:0");
        let mut cluster = Self { server, workers: Vec::new(), settings, address, folder };
        cluster.point_credential_here();
        for number in 1..=cluster.settings.workers {
            cluster.add_worker(&format!("w{number}"));
        }
        cluster
    }

    /// The folder of everything; tests may put files there.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `HOST:PORT` of the server.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The server's data directory.
    pub fn server_data(&self) -> PathBuf {
        server_data(&self.folder)
    }

    /// The first user's credential, an admin's.
    pub fn credential(&self) -> PathBuf {
        self.folder.path().join("credential.toml")
    }

    /// A worker's data directory.
    pub fn worker_data(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts the server again on its data and port.
    pub fn restart_server(&mut self) {
        self.server.kill();
        let (server, _) = start_server(&self.folder, &self.settings, &self.address);
        self.server = server;
    }

    /// Joins one more worker and waits until work can be sent there. Returns its place in
    /// `workers`.
    pub fn add_worker(&mut self, name: &str) -> usize {
        let token = self.stdout(&["token", "create"]);
        let mut worker = self.worker_command(name);
        worker.args(["--join", token.trim()]);
        let mut worker = ready(Process::start(worker, self.folder.path(), name));
        // That it is ready says that it listens, and not that the server has heard of it.
        worker.wait_for("the node takes tasks", |_| self.takes_tasks(name).then_some(()));
        self.workers.push(worker);
        self.workers.len() - 1
    }

    fn takes_tasks(&self, name: &str) -> bool {
        let listing: serde_json::Value =
            serde_json::from_str(&self.stdout(&["nodes", "--json"])).unwrap();
        let nodes = listing["nodes"].as_array().unwrap();
        nodes.iter().any(|node| node["name"] == name && node["state"] == "ready")
    }

    /// What the workers that start from now on have in their file, and in their environment.
    pub fn set_worker(&mut self, file: &str, environment: Vec<(String, String)>) {
        std::fs::write(worker_file(self.folder()), file).unwrap();
        self.settings.worker_environment = environment;
    }

    /// Starts a worker that has joined before, on its data directory, in place `at`.
    pub fn restart_worker(&mut self, at: usize, name: &str) {
        let worker = self.worker_command(name);
        self.workers[at] = ready(Process::start(worker, self.folder.path(), name));
    }

    /// Where the gateway of the worker in place `at` takes requests.
    pub fn gateway(&self, at: usize) -> SocketAddr {
        let printed = self.workers[at].printed();
        let ready: serde_json::Value =
            serde_json::from_str(printed.lines().next().unwrap()).unwrap();
        ready["http"][0].as_str().unwrap().parse().unwrap()
    }

    fn worker_command(&self, name: &str) -> Command {
        let mut worker = command(self.folder.path());
        worker.args(["worker", "--json", "--name", name, "--data"]).arg(self.worker_data(name));
        worker.args(["--server", &self.address]);
        worker.arg("--config").arg(worker_file(self.folder()));
        worker.envs(self.settings.worker_environment.iter().cloned());
        worker.args(["--cpu", &self.settings.cpu, "--memory", &self.settings.memory]);
        worker.args(["--slots", &self.settings.slots]);
        worker.args(["--grace", &self.settings.grace, "--http", "127.0.0.1:0"]);
        worker
    }

    /// Runs `wrun` with the cluster's credential.
    pub fn wrun(&self, arguments: &[&str]) -> Output {
        command(self.folder.path()).args(arguments).output().unwrap()
    }

    /// A `wrun` command with the cluster's credential, to be started by the test.
    pub fn command(&self) -> Command {
        command(self.folder.path())
    }

    /// What `wrun` prints; it must succeed.
    pub fn stdout(&self, arguments: &[&str]) -> String {
        run(command(self.folder.path()).args(arguments))
    }

    /// A user's connection.
    pub async fn client(&self) -> Client {
        Client::connect(&self.credential()).await
    }

    /// `server init` wrote the credential before a port was known.
    fn point_credential_here(&self) {
        let mut credential = wrun_net::Credential::load(&self.credential()).unwrap();
        credential.server = self.address.clone();
        credential.save(&self.credential()).unwrap();
    }
}

/// Not where a worker looks by itself: a test may start one of its own.
fn worker_file(folder: &Path) -> PathBuf {
    folder.join("workers.toml")
}

fn server_data(folder: &TempDir) -> PathBuf {
    folder.path().join("server")
}

/// `wrun`, deaf to the configuration of whoever runs the tests, at home in `folder`.
pub fn command(folder: &Path) -> Command {
    let mut command = Command::new(artefacts::wrun());
    for (name, _) in std::env::vars_os()
        .filter(|(name, _)| name.to_string_lossy().starts_with("WRUN_") && name != "WRUN_SEED")
    {
        command.env_remove(name);
    }
    command
        .env("WRUN_CREDENTIAL", folder.join("credential.toml"))
        .env("XDG_CONFIG_HOME", folder)
        .env("HOME", folder)
        .env("NO_COLOR", "1")
        .current_dir(folder);
    command
}

fn start_server(folder: &TempDir, settings: &Settings, listen: &str) -> (Process, String) {
    let mut server = command(folder.path());
    server.args(["server", "--json", "--listen", listen, "--data"]).arg(server_data(folder));
    server.arg("--config").arg(folder.path().join("server.toml"));
    server.args(["--lease", &settings.lease, "--heartbeat", &settings.heartbeat]);
    let mut server = Process::start(server, folder.path(), "server");
    let address = server.wait_for("the server is ready", |printed| {
        let ready: serde_json::Value = serde_json::from_str(printed.lines().next()?).ok()?;
        Some(ready["listen"].as_str()?.to_owned())
    });
    (server, address)
}

fn ready(mut worker: Process) -> Process {
    worker.wait_for("the worker is ready", |printed| printed.contains('\n').then_some(()));
    worker
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (stdout, stderr) = (&output.stdout, &output.stderr);
    let stderr = String::from_utf8_lossy(stderr);
    assert!(output.status.success(), "{command:?} ended with {}: {stderr}", output.status);
    String::from_utf8_lossy(stdout).into_owned()
}
