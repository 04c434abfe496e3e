//! Compiled components on disk. An entry is two files: the code, which the engine maps
//! into memory, and its seal, which says what it is and that this node made it. An entry
//! that does not check out is removed and compiled anew; nothing here is ever needed.

use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use wasmtime::Engine;
use wasmtime::component::Component;
use wrun_protocol::Digest;

use crate::compiled::Wanted;
use crate::engines::{Engines, Flavor};
use crate::facts::Facts;
use crate::seal::{SIZE, Sealer};

/// The directory and its bound.
pub(crate) struct Cache {
    dir: PathBuf,
    sealer: Sealer,
    most: u64,
}

impl Cache {
    pub(crate) fn new(dir: &Path, sealer: Sealer, most: u64) -> Self {
        Self { dir: dir.to_owned(), sealer, most }
    }

    /// The compiled form that is wanted, if there is one that this node made with this
    /// engine. One that cannot be trusted is removed.
    pub(crate) fn load(&self, wanted: Wanted, engines: &Engines) -> Option<(Component, Facts)> {
        match self.try_load(wanted, engines) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(digest = %wanted.digest, %error, "a cached component was discarded");
                self.discard(wanted);
                None
            }
        }
    }

    fn try_load(&self, wanted: Wanted, engines: &Engines) -> io::Result<(Component, Facts)> {
        let seal = fs::read(self.path(wanted, "seal"))?;
        let refused = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
        let (tag, header) = seal.split_at_checked(SIZE).ok_or_else(|| refused("no seal"))?;
        let path = self.path(wanted, "code");
        let code = fs::read(&path)?;
        if !self.sealer.holds(header, &code, tag) {
            return Err(refused("its seal does not hold"));
        }
        let facts = read_header(header, wanted, engines).ok_or_else(|| {
            refused("it was compiled by another version of the engine or for other settings")
        })?;
        let engine = &engines.of(facts.flavor).map_err(io::Error::other)?.engine;
        // SAFETY: the code was serialized by this node, which the seal has just shown, and
        // the directory is closed to every other user.
        #[expect(unsafe_code, reason = "maps code that the seal shows to be this node's own")]
        let component = unsafe { Component::deserialize_file(engine, &path) }
            .map_err(|error| refused(&format!("{error:#}")))?;
        // Reading marks it as used; that is what eviction goes by.
        if let Ok(file) = fs::File::open(self.path(wanted, "seal")) {
            let _ = file.set_modified(SystemTime::now());
        }
        Ok((component, facts))
    }

    /// Keeps the compiled form. The code comes before its seal, so that an entry cut off
    /// by a crash is no entry.
    pub(crate) fn store(
        &self,
        wanted: Wanted,
        component: &Component,
        facts: &Facts,
    ) -> io::Result<()> {
        let code = component.serialize().map_err(|error| io::Error::other(error.to_string()))?;
        if code.len() as u64 > self.most {
            return Ok(());
        }
        self.evict(code.len() as u64)?;
        let header = header(wanted.digest, component.engine(), facts);
        let mut seal = self.sealer.seal(&header, &code).to_vec();
        seal.extend_from_slice(&header);
        self.write(wanted, "code", &code)?;
        self.write(wanted, "seal", &seal)
    }

    fn write(&self, wanted: Wanted, kind: &str, bytes: &[u8]) -> io::Result<()> {
        let beside = self.path(wanted, &format!("{kind}.{}", std::process::id()));
        let mut file = fs::File::create(&beside)?;
        let written =
            file.write_all(bytes).and_then(|()| fs::rename(&beside, self.path(wanted, kind)));
        if written.is_err() {
            let _ = fs::remove_file(&beside);
        }
        written
    }

    /// Removes what was least recently used until `wanted` bytes fit. Code that runs stays
    /// mapped, so removing its file takes nothing from it.
    fn evict(&self, wanted: u64) -> io::Result<()> {
        let mut entries = Vec::new();
        let mut total = wanted;
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "code") {
                continue;
            }
            let size = fs::metadata(&path).map(|metadata| metadata.len()).unwrap_or(0);
            let seal = path.with_extension("seal");
            let used = fs::metadata(&seal).and_then(|metadata| metadata.modified());
            total += size;
            entries.push((used.unwrap_or(SystemTime::UNIX_EPOCH), size, path));
        }
        entries.sort();
        for (_, size, path) in entries {
            if total <= self.most {
                break;
            }
            let _ = fs::remove_file(path.with_extension("seal"));
            fs::remove_file(&path)?;
            total -= size;
        }
        Ok(())
    }

    fn discard(&self, wanted: Wanted) {
        let _ = fs::remove_file(self.path(wanted, "seal"));
        let _ = fs::remove_file(self.path(wanted, "code"));
    }

    fn path(&self, wanted: Wanted, kind: &str) -> PathBuf {
        let Wanted { digest, deterministic } = wanted;
        let form = if deterministic { "-deterministic" } else { "" };
        self.dir.join(format!("{digest}{form}.{kind}"))
    }
}

/// Digest, engine and facts in one line of text; sealed together with the code.
fn header(digest: Digest, engine: &Engine, facts: &Facts) -> Vec<u8> {
    format!("1 {digest} {:016x} {}", compatibility(engine), facts.to_line()).into_bytes()
}

fn read_header(header: &[u8], wanted: Wanted, engines: &Engines) -> Option<Facts> {
    let text = std::str::from_utf8(header).ok()?;
    let mut parts = text.splitn(4, ' ');
    let named = parts.next()? == "1" && parts.next()? == wanted.digest.to_string();
    let compiled_by = u64::from_str_radix(parts.next()?, 16).ok()?;
    let facts = Facts::from_line(parts.next()?)?;
    let formed = wanted.deterministic == (facts.flavor == Flavor::Deterministic);
    let engine = &engines.of(facts.flavor).ok()?.engine;
    (named && formed && compiled_by == compatibility(engine)).then_some(facts)
}

/// Version and settings of the engine as one number. The engine checks again by itself.
fn compatibility(engine: &Engine) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

impl Flavor {
    pub(crate) fn to_word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Concurrent => "concurrent",
            Self::Deterministic => "deterministic",
        }
    }
}
