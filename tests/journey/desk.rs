//! Where a user sits: a folder of files, and a cluster that answers.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use harness::cluster::command;
use harness::{Cluster, Process, artefacts};
use serde_json::Value;
use tempfile::TempDir;

use crate::until;

/// A folder, and a cluster of one process (`wrun dev`) or of several. Everything stops when
/// it is dropped.
pub struct Desk {
    pub dev: Option<Process>,
    pub cluster: Option<Cluster>,
    folder: TempDir,
    home: PathBuf,
}

impl Desk {
    /// With `wrun dev` on one node of two cores.
    pub fn start() -> Self {
        Self::with(&["--cpu", "2", "--memory", "1GiB"])
    }

    /// With `wrun dev` and these flags.
    pub fn with(flags: &[&str]) -> Self {
        let mut desk = Self::alone();
        desk.start_dev(flags);
        desk
    }

    /// Without a cluster.
    pub fn alone() -> Self {
        let folder = tempfile::Builder::new().prefix("wrun-test-").tempdir().unwrap();
        let home = folder.path().to_owned();
        Self { dev: None, cluster: None, folder, home }
    }

    /// With a server and workers of their own.
    pub fn of(cluster: Cluster) -> Self {
        let folder = tempfile::Builder::new().prefix("wrun-test-").tempdir().unwrap();
        let home = cluster.folder().to_owned();
        Self { dev: None, cluster: Some(cluster), folder, home }
    }

    /// Starts `wrun dev` on the folder's data; again, if it has ended.
    pub fn start_dev(&mut self, flags: &[&str]) {
        let mut dev = self.command();
        dev.args(["dev", "--json", "--listen", "127.0.0.1:0", "--data"]).arg(self.data());
        dev.args(flags);
        let mut dev = Process::start(dev, self.folder(), "dev");
        dev.wait_for("the cluster is ready", |printed| printed.contains('\n').then_some(()));
        self.dev = Some(dev);
    }

    pub fn dev(&mut self) -> &mut Process {
        self.dev.as_mut().unwrap()
    }

    pub fn cluster(&mut self) -> &mut Cluster {
        self.cluster.as_mut().unwrap()
    }

    /// Where the user's files are; commands run here.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Of `wrun dev`.
    pub fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// Puts a file into the folder.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// `wrun`, to be started by the test.
    pub fn command(&self) -> Command {
        let mut command = command(&self.home);
        command.current_dir(self.folder());
        command
    }

    /// Runs `wrun` with nothing to read.
    pub fn wrun<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Output {
        self.command().args(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs `wrun` with `input` to read.
    pub fn fed(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = self.command();
        command.args(arguments).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A guest may end without having read everything.
        let _ = stdin.write_all(input);
        drop(stdin);
        child.wait_with_output().unwrap()
    }

    /// What `wrun` prints; it must succeed.
    pub fn says(&self, arguments: &[&str]) -> String {
        let output = self.wrun(arguments);
        let code = output.status.code();
        assert_eq!(code, Some(0), "{arguments:?}: {}{}", stdout(&output), stderr(&output));
        stdout(&output)
    }

    /// What `wrun --json` prints, as one value; it must succeed.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.says(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    /// Submits, and returns the id that was printed.
    pub fn submit(&self, arguments: &[&str]) -> String {
        let printed = self.says(&[&["submit"], arguments].concat());
        printed.trim_end().to_owned()
    }

    /// Writes a job file into a folder of its own, with a copy of `guest` beside it, and
    /// submits it from elsewhere.
    pub fn submit_file(&self, guest: &str, fields: &str) -> String {
        self.submit(&[&self.job_file(guest, fields)])
    }

    /// The path of such a job file.
    pub fn job_file(&self, guest: &str, fields: &str) -> String {
        std::fs::create_dir_all(self.folder().join("jobs")).unwrap();
        let wasm = format!("{guest}.wasm");
        std::fs::copy(artefacts::guest(guest), self.folder().join("jobs").join(&wasm)).unwrap();
        self.write("jobs/job.toml", format!("component = \"{wasm}\"\n{fields}\n"));
        "jobs/job.toml".to_owned()
    }

    /// Waits for the job's end and returns its page.
    pub fn ended(&self, job: &str) -> Value {
        self.wrun(&["wait", job]);
        let page = self.json(&["job", job]);
        assert!(page["ended_ms"].is_u64(), "{page}");
        page
    }

    /// Waits until the job runs.
    pub fn running(&self, job: &str) -> Value {
        until("the job runs", || {
            let page = self.json(&["job", job]);
            (page["tasks_shown"][0]["state"] == "running").then_some(page)
        })
    }
}

/// The path of a guest.
pub fn guest(name: &str) -> String {
    artefacts::guest(name).to_str().unwrap().to_owned()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Sends a signal such as `INT`.
pub fn signal(process: u32, name: &str) {
    let status = Command::new("kill").args(["-s", name, &process.to_string()]).status().unwrap();
    assert!(status.success());
}
