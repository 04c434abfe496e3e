//! Files for WASI 0.2 without what differs from node to node and from run to run: times,
//! numbers, links of others, the order of a directory.

use std::collections::VecDeque;
use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, LinkerInstance, Resource};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    Advice, DescriptorStat, DescriptorType, DirectoryEntry, DirectoryEntryStream, ErrorCode,
    HostDescriptor, HostDirectoryEntryStream, MetadataHashValue, NewTimestamp, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult};

use super::clock::START;
use super::streams::{FileReader, FileWriter};
use crate::state::TaskState;

type Store<'a> = StoreContextMut<'a, TaskState>;
type Told<T> = wasmtime::Result<(Result<T, ErrorCode>,)>;
type Fd = Resource<Descriptor>;

/// Shadows the standard functions.
pub(super) fn add_to_linker(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
    let mut types = linker.instance(crate::files::TYPES)?;
    add_metadata(&mut types)?;
    add_times(&mut types)?;
    add_directories(&mut types)?;
    add_removals(&mut types)?;
    add_streams(&mut types)
}

fn add_metadata(types: &mut LinkerInstance<'_, TaskState>) -> wasmtime::Result<()> {
    types.func_wrap_async("[method]descriptor.stat", |mut store: Store<'_>, (fd,): (Fd,)| {
        Box::new(async move { told(stat(store.data_mut(), &fd).await) })
    })?;
    types.func_wrap_async(
        "[method]descriptor.stat-at",
        |mut store: Store<'_>, (fd, flags, path): (Fd, PathFlags, String)| {
            Box::new(async move { told(stat_at(store.data_mut(), &fd, flags, path).await) })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.metadata-hash",
        |mut store: Store<'_>, (fd,): (Fd,)| {
            Box::new(async move {
                let state = store.data_mut();
                let links = match stat(state, &fd).await {
                    Ok(stat) => stat.link_count,
                    Err(error) => return told(Err(error)),
                };
                let mut files = state.filesystem();
                let found = HostDescriptor::metadata_hash(&mut files, again(&fd)).await;
                told(found.map(|found| numbered(state, &found, links > 0)))
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.metadata-hash-at",
        |mut store: Store<'_>, (fd, flags, path): (Fd, PathFlags, String)| {
            Box::new(async move {
                let state = store.data_mut();
                let mut files = state.filesystem();
                let found = HostDescriptor::metadata_hash_at(&mut files, fd, flags, path).await;
                told(found.map(|found| numbered(state, &found, true)))
            })
        },
    )
}

fn add_times(types: &mut LinkerInstance<'_, TaskState>) -> wasmtime::Result<()> {
    type Times = (Fd, NewTimestamp, NewTimestamp);
    type TimesAt = (Fd, PathFlags, String, NewTimestamp, NewTimestamp);
    let unsupported: Result<(), ErrorCode> = Err(ErrorCode::Unsupported);
    types.func_wrap("[method]descriptor.set-times", move |_: Store<'_>, _: Times| {
        Ok((unsupported,))
    })?;
    types.func_wrap("[method]descriptor.set-times-at", move |_: Store<'_>, _: TimesAt| {
        Ok((unsupported,))
    })?;
    // Scratch goes with the task: there is nothing to keep, and waiting for the disk shows.
    let done: Result<(), ErrorCode> = Ok(());
    types.func_wrap("[method]descriptor.sync", move |_: Store<'_>, _: (Fd,)| Ok((done,)))?;
    types.func_wrap("[method]descriptor.sync-data", move |_: Store<'_>, _: (Fd,)| Ok((done,)))?;
    types.func_wrap("[method]descriptor.advise", move |_: Store<'_>, _: (Fd, u64, u64, Advice)| {
        Ok((done,))
    })
}

fn add_directories(types: &mut LinkerInstance<'_, TaskState>) -> wasmtime::Result<()> {
    types.func_wrap_async(
        "[method]descriptor.read-directory",
        |mut store: Store<'_>, (fd,): (Fd,)| {
            Box::new(async move {
                let state = store.data_mut();
                let read = HostDescriptor::read_directory(&mut state.filesystem(), fd).await;
                let read = match read {
                    Ok(read) => read,
                    Err(error) => return told(Err(error)),
                };
                let found = entries(state, &read).await?;
                if let Some(world) = state.control.world() {
                    world.files().listings.insert(read.rep(), found);
                }
                Ok((Ok(read),))
            })
        },
    )?;
    types.func_wrap(
        "[method]directory-entry-stream.read-directory-entry",
        |mut store: Store<'_>, (read,): (Resource<DirectoryEntryStream>,)| {
            let state = store.data_mut();
            let mut next = None;
            if let Some(world) = state.control.world() {
                let listings = &mut world.files().listings;
                next = listings.get_mut(&read.rep()).and_then(VecDeque::pop_front);
                if next.is_none() {
                    listings.remove(&read.rep());
                }
            }
            let next: Result<_, ErrorCode> = Ok(next);
            Ok((next,))
        },
    )
}

