//! Opening a journal: checks every byte, cuts a torn tail, refuses damage. Changes
//! nothing before everything was checked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use wrun_core::Fact;

use super::error::OpenError;
use super::format::{self, BadHeader, HEADER};
use super::writer::{Open, create_segment, segment_path};
use crate::disk::{Disk, DiskLock};

/// What opening found.
pub struct Recovered<T = Vec<u8>> {
    /// What was made of the newest snapshot, the state after the fact [`Self::covered`].
    pub snapshot: Option<T>,
    /// Every fact that is still there, in order. It begins before the snapshot where segments
    /// were not dropped yet.
    pub facts: Facts,
    /// A tail that was never acknowledged and is cut off now.
    pub cut: Option<TailCut>,
    covered: u64,
    last_seq: u64,
}

/// A torn tail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailCut {
    /// The segment.
    pub path: PathBuf,
    /// Where it was cut, in bytes.
    pub offset: u64,
    /// How many bytes were dropped.
    pub dropped: u64,
}

impl std::fmt::Display for TailCut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { path, offset, dropped } = self;
        let path = path.display();
        write!(f, "{path}: an incomplete tail of {dropped} bytes was cut off at byte {offset}")
    }
}

/// Facts with their sequences, read segment by segment.
pub struct Facts {
    disk: Arc<dyn Disk>,
    segments: std::collections::VecDeque<Segment>,
    current: Option<(Segment, Vec<u8>, usize)>,
    /// Facts up to this one are passed over.
    after: u64,
}

impl Facts {
    /// What is still to come, to be read once more.
    pub fn again(&self) -> Self {
        let (disk, segments) = (Arc::clone(&self.disk), self.segments.clone());
        Self { disk, segments, current: None, after: self.after }
    }

    /// Without the facts up to `seq`, which are not decoded.
    pub fn after(mut self, seq: u64) -> Self {
        self.segments.retain(|segment| segment.next > seq.saturating_add(1));
        self.after = self.after.max(seq);
        self
    }
}

#[derive(Clone, Debug)]
struct Segment {
    path: PathBuf,
    first: u64,
    salt: u64,
    /// Where its intact records end, in bytes.
    end: usize,
    /// The sequence after its last fact.
    next: u64,
}

impl<T> Recovered<T> {
    /// Sequence of the last fact that the snapshot covers; 0 without one.
    pub fn covered(&self) -> u64 {
        self.covered
    }

    /// Sequence of the last fact; 0 before the first.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    pub(crate) fn segments(&self) -> Vec<u64> {
        self.facts.segments.iter().map(|segment| segment.first).collect()
    }
}

/// Makes and locks the directory.
pub(crate) fn prepare(disk: &dyn Disk, dir: &Path) -> Result<DiskLock, OpenError> {
    disk.create_dir(dir).map_err(|error| OpenError::io("create", dir, &error))?;
    let file = dir.join("lock");
    let lock = disk.lock(&file).map_err(|error| OpenError::io("lock", &file, &error))?;
    lock.ok_or_else(|| OpenError::InUse { dir: dir.to_owned() })
}

/// The sequences in the names of the files with this extension, ascending.
fn numbered(files: &[PathBuf], extension: &str) -> Vec<u64> {
    let of = |path: &PathBuf| {
        let named = path.extension().is_some_and(|found| found == extension);
        named.then(|| path.file_stem()?.to_str()?.parse().ok()).flatten()
    };
    let mut numbers: Vec<u64> = files.iter().filter_map(of).collect();
    numbers.sort_unstable();
    numbers
}

