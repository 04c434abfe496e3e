//! A child process from its parent's side: started when it is needed, asked, killed when it
//! does not answer, and said why it ended.

use std::ffi::OsString;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use super::message::{MessageError, Request, Response, receive, send};
use super::region::{Region, RegionError};
use crate::config::{BackEndConfig, Limits};

/// How often a waiting parent looks whether it should wait on.
const LOOK: Duration = Duration::from_millis(50);

/// What a child keeps of the environment: where programs, libraries and drivers are found.
/// Credentials that the node has are none of a native library's business.
const KEPT: [&str; 9] =
    ["PATH", "HOME", "LD_", "CUDA_", "NVIDIA_", "VK_", "ORT_", "OMP_", "XDG_CACHE_HOME"];

/// How a child is started.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    /// Set beside what is kept of this process's own environment.
    pub(crate) environment: Vec<(&'static str, OsString)>,
}

/// A running child.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    stream: UnixStream,
    region: Region,
    version: Option<String>,
}

/// A child gives no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProcessError {
    #[error("its process cannot be started: {0}")]
    Start(#[source] std::io::Error),
    #[error("it cannot be started: {0}")]
    Refused(String),
    #[error("its process {0}; it is started again for the next request")]
    Ended(String),
    #[error("it did not answer in time, and its process was killed")]
    Hung,
    #[error("its process was killed: {0}")]
    Confused(String),
    #[error(transparent)]
    Region(#[from] RegionError),
}

impl Command {
    /// This program again.
    pub(crate) fn this_program() -> std::io::Result<Self> {
        let program = std::env::current_exe()?;
        Ok(Self { program, arguments: vec![super::ARGUMENT.into()], environment: Vec::new() })
    }

    /// With that card for CUDA and no other. Cards are counted as NVML counts them.
    pub(crate) fn on_card(mut self, visible: &str) -> Self {
        let order = ("CUDA_DEVICE_ORDER", "PCI_BUS_ID".into());
        self.environment.extend([order, ("CUDA_VISIBLE_DEVICES", visible.into())]);
        self
    }
}

impl Process {
    /// Starts a child with a back end.
    pub(super) fn start(
        command: &Command,
        back_end: &BackEndConfig,
        limits: &Limits,
        go_on: impl FnMut() -> bool,
    ) -> Result<Self, ProcessError> {
        let region = Region::new()?;
        let (stream, its) = UnixStream::pair().map_err(ProcessError::Start)?;
        stream.set_read_timeout(Some(LOOK)).map_err(ProcessError::Start)?;
        let kept = std::env::vars_os().filter(|(name, _)| {
            let name = name.to_string_lossy();
            KEPT.iter().any(|kept| name.starts_with(kept))
        });
        let mut child = std::process::Command::new(&command.program);
        child
            .args(&command.arguments)
            .env_clear()
            .envs(kept)
            .envs(command.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::from(OwnedFd::from(its)))
            .stdout(Stdio::from(region.shared()?));
        let child = spawn(child).map_err(ProcessError::Start)?;
        let mut process = Self { child, stream, region, version: None };
        let request = Request::Start(back_end.clone(), limits.clone());
        match process.ask(&request, go_on)? {
            Response::Started(started) => {
                process.version = started.map_err(ProcessError::Refused)?;
            }
            other => return Err(process.confused(&other)),
        }
        Ok(process)
    }

    /// Of the library behind the back end.
    pub(super) fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    pub(super) fn region(&self) -> &Region {
        &self.region
    }

    /// Asks and waits for the answer. A child that failed is of no use any more.
    pub(super) fn ask(
        &mut self,
        request: &Request,
        go_on: impl FnMut() -> bool,
    ) -> Result<Response, ProcessError> {
        let answer = send(&mut self.stream, request);
        let answer = answer.and_then(|()| receive(&mut self.stream, go_on));
        answer.map_err(|error| match error {
            MessageError::GivenUp => ProcessError::Hung,
            MessageError::Io(_) => ProcessError::Ended(self.end()),
            MessageError::TooLong(_) | MessageError::Codec(_) => {
                ProcessError::Confused(error.to_string())
            }
        })
    }

    /// It answered something else than it was asked.
    pub(super) fn confused(&self, response: &Response) -> ProcessError {
        ProcessError::Confused(format!("it answered {response:?}"))
    }

    /// How it ended. It is about to, since its side of the socket is closed.
    fn end(&mut self) -> String {
        let _ = self.stream.shutdown(Shutdown::Both);
        match self.child.wait() {
            Ok(status) => told(status),
            Err(error) => format!("ended, and nobody knows how: {error}"),
        }
    }
}

/// Starts it from a thread that lives as long as this process does: that a child is killed when its
/// parent is gone means the thread that started it (`PR_SET_PDEATHSIG`, prctl(2)), and those of the
/// engine may end.
fn spawn(command: std::process::Command) -> std::io::Result<Child> {
    type Start = (std::process::Command, SyncSender<std::io::Result<Child>>);
    static STARTER: LazyLock<SyncSender<Start>> = LazyLock::new(|| {
        let (sender, receiver) = sync_channel::<Start>(0);
        let starts = move || {
            while let Ok((mut command, answer)) = receiver.recv() {
                // Who asked waits for it.
                let _ = answer.send(command.spawn());
            }
        };
        // Without the thread nobody receives, and who sends is told.
        let _ = std::thread::Builder::new().name("wrun-infer-start".to_owned()).spawn(starts);
        sender
    });
    let gone = || std::io::Error::other("there is no thread to start it from");
    let (sender, receiver) = sync_channel(1);
    STARTER.send((command, sender)).map_err(|_| gone())?;
    receiver.recv().map_err(|_| gone())?
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn told(status: ExitStatus) -> String {
    match status.signal() {
        Some(signal) => format!("crashed ({}, signal {signal})", signal_name(signal)),
        None => format!("ended by itself ({status})"),
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        4 => "illegal instruction",
        6 => "abort",
        7 => "bus error",
        8 => "arithmetic error",
        9 => "killed, as where memory is short",
        11 => "segmentation fault",
        15 => "terminated",
        _ => "another reason",
    }
}
