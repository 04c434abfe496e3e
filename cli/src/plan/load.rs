//! Reads the files that a plan names: hashes them, walks mounted folders, checks the
//! component. Nothing is sent here. Everything is bounded: a blob's size, the number of
//! mounted files, the depth of folders.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ring::digest::{Context, SHA256};
use wrun_component::Kind;
use wrun_protocol::Digest;
use wrun_protocol::job::{EncodedSpec, Input, JobSpec, Mount};
use wrun_protocol::limits::{
    MAX_BLOB, MAX_COMPONENT, MAX_INLINE_INPUT, MAX_MODELS_PER_JOB, MAX_MOUNTED_FILES,
};
use wrun_protocol::resources::Bytes as Size;
use wrun_protocol::task::Content;

use super::{EachSource, ModelSource, MountSource, Plan, PlannedInput, items};
use crate::error::Error;
use crate::exit::Exit;

/// Deepest folder within a mount: far above real ones, far below what exhausts the stack.
const MAX_DEPTH: usize = 64;

/// Bytes that a job needs at the server.
#[derive(Debug)]
pub(crate) enum Blob {
    /// Held in memory: the component, which was read to be checked.
    Memory(Bytes),
    /// Read again when it is uploaded.
    File { path: PathBuf, size: u64 },
    /// What could be read only once, kept for the upload: `size` bytes from `offset`.
    Spooled { file: Arc<File>, offset: u64, size: u64 },
}

impl Blob {
    /// How many bytes.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { size, .. } | Self::Spooled { size, .. } => *size,
        }
    }
}

/// A job ready to be submitted.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// How the component is run.
    pub(crate) kind: Kind,
    /// The job.
    pub(crate) spec: JobSpec,
    /// The same, encoded and checked, without its models.
    pub(crate) encoded: EncodedSpec,
    /// What the server must hold for it.
    pub(crate) blobs: BTreeMap<Digest, Blob>,
    /// Models that it names: what they are, the server says.
    pub(crate) models: Vec<ModelSource>,
}

/// Reads what `plan` names. With `attached`, a program whose input was not named is fed by
/// this process; a handler is given standard input whole.
pub(crate) fn load(plan: Plan, attached: bool) -> Result<Loaded, Error> {
    let mut blobs = BTreeMap::new();
    let models = models(&plan)?;
    let mut spec = plan.spec.clone();
    spec.check().map_err(|error| plan.explain(&error))?;
    let (kind, digest, component) =
        component(&plan.component).map_err(|error| plan.at("component", error))?;
    if kind == Kind::Http {
        return Err(plan.at("component", is_a_service(&plan.component)));
    }
    spec.component = digest;
    blobs.insert(digest, Blob::Memory(component));
    let input = match (&plan.input, attached && spec.count == 1) {
        // What is typed is not known beforehand: its result could not be remembered.
        (PlannedInput::Unsaid, true) if kind == Kind::Command && !spec.scheduling.cache => None,
        (PlannedInput::Unsaid, true) if !io::stdin().is_terminal() => Some(&PlannedInput::Stdin),
        (input, _) => Some(input),
    };
    let placed = |error| match plan.input_key {
        Some(key) => plan.at(key, error),
        None => error,
    };
    spec.input = match input {
        None => Input::Attached,
        Some(PlannedInput::Each(source)) => {
            let each = match source {
                EachSource::Texts(texts) => items::of_texts(texts, &mut blobs),
                EachSource::Lines(lines) => items::of_lines(lines, &mut blobs),
            };
            let each = each.map_err(placed)?;
            spec.count = each.count;
            each.input
        }
        Some(input) => read_input(input, &mut blobs).map_err(placed)?,
    };
    read_mounts(&plan, &mut spec, &mut blobs)?;
    let encoded = EncodedSpec::encode(&spec).map_err(|error| plan.explain(&error))?;
    Ok(Loaded { kind, spec, encoded, blobs, models })
}

/// The models that it names, each called otherwise by the guest.
fn models(plan: &Plan) -> Result<Vec<ModelSource>, Error> {
    let models = &plan.models;
    if models.len() > MAX_MODELS_PER_JOB {
        let problem = format!("{}; at most {MAX_MODELS_PER_JOB}", models.len());
        return Err(plan.misplaced("models", &problem));
    }
    for (place, of) in models.iter().enumerate() {
        if models.iter().take(place).any(|before| before.name == of.name) {
            let problem = format!(
                "the guest would call two models `{}`; call one of them otherwise: OTHER={}",
                of.name, of.model
            );
            return Err(plan.misplaced("models", &problem));
        }
    }
    Ok(models.clone())
}

