//! A task's files: its scratch directory, made when the guest first asks for its
//! directories, and the job's mounts. The scratch limit holds before each write: what
//! the directory was last measured to take, plus everything that may have been written
//! since, never exceeds it. When that sum would, the directory is measured again; if it
//! is really full, the task ends.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use tokio::sync::Mutex;
use wrun_protocol::task::Limit;

use crate::control::Control;
use crate::stdio::LimitReached;

/// Where the guest finds its scratch directory.
pub(crate) const GUEST_PATH: &str = "/scratch";
/// What a name in the directory is charged besides its content.
const ENTRY: u64 = 4096;

/// The scratch directory and what it takes.
pub(crate) struct Scratch {
    path: Option<PathBuf>,
    made: AtomicBool,
    meter: Mutex<Meter>,
}

#[derive(Default)]
struct Meter {
    /// Upper bound of what the directory takes now, in bytes.
    bound: u64,
    /// Files open for writing: one that was removed still takes its space.
    open: Vec<Weak<std::fs::File>>,
}

impl Scratch {
    pub(crate) fn new(path: Option<PathBuf>) -> Self {
        Self { path, made: AtomicBool::new(false), meter: Mutex::default() }
    }

    /// Whether the task has a scratch directory.
    pub(crate) fn is_given(&self) -> bool {
        self.path.is_some()
    }

    /// Makes the directory if the task has one. Call on a thread that may block.
    pub(crate) fn make(&self) -> io::Result<Option<&Path>> {
        let Some(path) = &self.path else { return Ok(None) };
        std::fs::create_dir_all(path)?;
        self.made.store(true, Ordering::Release);
        Ok(Some(path))
    }

    /// The directory, if it was made and must be removed.
    pub(crate) fn to_remove(&self) -> Option<&Path> {
        self.path.as_deref().filter(|_| self.made.load(Ordering::Acquire))
    }

    /// Charges `bytes` that are about to be written, and a new name with `entry`.
    pub(crate) async fn charge(
        &self,
        control: &Control,
        bytes: u64,
        entry: bool,
    ) -> Result<(), LimitReached> {
        let wanted = bytes.saturating_add(if entry { ENTRY } else { 0 });
        if self.grant(control, wanted).await == wanted {
            return Ok(());
        }
        control.reach(Limit::Scratch, control.job().resources.scratch);
        Err(LimitReached)
    }

    /// Charges as many of `wanted` bytes as the limit still allows, at least one.
    pub(crate) async fn charge_up_to(
        &self,
        control: &Control,
        wanted: u64,
    ) -> Result<u64, LimitReached> {
        let granted = self.grant(control, wanted).await;
        if granted > 0 || wanted == 0 {
            return Ok(granted);
        }
        control.reach(Limit::Scratch, control.job().resources.scratch);
        Err(LimitReached)
    }

    async fn grant(&self, control: &Control, wanted: u64) -> u64 {
        // Without a scratch directory nothing is open for writing.
        let Some(path) = &self.path else { return wanted };
        let allowed = control.job().resources.scratch;
        let mut meter = self.meter.lock().await;
        if meter.bound.saturating_add(wanted) > allowed {
            meter.open.retain(|file| file.strong_count() > 0);
            let open: Vec<_> = meter.open.iter().filter_map(Weak::upgrade).collect();
            meter.bound = if control.world().is_some() {
                measure(path, &open)
            } else {
                let path = path.clone();
                let measured = tokio::task::spawn_blocking(move || measure(&path, &open)).await;
                measured.unwrap_or(u64::MAX)
            };
        }
        let granted = wanted.min(allowed.saturating_sub(meter.bound));
        meter.bound = meter.bound.saturating_add(granted);
        granted
    }

    /// Notes a file that was opened for writing.
    pub(crate) async fn on_open(&self, file: &Arc<std::fs::File>) {
        self.meter.lock().await.open.push(Arc::downgrade(file));
    }
}

/// Removes a scratch directory. Call on a thread that may block.
pub(crate) fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_dir_all(path) {
        tracing::warn!(path = %path.display(), %error, "a scratch directory is left behind");
    }
}

/// Bytes on disk of everything under `path` and of the removed ones among `open`.
fn measure(path: &Path, open: &[Arc<std::fs::File>]) -> u64 {
    let mut total = 0;
    let mut left = vec![path.to_owned()];
    while let Some(dir) = left.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            total += ENTRY;
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                left.push(entry.path());
            } else if metadata.is_file() {
                total += metadata.blocks() * 512;
            }
        }
    }
    let removed = open.iter().filter_map(|file| file.metadata().ok());
    total + removed.filter(|file| file.nlink() == 0).map(|file| file.blocks() * 512).sum::<u64>()
}