fn add_removals(types: &mut LinkerInstance<'_, TaskState>) -> wasmtime::Result<()> {
    types.func_wrap_async(
        "[method]descriptor.unlink-file-at",
        |mut store: Store<'_>, (fd, path): (Fd, String)| {
            Box::new(async move {
                let state = store.data_mut();
                let last = last_name(state, &fd, &path).await;
                let mut files = state.filesystem();
                let removed = HostDescriptor::unlink_file_at(&mut files, fd, path).await;
                told(forgotten(state, last, removed))
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.remove-directory-at",
        |mut store: Store<'_>, (fd, path): (Fd, String)| {
            Box::new(async move {
                let state = store.data_mut();
                let last = last_name(state, &fd, &path).await;
                let mut files = state.filesystem();
                let removed = HostDescriptor::remove_directory_at(&mut files, fd, path).await;
                told(forgotten(state, last, removed))
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.rename-at",
        |mut store: Store<'_>, (fd, old, new_fd, new): (Fd, String, Fd, String)| {
            Box::new(async move {
                let state = store.data_mut();
                let last = replaced(state, &fd, &old, &new_fd, &new).await;
                let mut files = state.filesystem();
                let renamed = HostDescriptor::rename_at(&mut files, fd, old, new_fd, new).await;
                told(forgotten(state, last, renamed))
            })
        },
    )
}

fn add_streams(types: &mut LinkerInstance<'_, TaskState>) -> wasmtime::Result<()> {
    types.func_wrap(
        "[method]descriptor.read-via-stream",
        |mut store: Store<'_>, (fd, offset): (Fd, u64)| {
            let state = store.data_mut();
            let file = match state.table().get(&fd)? {
                Descriptor::File(file) => Arc::clone(&file.file),
                Descriptor::Dir(_) => return Ok((Err(ErrorCode::IsDirectory),)),
            };
            let reader: DynInputStream = Box::new(FileReader::new(file, offset));
            Ok((Ok(state.table().push(reader)?),))
        },
    )?;
    types.func_wrap(
        "[method]descriptor.write-via-stream",
        |mut store: Store<'_>, (fd, offset): (Fd, u64)| writer(store.data_mut(), &fd, Some(offset)),
    )?;
    types.func_wrap("[method]descriptor.append-via-stream", |mut store: Store<'_>, (fd,): (Fd,)| {
        writer(store.data_mut(), &fd, None)
    })
}

fn writer(state: &mut TaskState, fd: &Fd, offset: Option<u64>) -> Told<Resource<DynOutputStream>> {
    let file = match state.table().get(fd)? {
        Descriptor::Dir(_) => return Ok((Err(ErrorCode::BadDescriptor),)),
        Descriptor::File(file) if file.perms.write_not_permitted() => {
            return Ok((Err(ErrorCode::NotPermitted),));
        }
        Descriptor::File(file) => Arc::clone(&file.file),
    };
    let control = Arc::clone(&state.control);
    let writer: DynOutputStream = Box::new(FileWriter::new(file, offset, control));
    Ok((Ok(state.table().push(writer)?),))
}

async fn stat(state: &mut TaskState, fd: &Fd) -> FsResult<DescriptorStat> {
    let shared = is_read_only(state, fd).map_err(FsError::trap)?;
    let found = HostDescriptor::stat(&mut state.filesystem(), again(fd)).await?;
    Ok(plain(found, shared))
}

async fn stat_at(
    state: &mut TaskState,
    fd: &Fd,
    flags: PathFlags,
    path: String,
) -> FsResult<DescriptorStat> {
    let shared = is_read_only(state, fd).map_err(FsError::trap)?;
    let found = HostDescriptor::stat_at(&mut state.filesystem(), again(fd), flags, path).await?;
    Ok(plain(found, shared))
}

/// Without what the node's file system and other tasks show through. The files of mounts
/// are `shared`: other jobs may have them too.
fn plain(found: DescriptorStat, shared: bool) -> DescriptorStat {
    let directory = found.type_ == DescriptorType::Directory;
    let at = Some(Datetime { seconds: START, nanoseconds: 0 });
    DescriptorStat {
        type_: found.type_,
        link_count: if directory || shared { found.link_count.min(1) } else { found.link_count },
        size: if directory { 0 } else { found.size },
        data_access_timestamp: at,
        data_modification_timestamp: at,
        status_change_timestamp: at,
    }
}

/// Whether the descriptor is one of a mount.
pub(super) fn is_read_only(state: &mut TaskState, fd: &Fd) -> wasmtime::Result<bool> {
    Ok(match state.table().get(fd)? {
        Descriptor::File(file) => file.perms.write_not_permitted(),
        Descriptor::Dir(dir) => dir.perms.write_not_permitted(),
    })
}

fn numbered(state: &TaskState, found: &MetadataHashValue, linked: bool) -> MetadataHashValue {
    let number = number_of(state, (found.lower, found.upper), linked);
    MetadataHashValue { lower: number, upper: 0 }
}

/// The number that stands for a file. One that has no name is not `linked`.
pub(super) fn number_of(state: &TaskState, identity: (u64, u64), linked: bool) -> u64 {
    state.control.world().map_or(0, |world| world.number_of(identity, linked))
}

/// All entries of a directory.
pub(super) async fn read_directory(
    state: &mut TaskState,
    fd: Fd,
) -> wasmtime::Result<Result<VecDeque<DirectoryEntry>, ErrorCode>> {
    let read = match HostDescriptor::read_directory(&mut state.filesystem(), fd).await {
        Ok(read) => read,
        Err(error) => return Ok(Err(error.downcast()?)),
    };
    let found = entries(state, &read).await?;
    state.table().delete(read)?;
    Ok(Ok(found))
}

/// The entries of a directory by name.
async fn entries(
    state: &mut TaskState,
    read: &Resource<DirectoryEntryStream>,
) -> wasmtime::Result<VecDeque<DirectoryEntry>> {
    let mut found = Vec::new();
    loop {
        let read = Resource::new_borrow(read.rep());
        let mut files = state.filesystem();
        match HostDirectoryEntryStream::read_directory_entry(&mut files, read).await {
            Ok(Some(entry)) => found.push(entry),
            Ok(None) => break,
            // A name that is no text cannot be made by a guest.
            Err(error) => return Err(wasmtime::Error::msg(format!("{:?}", error.downcast()?))),
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found.into())
}

async fn identity_at(state: &mut TaskState, fd: &Fd, path: &str) -> Option<(u64, u64)> {
    let (mut files, flags) = (state.filesystem(), PathFlags::empty());
    let found = HostDescriptor::metadata_hash_at(&mut files, again(fd), flags, path.to_owned());
    let found = found.await.ok()?;
    Some((found.lower, found.upper))
}

/// The identity of the file that a renaming takes its last name.
pub(super) async fn replaced(
    state: &mut TaskState,
    fd: &Fd,
    old: &str,
    new_fd: &Fd,
    new: &str,
) -> Option<(u64, u64)> {
    let moved = identity_at(state, fd, old).await;
    // Two names of one file: nothing is replaced.
    last_name(state, new_fd, new).await.filter(|last| Some(*last) != moved)
}

/// The identity of the file of that name, if it has no other name.
pub(super) async fn last_name(state: &mut TaskState, fd: &Fd, path: &str) -> Option<(u64, u64)> {
    let found = stat_at(state, fd, PathFlags::empty(), path.to_owned()).await.ok()?;
    if found.link_count > 1 {
        return None;
    }
    identity_at(state, fd, path).await
}

fn forgotten(state: &TaskState, last: Option<(u64, u64)>, done: FsResult<()>) -> FsResult<()> {
    done?;
    forget(state, last);
    Ok(())
}

/// A file lost its last name.
pub(super) fn forget(state: &TaskState, last: Option<(u64, u64)>) {
    if let (Some(world), Some(identity)) = (state.control.world(), last) {
        world.forget(identity);
    }
}

/// The same descriptor, for a call that takes it.
fn again(fd: &Fd) -> Fd {
    Resource::new_borrow(fd.rep())
}

fn told<T>(result: FsResult<T>) -> Told<T> {
    match result {
        Ok(value) => Ok((Ok(value),)),
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}