/// Reads what the plan of a service names. What kind of service it is follows from the
/// component: `describe` completes the specification.
pub(crate) fn load_service(
    plan: Plan,
    describe: impl FnOnce(&Plan, &mut JobSpec, Kind) -> Result<(), Error>,
) -> Result<Loaded, Error> {
    let mut blobs = BTreeMap::new();
    let models = models(&plan)?;
    let mut spec = plan.spec.clone();
    let (kind, digest, component) =
        component(&plan.component).map_err(|error| plan.at("component", error))?;
    describe(&plan, &mut spec, kind)?;
    spec.check().map_err(|error| plan.explain(&error))?;
    spec.component = digest;
    blobs.insert(digest, Blob::Memory(component));
    read_mounts(&plan, &mut spec, &mut blobs)?;
    let encoded = EncodedSpec::encode(&spec).map_err(|error| plan.explain(&error))?;
    Ok(Loaded { kind, spec, encoded, blobs, models })
}

fn is_a_service(path: &Path) -> Error {
    let text = format!("`{}`: it answers HTTP requests, and a job ends", path.display());
    Error::new(Exit::InvalidInput, text).todo("deploy it with `wrun deploy`")
}

fn read_mounts(
    plan: &Plan,
    spec: &mut JobSpec,
    blobs: &mut BTreeMap<Digest, Blob>,
) -> Result<(), Error> {
    for (number, mount) in plan.mounts.iter().enumerate() {
        walk(mount, &mut spec.mounts, blobs).map_err(|error| {
            if number < plan.mounts_in_file { plan.at("mounts", error) } else { error }
        })?;
    }
    refuse_twins(&spec.mounts)
}

fn component(path: &Path) -> Result<(Kind, Digest, Bytes), Error> {
    let at = |problem: &dyn std::error::Error| {
        let problem = crate::error::folded(problem);
        Error::new(Exit::InvalidInput, format!("`{}`: {problem}", path.display()))
    };
    let size = checked_size("read the component", path)?;
    if size > MAX_COMPONENT {
        let error = wrun_component::ComponentError::TooLarge { size, allowed: MAX_COMPONENT };
        return Err(at(&error));
    }
    let bytes = fs::read(path).map_err(|cause| Error::file("read the component", path, &cause))?;
    let prepared = wrun_component::prepare(&bytes).map_err(|error| at(&error))?;
    let kind = prepared.inspected.kind;
    let bytes = match prepared.component {
        std::borrow::Cow::Borrowed(_) => Bytes::from(bytes),
        std::borrow::Cow::Owned(adapted) => Bytes::from(adapted),
    };
    Ok((kind, digest_of(&bytes), bytes))
}

/// SHA-256.
pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    let mut context = Context::new(&SHA256);
    context.update(bytes);
    finish(context)
}

pub(super) fn finish(context: Context) -> Digest {
    let mut digest = Digest([0; 32]);
    for (to, from) in digest.0.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    digest
}

fn read_input(input: &PlannedInput, blobs: &mut BTreeMap<Digest, Blob>) -> Result<Input, Error> {
    match input {
        PlannedInput::Unsaid | PlannedInput::Each(_) => Ok(Input::Empty),
        PlannedInput::Text(text) => Ok(memory_input(text.clone().into(), blobs)),
        PlannedInput::Stdin => spool(io::stdin().lock(), blobs),
        PlannedInput::File(path) => {
            let doing = "read the input";
            let mut file = File::open(path).map_err(|cause| Error::file(doing, path, &cause))?;
            let meta = file.metadata().map_err(|cause| Error::file(doing, path, &cause))?;
            if meta.is_dir() {
                return Err(not_a_file(doing, path));
            }
            if !meta.is_file() {
                return spool(file, blobs);
            }
            let mut start = Vec::new();
            (&mut file)
                .take(MAX_INLINE_INPUT as u64 + 1)
                .read_to_end(&mut start)
                .map_err(|cause| Error::file(doing, path, &cause))?;
            if start.len() <= MAX_INLINE_INPUT {
                return Ok(memory_input(start.into(), blobs));
            }
            let (digest, size) = hash_file(doing, path)?;
            blobs.entry(digest).or_insert(Blob::File { path: path.clone(), size });
            Ok(Input::Content(Content::Blob { digest, size }))
        }
    }
}

