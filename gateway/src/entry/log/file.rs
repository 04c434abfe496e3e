//! The access log as a file, written by a thread of its own: a request never waits for a
//! disk. Lines that come faster than they are written are left out, and counted.

use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use serde::Serialize;

use crate::ListenError;

/// Lines that wait to be written.
const WAITING: usize = 8192;

/// How long lines are gathered, so that not each of them costs a write and wakes the thread.
const GATHER: Duration = Duration::from_millis(20);

/// A file. Clones write to the same one; it is closed when the last is gone.
#[derive(Clone, Debug)]
pub(crate) struct File {
    lines: SyncSender<Vec<u8>>,
    left_out: Arc<AtomicU64>,
}

impl File {
    pub(crate) fn open(path: &Path, bytes: u64, keep: u32) -> Result<Self, ListenError> {
        let refused = |source| ListenError::AccessLog { path: path.to_owned(), source };
        let mut writer = Writer::open(path, bytes, keep).map_err(refused)?;
        let (lines, received) = sync_channel(WAITING);
        let left_out = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&left_out);
        let write = move || writer.run(&received, &counted);
        std::thread::Builder::new().name("access-log".to_owned()).spawn(write).map_err(refused)?;
        Ok(Self { lines, left_out })
    }

    pub(crate) fn write(&self, line: &impl Serialize) {
        let Ok(mut text) = serde_json::to_vec(line) else { return };
        text.push(b'\n');
        if self.lines.try_send(text).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Writer {
    path: PathBuf,
    file: BufWriter<fs::File>,
    written: u64,
    bytes: u64,
    keep: u32,
}

impl Writer {
    fn open(path: &Path, bytes: u64, keep: u32) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let written = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file), written, bytes, keep })
    }

    fn run(&mut self, lines: &Receiver<Vec<u8>>, left_out: &AtomicU64) {
        let mut failing = false;
        while let Ok(first) = lines.recv() {
            std::thread::sleep(GATHER);
            let wrote = self.write(&first, lines);
            let lost = left_out.swap(0, Ordering::Relaxed);
            if lost > 0 {
                tracing::warn!(lost, "the access log is slower than requests come");
            }
            match wrote {
                Err(error) if !failing => {
                    tracing::error!(path = %self.path.display(), %error, "cannot write the access log");
                    failing = true;
                }
                Err(_) => {}
                Ok(()) => failing = false,
            }
        }
    }

    /// Writes a line and all that wait behind it.
    fn write(&mut self, first: &[u8], lines: &Receiver<Vec<u8>>) -> io::Result<()> {
        self.add(first)?;
        for line in lines.try_iter().take(WAITING) {
            self.add(&line)?;
        }
        self.file.flush()
    }

    fn add(&mut self, line: &[u8]) -> io::Result<()> {
        if self.written > 0 && self.written + line.len() as u64 > self.bytes {
            self.rotate()?;
        }
        self.written += line.len() as u64;
        self.file.write_all(line)
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file.flush()?;
        let older = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..self.keep).rev() {
            match fs::rename(older(number), older(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if self.keep == 0 {
            fs::remove_file(&self.path)?;
        } else {
            fs::rename(&self.path, older(1))?;
        }
        *self = Self::open(&self.path, self.bytes, self.keep)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_has_grown_is_put_aside_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let (sender, lines) = sync_channel(WAITING);
        for number in 0..8 {
            sender.send(format!("line {number}\n").into_bytes()).unwrap();
        }
        drop(sender);
        Writer::open(&path, 14, 2).unwrap().run(&lines, &AtomicU64::new(0));
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("access.log"), "line 6\nline 7\n");
        assert_eq!(read("access.log.1"), "line 4\nline 5\n");
        assert_eq!(read("access.log.2"), "line 2\nline 3\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_file_that_is_there_is_added_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        for _ in 0..2 {
            let file = Writer::open(&path, 100, 1);
            let (sender, lines) = sync_channel(WAITING);
            sender.send(b"{}\n".to_vec()).unwrap();
            drop(sender);
            file.unwrap().run(&lines, &AtomicU64::new(0));
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "{}\n{}\n");
    }
}
