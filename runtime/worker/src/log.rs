//! The log of one running task: frames of [`LogChunk`], in memory while they are few,
//! then in a file that has no name, so that nothing of it is left behind. Of a task the first
//! bytes are kept, up to its limit; of a replica, which may run for months, the newest: they go
//! to two files in turn, and the older one goes when the newer one is full.
//!
//! Guests write on their own threads and never wait for the disk, unless the spiller
//! lags so far behind that waiting is the only bound on memory that is left.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;
use wrun_protocol::codec;
use wrun_protocol::wire::user::{LogChunk, LogStream};

/// Writes of one stream are joined into frames up to this size.
const CHUNK: usize = 32 << 10;

/// Above this the log goes to its file, soon.
const SPILL_AT: usize = 64 << 10;

/// Above this the writing guest does that itself.
const HARD: usize = 4 << 20;

/// Bytes that a follower is given at once.
pub(crate) const WINDOW: u64 = 256 << 10;

/// The log of one task.
pub(crate) struct TaskLog {
    state: Mutex<State>,
    /// Held while bytes go to the file, so that they go in order.
    spilling: Mutex<()>,
    changed: Notify,
    bound: Bound,
}

/// What is kept of a log that grows too long. In bytes, frames' headers included.
#[derive(Clone, Copy)]
enum Bound {
    First(u64),
    Newest(u64),
}

/// A file with a part of the log.
#[derive(Clone)]
struct Segment {
    file: Arc<File>,
    /// Where it begins in the log.
    start: u64,
}

#[derive(Default)]
struct State {
    /// Joins writes until it is full, the stream changes, or someone reads.
    open: Option<(LogStream, Vec<u8>)>,
    /// Frames that are in memory alone.
    tail: Vec<u8>,
    /// Frames on their way to the file.
    in_flight: Bytes,
    /// Bytes that came before, those included that are not kept any more.
    spilled: u64,
    /// Where the last of them are.
    file: Option<Segment>,
    /// Where those before are that are still kept.
    older: Option<Segment>,
    failed: bool,
    closed: bool,
}

/// What a follower gets.
pub(crate) enum Piece {
    /// Whole frames.
    Memory(Bytes),
    /// So many bytes of the file, from there.
    File { file: Arc<File>, at: u64, size: u64 },
    /// What was there is not kept any more: it goes on at this position.
    Lost(u64),
    /// Nothing new yet.
    Wait,
    /// Nothing more will come.
    End,
}

/// A whole log, after the task's end.
pub(crate) enum WholeLog {
    Memory(Bytes),
    File(Arc<File>, u64),
}

/// Where logs are spilled.
pub(crate) struct SpillDir {
    dir: PathBuf,
    next: AtomicU64,
}

impl SpillDir {
    /// Files go to `dir`, which exists.
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), next: AtomicU64::new(0) }
    }

    fn create(&self) -> io::Result<Arc<File>> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(format!("{number}.log"));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(Arc::new(file))
    }
}

impl TaskLog {
    /// An empty log of at most `most` bytes: what is more is dropped.
    pub(crate) fn first(most: u64) -> Self {
        Self::bounded(Bound::First(most.saturating_add(most / 8).saturating_add(1 << 10)))
    }

    /// An empty log of which about the newest `most` bytes are kept, and at least half of
    /// that. Those that are still in memory are kept besides.
    pub(crate) fn newest(most: u64) -> Self {
        Self::bounded(Bound::Newest(most))
    }