fn memory_input(bytes: Bytes, blobs: &mut BTreeMap<Digest, Blob>) -> Input {
    Input::Content(memory_content(bytes, blobs))
}

/// Bytes for the specification: within it where they are few.
pub(super) fn memory_content(bytes: Bytes, blobs: &mut BTreeMap<Digest, Blob>) -> Content {
    if bytes.len() <= MAX_INLINE_INPUT {
        return Content::Inline(bytes);
    }
    let (digest, size) = (digest_of(&bytes), bytes.len() as u64);
    blobs.entry(digest).or_insert(Blob::Memory(bytes));
    Content::Blob { digest, size }
}

/// What was read cannot be kept for the upload.
pub(super) fn spool_failed(cause: io::Error) -> Error {
    match cause.kind() {
        io::ErrorKind::StorageFull => {
            Error::new(Exit::StorageFull, "cannot keep the input for the upload: the disk is full")
                .todo("make room in the folder for temporary files, or set TMPDIR")
        }
        _ => Error::new(Exit::Io, format!("cannot keep the input for the upload: {cause}")),
    }
}

/// Keeps what can be read only once: a little in memory, more in an unnamed file.
fn spool(mut from: impl Read, blobs: &mut BTreeMap<Digest, Blob>) -> Result<Input, Error> {
    let failed =
        |cause: io::Error| Error::new(Exit::Io, format!("cannot read standard input: {cause}"));
    let mut start = Vec::new();
    (&mut from).take(MAX_INLINE_INPUT as u64 + 1).read_to_end(&mut start).map_err(failed)?;
    if start.len() <= MAX_INLINE_INPUT {
        return Ok(memory_input(start.into(), blobs));
    }
    let mut file = tempfile::tempfile().map_err(spool_failed)?;
    let mut context = Context::new(&SHA256);
    let mut size = 0u64;
    let mut rest = io::Cursor::new(start).chain(from);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = rest.read(&mut buffer).map_err(failed)?;
        let Some(chunk) = buffer.get(..read).filter(|chunk| !chunk.is_empty()) else { break };
        context.update(chunk);
        io::Write::write_all(&mut file, chunk).map_err(spool_failed)?;
        size += chunk.len() as u64;
        if size > MAX_BLOB {
            return Err(too_large("standard input", size));
        }
    }
    let digest = finish(context);
    blobs.entry(digest).or_insert(Blob::Spooled { file: Arc::new(file), offset: 0, size });
    Ok(Input::Content(Content::Blob { digest, size }))
}

fn walk(
    mount: &MountSource,
    mounts: &mut Vec<Mount>,
    blobs: &mut BTreeMap<Digest, Blob>,
) -> Result<(), Error> {
    let doing = "mount";
    let meta =
        fs::metadata(&mount.host).map_err(|cause| Error::file(doing, &mount.host, &cause))?;
    if !meta.is_dir() {
        return add_file(&mount.host, mount.guest.clone(), mounts, blobs);
    }
    let before = mounts.len();
    let mut pending = vec![(mount.host.clone(), mount.guest.clone(), 0)];
    while let Some((folder, guest, depth)) = pending.pop() {
        if depth > MAX_DEPTH {
            let text = format!(
                "cannot mount `{}`: it is more than {MAX_DEPTH} folders deep",
                folder.display()
            );
            return Err(Error::new(Exit::InvalidInput, text).todo("mount a folder further in"));
        }
        for (name, path, kind) in entries(&folder)? {
            let below = format!("{}/{name}", guest.trim_end_matches('/'));
            if kind.is_dir() {
                pending.push((path, below, depth + 1));
            } else if kind.is_symlink() {
                let text = format!(
                    "cannot mount `{}`: it is a link, which can lead out of the folder",
                    path.display()
                );
                return Err(Error::new(Exit::InvalidInput, text)
                    .todo("mount what it points to by itself, or copy it in"));
            } else {
                add_file(&path, below, mounts, blobs)?;
            }
        }
    }
    if mounts.len() == before {
        let text = format!("cannot mount `{}`: no file is in it", mount.host.display());
        return Err(Error::new(Exit::InvalidInput, text).todo("mount a folder that holds files"));
    }
    Ok(())
}

