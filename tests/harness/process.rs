//! One `wrun` process: started, watched, killed.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long anything here may take on a loaded machine before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running process whose output goes to files. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Starts `command`; its output goes to `NAME.out` and `NAME.err` in `folder`.
    pub fn start(mut command: Command, folder: &Path, name: &str) -> Self {
        let stdout = folder.join(format!("{name}.out"));
        let stderr = folder.join(format!("{name}.err"));
        command.stdin(Stdio::null()).stdout(File::create(&stdout).unwrap()).stderr(append(&stderr));
        let child = command.spawn().unwrap();
        Self { child, stdout, stderr }
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub fn printed(&self) -> String {
        read(&self.stdout)
    }

    /// What it has logged so far.
    pub fn logged(&self) -> String {
        read(&self.stderr)
    }

    /// Waits until `wanted` finds something in what it has printed. Fails when the process
    /// ends before, with what it logged.
    pub fn wait_for<T>(&mut self, what: &str, wanted: impl Fn(&str) -> Option<T>) -> T {
        self.wait_on(what, |process| wanted(&process.printed()))
    }

    /// The same in what it has logged.
    pub fn wait_for_log<T>(&mut self, what: &str, wanted: impl Fn(&str) -> Option<T>) -> T {
        self.wait_on(what, |process| wanted(&process.logged()))
    }

    fn wait_on<T>(&mut self, what: &str, wanted: impl Fn(&Self) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = wanted(self) {
                return found;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("ended with {status} before {what}:\n{}{}", self.printed(), self.logged());
            }
            assert!(begun.elapsed() < PATIENCE, "no {what} in time:\n{}", self.logged());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// kill -9.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        signal(self.id(), "TERM");
    }

    /// Stops it between two instructions, or lets it go on.
    pub fn suspend(&self, suspended: bool) {
        signal(self.id(), if suspended { "STOP" } else { "CONT" });
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "did not end in time:\n{}", self.logged());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.stderr.display(), self.logged());
        }
    }
}

fn signal(process: u32, name: &str) {
    let status = Command::new("kill").args(["-s", name, &process.to_string()]).status().unwrap();
    assert!(status.success());
}

fn append(path: &Path) -> File {
    File::options().create(true).append(true).open(path).unwrap()
}

fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}