    fn bounded(bound: Bound) -> Self {
        let (state, spilling, changed) = (Mutex::default(), Mutex::new(()), Notify::new());
        Self { state, spilling, changed, bound }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what the guest wrote. Says whether it should be spilled.
    pub(crate) fn append(&self, stream: LogStream, bytes: &[u8]) -> bool {
        let mut state = self.lock();
        let is_full = match self.bound {
            Bound::First(most) => state.size() + bytes.len() as u64 > most,
            Bound::Newest(_) => false,
        };
        if state.closed || state.failed || is_full {
            return false;
        }
        for piece in bytes.chunks(CHUNK) {
            state.append(stream, piece);
        }
        let spill = state.tail.len() >= SPILL_AT;
        drop(state);
        self.changed.notify_waiters();
        spill
    }

    /// Whether memory holds so much that the writer has to wait for the disk.
    pub(crate) fn is_behind(&self) -> bool {
        self.lock().tail.len() >= HARD
    }

    /// Moves what memory holds to the file. Blocks on the disk.
    pub(crate) fn spill(&self, dir: &SpillDir) {
        let in_order = self.spilling.lock().unwrap_or_else(PoisonError::into_inner);
        self.spill_in_order(dir, &in_order);
    }

    fn spill_in_order(&self, dir: &SpillDir, _in_order: &MutexGuard<'_, ()>) {
        let (file, bytes, at) = {
            let mut state = self.lock();
            if state.failed || state.tail.is_empty() {
                return;
            }
            state.in_flight = std::mem::take(&mut state.tail).into();
            if let Bound::Newest(most) = self.bound {
                state.rotate(most / 2);
            }
            (state.file.clone(), state.in_flight.clone(), state.spilled)
        };
        let begun = match file {
            Some(segment) => Ok(segment),
            None => dir.create().map(|file| Segment { file, start: at }),
        };
        let written = begun.and_then(|segment| {
            segment.file.write_all_at(&bytes, at - segment.start)?;
            Ok(segment)
        });
        let mut state = self.lock();
        state.in_flight = Bytes::new();
        match written {
            Ok(segment) => {
                state.file = Some(segment);
                state.spilled += bytes.len() as u64;
            }
            Err(error) => state.on_disk_failed(&error),
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// The task has ended.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_waiters();
    }

    /// Everything, once the task has ended; `None` where nothing was written. Blocks on the
    /// disk if the log is long.
    pub(crate) fn whole(&self, dir: &SpillDir) -> Option<WholeLog> {
        self.close();
        // With this held, nothing is on its way to the file.
        let in_order = self.spilling.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.lock();
        state.seal();
        if state.spilled > 0 || state.tail.len() > HARD {
            drop(state);
            self.spill_in_order(dir, &in_order);
            state = self.lock();
        }
        let Some(last) = state.file.clone() else {
            let is_empty = state.tail.is_empty();
            return (!is_empty).then(|| WholeLog::Memory(Bytes::copy_from_slice(&state.tail)));
        };
        // Only a notice that the disk failed can be left in memory.
        let (older, tail) = (state.older.clone(), state.tail.clone());
        let mut size = state.spilled - last.start;
        drop(state);
        if last.file.write_all_at(&tail, size).is_ok() {
            size += tail.len() as u64;
        }
        let joined = older.and_then(|older| {
            let before = last.start - older.start;
            let joined = dir.create().and_then(|joined| {
                copy(&older.file, before, &joined, 0)?;
                copy(&last.file, size, &joined, before)?;
                Ok(WholeLog::File(joined, before + size))
            });
            // Where there is no room for both, the newer part has to do.
            joined.ok()
        });
        Some(joined.unwrap_or(WholeLog::File(last.file, size)))
    }

    /// Whether nothing was written.
    pub(crate) fn is_empty(&self) -> bool {
        let state = self.lock();
        state.open.is_none()
            && state.tail.is_empty()
            && state.in_flight.is_empty()
            && state.spilled == 0
    }

    /// Whether [`TaskLog::whole`] would not touch the disk.
    pub(crate) fn is_small(&self) -> bool {
        let state = self.lock();
        state.file.is_none() && state.in_flight.is_empty() && state.tail.len() < SPILL_AT
    }

    /// What comes at `position`, which is where an earlier piece ended.
    pub(crate) fn read(&self, position: u64) -> Piece {
        let mut state = self.lock();
        state.seal();
        let in_flight_end = state.spilled + state.in_flight.len() as u64;
        if position < state.spilled
            && let Some(piece) = state.on_disk(position)
        {
            return piece;
        }
        if position < in_flight_end {
            let from = position.saturating_sub(state.spilled) as usize;
            return Piece::Memory(state.in_flight.slice(from.min(state.in_flight.len())..));
        }
        match state.tail.get((position - in_flight_end) as usize..) {
            Some(rest) if !rest.is_empty() => Piece::Memory(Bytes::copy_from_slice(rest)),
            _ if state.closed => Piece::End,
            _ => Piece::Wait,
        }
    }

    /// Waits until [`TaskLog::read`] at `position` has something else than [`Piece::Wait`].
    pub(crate) async fn changed_at(&self, position: u64) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !matches!(self.read(position), Piece::Wait) {
                return;
            }
            changed.await;
        }
    }
}

impl State {
    fn size(&self) -> u64 {
        let open = self.open.as_ref().map_or(0, |(_, bytes)| bytes.len());
        self.spilled + (self.in_flight.len() + self.tail.len() + open) as u64
    }

    /// Begins another file if this one has grown to `most`.
    fn rotate(&mut self, most: u64) {
        let spilled = self.spilled;
        if let Some(full) = self.file.take_if(|file| spilled - file.start >= most) {
            self.older = Some(full);
        }
    }