/// Sorted by name, so that the same folder makes the same job.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf, fs::FileType)>, Error> {
    let failed = |cause: io::Error| Error::file("mount", folder, &cause);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        let name = entry.file_name().into_string().map_err(|_| {
            Error::new(
                Exit::InvalidInput,
                format!("cannot mount `{}`: its name is not UTF-8", path.display()),
            )
            .todo("rename it")
        })?;
        found.push((name, path, entry.file_type().map_err(failed)?));
        if found.len() > MAX_MOUNTED_FILES {
            return Err(too_many(folder));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

fn add_file(
    path: &Path,
    guest: String,
    mounts: &mut Vec<Mount>,
    blobs: &mut BTreeMap<Digest, Blob>,
) -> Result<(), Error> {
    if mounts.len() >= MAX_MOUNTED_FILES {
        return Err(too_many(path));
    }
    checked_size("mount", path)?;
    let (digest, size) = hash_file("mount", path)?;
    blobs.entry(digest).or_insert_with(|| Blob::File { path: path.to_owned(), size });
    mounts.push(Mount { path: guest, digest, size });
    Ok(())
}

/// Two files at one place, or a file where another needs a folder.
fn refuse_twins(mounts: &[Mount]) -> Result<(), Error> {
    let mut paths: Vec<&str> = mounts.iter().map(|mount| mount.path.as_str()).collect();
    paths.sort_unstable();
    let known: std::collections::BTreeSet<&str> = paths.iter().copied().collect();
    let twice = paths.windows(2).find_map(|pair| match pair {
        [a, b] if a == b => Some(*a),
        _ => None,
    });
    let inside = || {
        paths.iter().find_map(|path| {
            let parents = path.match_indices('/').skip(1).filter_map(|(at, _)| path.get(..at));
            parents.into_iter().find(|parent| known.contains(parent))
        })
    };
    match twice.or_else(inside) {
        Some(path) => {
            let text = format!("two mounts want `{path}` in the guest");
            Err(Error::new(Exit::InvalidInput, text)
                .todo("give one of them another path: HOST:/GUEST"))
        }
        None => Ok(()),
    }
}

pub(crate) fn checked_size(doing: &str, path: &Path) -> Result<u64, Error> {
    let meta = fs::metadata(path).map_err(|cause| Error::file(doing, path, &cause))?;
    if !meta.is_file() {
        return Err(not_a_file(doing, path));
    }
    if meta.len() > MAX_BLOB {
        return Err(too_large(&path.display().to_string(), meta.len()));
    }
    Ok(meta.len())
}

pub(crate) fn hash_file(doing: &str, path: &Path) -> Result<(Digest, u64), Error> {
    let failed = |cause: io::Error| Error::file(doing, path, &cause);
    let mut file = File::open(path).map_err(failed)?;
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 64 << 10];
    let mut size = 0u64;
    loop {
        let read = file.read(&mut buffer).map_err(failed)?;
        let Some(chunk) = buffer.get(..read).filter(|chunk| !chunk.is_empty()) else { break };
        context.update(chunk);
        size += chunk.len() as u64;
        if size > MAX_BLOB {
            return Err(too_large(&path.display().to_string(), size));
        }
    }
    Ok((finish(context), size))
}

pub(super) fn not_a_file(doing: &str, path: &Path) -> Error {
    Error::new(Exit::InvalidInput, format!("cannot {doing} `{}`: it is not a file", path.display()))
        .todo("name a file")
}

pub(super) fn too_large(what: &str, size: u64) -> Error {
    let text =
        format!("`{what}` has {} or more; at most {} are allowed", Size(size), Size(MAX_BLOB));
    Error::new(Exit::InvalidInput, text).todo("split it")
}

fn too_many(path: &Path) -> Error {
    let text = format!("cannot mount `{}`: more than {MAX_MOUNTED_FILES} files", path.display());
    Error::new(Exit::InvalidInput, text).todo("mount fewer, or pack them into one file")
}

#[cfg(test)]
mod tests;
