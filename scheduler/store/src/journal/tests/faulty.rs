//! A disk in memory that fails the n-th operation and, at a crash, loses or garbles what
//! was not synced.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::disk::{Disk, DiskFile, DiskLock};

#[derive(Clone, Default)]
pub(super) struct FaultyDisk(Arc<Mutex<State>>);

#[derive(Clone, Default)]
struct State {
    /// Contents and durable length by file number.
    files: Vec<(Vec<u8>, usize)>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    operations: u64,
    fail_at: Option<u64>,
    random: u64,
}

struct Handle(FaultyDisk, usize);

fn next(random: &mut u64) -> u64 {
    *random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    *random >> 33
}

impl FaultyDisk {
    pub(super) fn failing_at(n: u64) -> Self {
        let disk = Self::default();
        disk.0.lock().unwrap().fail_at = Some(n);
        disk
    }

    pub(super) fn operations(&self) -> u64 {
        self.0.lock().unwrap().operations
    }

    /// The disk after power loss: names that were not synced are gone, unsynced bytes are
    /// lost from some point on, and pages before it may hold zeros.
    pub(super) fn crash(&self, seed: u64) -> Self {
        let mut state = self.0.lock().unwrap().clone();
        let mut random = seed;
        state.names = state.durable_names.clone();
        for (bytes, durable) in &mut state.files {
            let unsynced = bytes.len() - *durable;
            let keep = next(&mut random) as usize % (unsynced + 1);
            bytes.truncate(*durable + keep);
            for page in bytes[*durable..].chunks_mut(64) {
                if next(&mut random).is_multiple_of(3) {
                    page.fill(0);
                }
            }
            *durable = bytes.len();
        }
        (state.fail_at, state.random) = (None, random);
        Self(Arc::new(Mutex::new(state)))
    }

    fn operate<T>(&self, run: impl FnOnce(&mut State, bool) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.0.lock().unwrap();
        let fails = state.fail_at == Some(state.operations);
        state.operations += 1;
        let result = run(&mut state, fails);
        if fails { Err(io::ErrorKind::StorageFull.into()) } else { result }
    }
}

impl Disk for FaultyDisk {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn lock(&self, _: &Path) -> io::Result<Option<DiskLock>> {
        Ok(Some(Box::new(())))
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.0.lock().unwrap();
        Ok(state.names.keys().filter(|path| path.parent() == Some(dir)).cloned().collect())
    }
    fn read(&self, file: &Path) -> io::Result<Vec<u8>> {
        let state = self.0.lock().unwrap();
        state
            .names
            .get(file)
            .map(|id| state.files[*id].0.clone())
            .ok_or(io::ErrorKind::NotFound.into())
    }
    fn create(&self, file: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.operate(|state, fails| {
            if !fails {
                state.files.push((Vec::new(), 0));
                state.names.insert(file.to_owned(), state.files.len() - 1);
            }
            Ok(())
        })?;
        self.open(file)
    }
    fn open(&self, file: &Path) -> io::Result<Box<dyn DiskFile>> {
        let id = self.0.lock().unwrap().names.get(file).copied();
        id.map(|id| Box::new(Handle(self.clone(), id)) as _).ok_or(io::ErrorKind::NotFound.into())
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operate(|state, fails| {
            if !fails && let Some(id) = state.names.remove(from) {
                state.names.insert(to.to_owned(), id);
            }
            Ok(())
        })
    }
    fn remove(&self, file: &Path) -> io::Result<()> {
        self.operate(|state, fails| {
            if !fails {
                state.names.remove(file);
            }
            Ok(())
        })
    }
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        self.operate(|state, fails| {
            if !fails {
                state.durable_names = state.names.clone();
            }
            Ok(())
        })
    }
}

impl DiskFile for Handle {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.operate(|state, fails| {
            // A write that fails may have written a part.
            let written = if fails { &bytes[..bytes.len() / 2] } else { bytes };
            state.files[self.1].0.extend_from_slice(written);
            Ok(())
        })
    }
    fn sync(&mut self) -> io::Result<()> {
        self.0.operate(|state, fails| {
            if !fails {
                state.files[self.1].1 = state.files[self.1].0.len();
            }
            Ok(())
        })
    }
    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.0.operate(|state, _| {
            let file = &mut state.files[self.1];
            file.0.truncate(len as usize);
            file.1 = file.1.min(len as usize);
            Ok(())
        })
    }
}