    /// What comes at a position of which nothing is in memory.
    fn on_disk(&self, position: u64) -> Option<Piece> {
        let last = self.file.as_ref().map_or(self.spilled, |last| last.start);
        let of = |segment: &Segment, end: u64| Piece::File {
            file: segment.file.clone(),
            at: position - segment.start,
            size: (end - position).min(WINDOW),
        };
        if position >= last {
            return self.file.as_ref().map(|file| of(file, self.spilled));
        }
        match &self.older {
            Some(older) if position >= older.start => Some(of(older, last)),
            Some(older) => Some(Piece::Lost(older.start)),
            None => Some(Piece::Lost(last)),
        }
    }

    fn append(&mut self, stream: LogStream, piece: &[u8]) {
        match &mut self.open {
            Some((of, bytes)) if *of == stream && bytes.len() + piece.len() <= CHUNK => {
                bytes.extend_from_slice(piece);
            }
            _ => {
                self.seal();
                self.open = Some((stream, piece.to_vec()));
            }
        }
    }

    /// Ends the frame that is being joined.
    fn seal(&mut self) {
        if let Some((stream, data)) = self.open.take() {
            let chunk = LogChunk { stream, data: data.into() };
            // A chunk is far below the largest frame, so this cannot fail; and if it did,
            // a lost line of log must not end a task.
            let _ = codec::append_frame(&mut self.tail, &chunk);
        }
    }

    fn on_disk_failed(&mut self, error: &io::Error) {
        self.failed = true;
        self.open = None;
        self.tail.clear();
        let notice = format!("\n[wrun: the log ends here: the node's disk: {error}]\n");
        self.append(LogStream::Stderr, notice.as_bytes());
        self.seal();
    }
}

/// Copies `size` bytes from the front of a file to that place in another.
fn copy(from: &File, size: u64, to: &File, place: u64) -> io::Result<()> {
    let mut buffer = vec![0; WINDOW as usize];
    let mut at = 0;
    while at < size {
        let step = (size - at).min(WINDOW);
        let part = buffer.get_mut(..step as usize).unwrap_or_default();
        from.read_exact_at(part, at)?;
        to.write_all_at(part, place + at)?;
        at += step;
    }
    Ok(())
}