/// Checks everything; meanwhile `restore` makes what it is for of the newest snapshot.
pub(crate) fn recover<T>(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    restore: impl FnOnce(&[u8]) -> T,
) -> Result<(Recovered<T>, Open), OpenError> {
    let files = disk.list(dir).map_err(|error| OpenError::io("list", dir, &error))?;
    let snapshots = numbered(&files, "snapshot");
    let snapshot = match snapshots.last() {
        Some(seq) => Some(read_snapshot(&**disk, dir, *seq)?),
        None => None,
    };
    let covered = snapshots.last().copied().unwrap_or(0);
    let (snapshot, checked) = std::thread::scope(|scope| {
        let checking = scope.spawn(|| check(&**disk, dir, covered, &numbered(&files, "log")));
        let state = |bytes: Vec<u8>| restore(bytes.get(HEADER..).unwrap_or_default());
        (snapshot.map(state), checking.join())
    });
    let ended = |_| OpenError::corrupt(dir, 0, "the thread that checks it ended unexpectedly");
    let Checked { mut segments, cut } = checked.map_err(ended)??;
    // Everything is checked; what was never finished may go.
    let superseded =
        snapshots.iter().rev().skip(1).map(|seq| super::snapshot::snapshot_path(dir, *seq));
    let unfinished = files.iter().filter(|path| path.extension().is_some_and(|e| e == "tmp"));
    for path in unfinished.cloned().chain(superseded) {
        disk.remove(&path).map_err(|error| OpenError::io("remove", &path, &error))?;
    }
    let open = open_last(&**disk, dir, &mut segments, cut.as_ref())?;
    let last_seq = open.next - 1;
    let facts =
        Facts { disk: Arc::clone(disk), segments: segments.into(), current: None, after: 0 };
    Ok((Recovered { snapshot, facts, cut, covered, last_seq }, open))
}

struct Checked {
    segments: Vec<Segment>,
    cut: Option<TailCut>,
}

/// Checks every segment, and that they join up with each other and the snapshot.
fn check(disk: &dyn Disk, dir: &Path, covered: u64, firsts: &[u64]) -> Result<Checked, OpenError> {
    let (mut segments, mut cut) = (Vec::new(), None);
    let mut next = firsts.first().copied().unwrap_or(1);
    if next > covered + 1 || next == 0 || (firsts.is_empty() && covered > 0) {
        return Err(OpenError::Gap { dir: dir.to_owned(), missing: covered + 1 });
    }
    for first in firsts {
        if *first != next {
            return Err(OpenError::Gap { dir: dir.to_owned(), missing: next });
        }
        let path = segment_path(dir, *first);
        let bytes = disk.read(&path).map_err(|error| OpenError::io("read", &path, &error))?;
        let last = firsts.last() == Some(first);
        let (segment, torn) = check_segment(path, *first, &bytes, last)?;
        next = segment.next;
        segments.push(segment);
        cut = torn;
    }
    if next <= covered {
        return Err(OpenError::Gap { dir: dir.to_owned(), missing: next });
    }
    Ok(Checked { segments, cut })
}

fn refused(path: &Path, bad: BadHeader) -> OpenError {
    match bad {
        BadHeader::Damaged(problem) => OpenError::corrupt(path, 0, problem),
        BadHeader::Version(version) => OpenError::UnknownVersion { path: path.to_owned(), version },
    }
}

/// The bytes of a snapshot that is whole, header included.
fn read_snapshot(disk: &dyn Disk, dir: &Path, seq: u64) -> Result<Vec<u8>, OpenError> {
    let path = super::snapshot::snapshot_path(dir, seq);
    let bytes = disk.read(&path).map_err(|error| OpenError::io("read", &path, &error))?;
    let (found, _) = format::read_snapshot(&bytes).map_err(|bad| refused(&path, bad))?;
    if found != seq {
        return Err(OpenError::corrupt(&path, 0, format!("it is the snapshot of fact {found}")));
    }
    Ok(bytes)
}