/// The chunks of whole frames at the front of `bytes`, and how many bytes they take.
pub(crate) fn chunks(bytes: &[u8]) -> (Vec<LogChunk>, usize) {
    let mut chunks = Vec::new();
    let mut at = 0;
    while let Some(rest) = bytes.get(at..)
        && let Some(header) = rest.first_chunk::<{ codec::HEADER }>()
        && let Ok(size) = codec::frame_size(*header)
        && let Some(payload) = rest.get(codec::HEADER..codec::HEADER + size)
        && let Ok(chunk) = codec::decode(payload)
    {
        chunks.push(chunk);
        at += codec::HEADER + size;
    }
    (chunks, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> String {
        let (chunks, used) = chunks(bytes);
        assert_eq!(used, bytes.len(), "whole frames");
        chunks.iter().map(|chunk| String::from_utf8_lossy(&chunk.data).into_owned()).collect()
    }

    fn whole(log: &TaskLog, dir: &SpillDir) -> Vec<u8> {
        match log.whole(dir) {
            Some(WholeLog::Memory(bytes)) => bytes.to_vec(),
            Some(WholeLog::File(file, size)) => {
                let mut bytes = vec![0; size as usize];
                file.read_exact_at(&mut bytes, 0).unwrap();
                bytes
            }
            None => Vec::new(),
        }
    }

    /// What a follower reads from the beginning.
    fn follow(log: &TaskLog) -> String {
        let (mut position, mut read) = (0, String::new());
        loop {
            let bytes = match log.read(position) {
                Piece::Memory(bytes) => bytes.to_vec(),
                Piece::File { file, at, size } => {
                    let mut bytes = vec![0; size as usize];
                    file.read_exact_at(&mut bytes, at).unwrap();
                    bytes
                }
                Piece::Lost(next) => {
                    position = next;
                    continue;
                }
                Piece::Wait | Piece::End => return read,
            };
            let (chunks, used) = chunks(&bytes);
            assert!(used > 0, "a window holds a whole frame");
            position += used as u64;
            for chunk in chunks {
                read.push_str(&String::from_utf8_lossy(&chunk.data));
            }
        }
    }

    #[test]
    fn small_writes_of_a_stream_become_one_frame_and_order_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let dir = SpillDir::new(dir.path());
        let log = TaskLog::first(1 << 20);
        for piece in ["a", "b", "c"] {
            assert!(!log.append(LogStream::Stdout, piece.as_bytes()));
        }
        log.append(LogStream::Stderr, b"!");
        log.append(LogStream::Stdout, b"d");
        let (chunks, _) = chunks(&whole(&log, &dir));
        let read: Vec<_> = chunks.iter().map(|chunk| (chunk.stream, &*chunk.data)).collect();
        let wanted: [(_, &[u8]); 3] =
            [(LogStream::Stdout, b"abc"), (LogStream::Stderr, b"!"), (LogStream::Stdout, b"d")];
        assert_eq!(read, wanted);
    }

    #[test]
    fn a_task_that_writes_nothing_has_no_log() {
        let dir = tempfile::tempdir().unwrap();
        let log = TaskLog::first(10);
        assert!(log.is_empty());
        assert!(log.whole(&SpillDir::new(dir.path())).is_none());
        let log = TaskLog::newest(10);
        log.append(LogStream::Stdout, b"a");
        assert!(!log.is_empty());
    }

    #[test]
    fn a_long_log_goes_to_a_nameless_file_and_reads_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let spill = SpillDir::new(dir.path());
        let log = TaskLog::first(64 << 20);
        let mut wanted = String::new();
        for line in 0..40_000 {
            let line = format!("line {line}\n");
            wanted.push_str(&line);
            if log.append(LogStream::Stdout, line.as_bytes()) {
                log.spill(&spill);
            }
        }
        assert_eq!(follow(&log), wanted);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(text(&whole(&log, &spill)), wanted);
        assert!(matches!(log.read(u64::MAX / 2), Piece::End));
    }

    #[test]
    fn what_is_over_the_bound_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let log = TaskLog::first(8 << 10);
        for _ in 0..100 {
            log.append(LogStream::Stderr, &[b'x'; 1 << 10]);
        }
        let kept = whole(&log, &SpillDir::new(dir.path())).len();
        assert!((8 << 10..12 << 10).contains(&kept), "{kept}");
    }

    #[test]
    fn of_a_log_without_end_the_newest_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let spill = SpillDir::new(dir.path());
        let log = TaskLog::newest(1 << 20);
        let mut written = String::new();
        for line in 0..400_000 {
            let line = format!("line {line}\n");
            written.push_str(&line);
            if log.append(LogStream::Stdout, line.as_bytes()) {
                log.spill(&spill);
            }
        }
        assert!(matches!(log.read(0), Piece::Lost(_)), "the oldest is gone");
        let followed = follow(&log);
        assert!(written.ends_with(&followed), "what is left is the end of it");
        assert!((512 << 10..2 << 20).contains(&followed.len()), "{}", followed.len());
        assert_eq!(text(&whole(&log, &spill)), followed);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_follower_that_keeps_up_misses_nothing_when_files_change() {
        let dir = tempfile::tempdir().unwrap();
        let spill = SpillDir::new(dir.path());
        let log = TaskLog::newest(256 << 10);
        let (mut position, mut read, mut written) = (0, String::new(), String::new());
        for line in 0..100_000 {
            let line = format!("line {line}\n");
            written.push_str(&line);
            if !log.append(LogStream::Stdout, line.as_bytes()) {
                continue;
            }
            log.spill(&spill);
            loop {
                let bytes = match log.read(position) {
                    Piece::Memory(bytes) => bytes.to_vec(),
                    Piece::File { file, at, size } => {
                        let mut bytes = vec![0; size as usize];
                        file.read_exact_at(&mut bytes, at).unwrap();
                        bytes
                    }
                    Piece::Lost(_) => panic!("it keeps up"),
                    Piece::Wait | Piece::End => break,
                };
                let (chunks, used) = chunks(&bytes);
                position += used as u64;
                let texts = chunks.iter().map(|chunk| String::from_utf8_lossy(&chunk.data));
                read.extend(texts);
            }
        }
        assert!(written.starts_with(&read) && read.len() > 800_000, "{}", read.len());
    }

    #[test]
    fn a_disk_that_fails_ends_the_log_with_a_notice_and_nothing_else() {
        let log = TaskLog::first(64 << 20);
        let nowhere = SpillDir::new(Path::new("/nonexistent"));
        log.append(LogStream::Stdout, &[b'x'; 100 << 10]);
        log.spill(&nowhere);
        log.append(LogStream::Stdout, b"more");
        assert!(text(&whole(&log, &nowhere)).contains("the log ends here"));
    }
}