fn check_segment(
    path: PathBuf,
    first: u64,
    bytes: &[u8],
    last: bool,
) -> Result<(Segment, Option<TailCut>), OpenError> {
    let cut_at = |path: &Path, offset: usize| {
        let dropped = (bytes.len() - offset) as u64;
        Some(TailCut { path: path.to_owned(), offset: offset as u64, dropped })
    };
    if last && bytes.len() < HEADER {
        let cut = cut_at(&path, 0);
        return Ok((Segment { path, first, salt: 0, end: 0, next: first }, cut));
    }
    let (found, salt) = format::read_segment_header(bytes).map_err(|bad| refused(&path, bad))?;
    if found != first {
        let problem = format!("the segment begins with fact {found}, its name says {first}");
        return Err(OpenError::corrupt(&path, 0, problem));
    }
    let (mut end, mut next) = (HEADER, first);
    loop {
        let rest = bytes.get(end..).unwrap_or_default();
        if rest.is_empty() {
            return Ok((Segment { path, first, salt, end, next }, None));
        }
        match format::read_record(rest, salt) {
            Some(record) if record.is_mark() && record.seq.checked_add(1) == Some(next) => {
                end += record.size();
            }
            Some(record) if !record.is_mark() && record.seq == next => {
                end += record.size();
                next += 1;
            }
            Some(record) => {
                let problem = format!("fact {} stands where {next} should", record.seq);
                return Err(OpenError::corrupt(&path, end, problem));
            }
            None if !last => {
                let problem = "a record does not match its CRC, and a later segment is there";
                return Err(OpenError::corrupt(&path, end, problem));
            }
            None if format::was_durable(rest, next, salt) => {
                let problem = "a record does not match its CRC, and later ones are intact";
                return Err(OpenError::corrupt(&path, end, problem));
            }
            None => {
                let cut = cut_at(&path, end);
                return Ok((Segment { path, first, salt, end, next }, cut));
            }
        }
    }
}

/// Opens the last segment for writing, after cutting its tail. What was read from it is
/// durable afterwards, also where it was only in the page cache.
fn open_last(
    disk: &dyn Disk,
    dir: &Path,
    segments: &mut Vec<Segment>,
    cut: Option<&TailCut>,
) -> Result<Open, OpenError> {
    let headless = segments.pop_if(|segment| segment.end < HEADER).map(|segment| segment.first);
    let fresh = if segments.is_empty() { Some(headless.unwrap_or(1)) } else { headless };
    if let Some(first) = fresh {
        let open = create_segment(disk, dir, first)
            .map_err(|(path, action, error)| OpenError::io(action, &path, &error))?;
        let path = open.path.clone();
        segments.push(Segment { path, first, salt: open.salt, end: HEADER, next: first });
        return Ok(open);
    }
    let Some(last) = segments.last() else {
        return Err(OpenError::Gap { dir: dir.to_owned(), missing: 1 });
    };
    let path = last.path.clone();
    let io = |action| {
        let path = path.clone();
        move |error: std::io::Error| OpenError::io(action, &path, &error)
    };
    let mut file = disk.open(&path).map_err(io("open"))?;
    if cut.is_some() {
        file.truncate(last.end as u64).map_err(io("cut the tail of"))?;
    }
    // On record, so that damage to what was just read is not taken for a torn tail.
    let mut len = last.end as u64;
    if last.next > last.first {
        let mark = format::mark(last.next - 1, last.salt);
        file.sync().map_err(io("sync"))?;
        file.append(&mark).map_err(io("write"))?;
        len += mark.len() as u64;
    }
    file.sync().map_err(io("sync"))?;
    disk.sync_dir(dir).map_err(|error| OpenError::io("sync", dir, &error))?;
    let (salt, next) = (last.salt, last.next);
    Ok(Open { path, file, salt, len, next })
}

impl Iterator for Facts {
    type Item = Result<(u64, Fact), OpenError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((segment, bytes, at)) = &mut self.current
                && *at < segment.end
            {
                let offset = *at;
                let rest = bytes.get(offset..segment.end).unwrap_or_default();
                let Some(record) = format::read_record(rest, segment.salt) else {
                    let problem = "the file changed while it was read";
                    let error = OpenError::corrupt(&segment.path, offset, problem);
                    self.segments.clear();
                    self.current = None;
                    return Some(Err(error));
                };
                *at += record.size();
                if record.is_mark() || record.seq <= self.after {
                    continue;
                }
                let fact = wrun_protocol::codec::decode(record.payload).map_err(|error| {
                    OpenError::UnknownFact {
                        path: segment.path.clone(),
                        offset: offset as u64,
                        seq: record.seq,
                        reason: error.to_string(),
                    }
                });
                return Some(fact.map(|fact| (record.seq, fact)));
            }
            let segment = self.segments.pop_front()?;
            match self.disk.read(&segment.path) {
                Ok(bytes) => self.current = Some((segment, bytes, HEADER)),
                Err(error) => return Some(Err(OpenError::io("read", &segment.path, &error))),
            }
        }
    }
}
