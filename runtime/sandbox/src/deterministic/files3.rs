//! The same as [`super::files`] for WASI 0.3.

use wasmtime::component::{Accessor, FutureReader, Linker, LinkerInstance, Resource, StreamReader};
use wasmtime::{AsContextMut, StoreContextMut};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::types as p2;
use wasmtime_wasi::p3::bindings::clocks::system_clock::Instant;
use wasmtime_wasi::p3::bindings::filesystem::types::{
    Advice, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode, HostDescriptorWithStore,
    MetadataHashValue, NewTimestamp, PathFlags,
};
use wasmtime_wasi::p3::filesystem::{FilesystemError, FilesystemResult};

use super::clock::START;
use super::files;
use super::streams::at_once;
use crate::state::TaskState;

type Store<'a> = StoreContextMut<'a, TaskState>;
type Told<T> = wasmtime::Result<(Result<T, ErrorCode>,)>;
type Fd = Resource<Descriptor>;
type Outside = Accessor<TaskState>;

/// Shadows the standard functions.
pub(super) fn add_to_linker(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
    let mut types = linker.instance(crate::files3::TYPES)?;
    add_metadata(&mut types)?;
    add_times(&mut types)?;
    add_removals(&mut types)?;
    types.func_wrap("[method]descriptor.read-directory", |mut store: Store<'_>, (fd,): (Fd,)| {
        let listed = listed(store.data_mut(), fd)?;
        let (entries, end) = match listed {
            Ok(entries) => (entries, Ok(())),
            Err(code) => (Vec::new(), Err(code)),
        };
        let stream = StreamReader::new(&mut store, entries)?;
        let end = async move { wasmtime::error::Ok(end) };
        Ok(((stream, FutureReader::new(store.as_context_mut(), end)?),))
    })
}

fn add_metadata(types: &mut LinkerInstance<'_, TaskState>) -> wasmtime::Result<()> {
    types.func_wrap_concurrent("[method]descriptor.stat", |outside: &Outside, (fd,): (Fd,)| {
        Box::pin(async move { told(stat(outside, fd).await) })
    })?;
    types.func_wrap_concurrent(
        "[method]descriptor.stat-at",
        |outside: &Outside, (fd, flags, path): (Fd, PathFlags, String)| {
            Box::pin(async move {
                let shared = is_read_only(outside, &fd)?;
                let files = outside.with_getter::<WasiFilesystem>(TaskState::filesystem);
                let found = HostDescriptorWithStore::stat_at(&files, fd, flags, path).await;
                told(found.map(|found| plain(found, shared)))
            })
        },
    )?;
    types.func_wrap_concurrent(
        "[method]descriptor.metadata-hash",
        |outside: &Outside, (fd,): (Fd,)| {
            Box::pin(async move {
                let links = match stat(outside, again(&fd)).await {
                    Ok(stat) => stat.link_count,
                    Err(error) => return told(Err(error)),
                };
                let files = outside.with_getter::<WasiFilesystem>(TaskState::filesystem);
                let found = HostDescriptorWithStore::metadata_hash(&files, fd).await;
                told(found.map(|found| numbered(outside, &found, links > 0)))
            })
        },
    )?;
    types.func_wrap_concurrent(
        "[method]descriptor.metadata-hash-at",
        |outside: &Outside, (fd, flags, path): (Fd, PathFlags, String)| {
            Box::pin(async move {
                let files = outside.with_getter::<WasiFilesystem>(TaskState::filesystem);
                let found = HostDescriptorWithStore::metadata_hash_at(&files, fd, flags, path);
                told(found.await.map(|found| numbered(outside, &found, true)))
            })
        },
    )
}

fn add_times(types: &mut LinkerInstance<'_, TaskState>) -> wasmtime::Result<()> {
    fn unsupported() -> Told<()> {
        Ok((Err(ErrorCode::Unsupported),))
    }
    type Times = (Fd, NewTimestamp, NewTimestamp);
    types.func_wrap_concurrent("[method]descriptor.set-times", |_: &Outside, _: Times| {
        Box::pin(async { unsupported() })
    })?;
    type TimesAt = (Fd, PathFlags, String, NewTimestamp, NewTimestamp);
    types.func_wrap_concurrent("[method]descriptor.set-times-at", |_: &Outside, _: TimesAt| {
        Box::pin(async { unsupported() })
    })?;
    fn done() -> Told<()> {
        Ok((Ok(()),))
    }
    types.func_wrap_concurrent("[method]descriptor.sync", |_: &Outside, _: (Fd,)| {
        Box::pin(async { done() })
    })?;
    types.func_wrap_concurrent("[method]descriptor.sync-data", |_: &Outside, _: (Fd,)| {
        Box::pin(async { done() })
    })?;
    types.func_wrap_concurrent(
        "[method]descriptor.advise",
        |_: &Outside, _: (Fd, u64, u64, Advice)| Box::pin(async { done() }),
    )
}

fn add_removals(types: &mut LinkerInstance<'_, TaskState>) -> wasmtime::Result<()> {
    types.func_wrap_concurrent(
        "[method]descriptor.unlink-file-at",
        |outside: &Outside, (fd, path): (Fd, String)| {
            Box::pin(async move {
                let last = last_name(outside, &fd, &path);
                let files = outside.with_getter::<WasiFilesystem>(TaskState::filesystem);
                let removed = HostDescriptorWithStore::unlink_file_at(&files, fd, path).await;
                told(forgotten(outside, last, removed))
            })
        },
    )?;
    types.func_wrap_concurrent(
        "[method]descriptor.remove-directory-at",
        |outside: &Outside, (fd, path): (Fd, String)| {
            Box::pin(async move {
                let last = last_name(outside, &fd, &path);
                let files = outside.with_getter::<WasiFilesystem>(TaskState::filesystem);
                let removed = HostDescriptorWithStore::remove_directory_at(&files, fd, path).await;
                told(forgotten(outside, last, removed))
            })
        },
    )?;
    types.func_wrap_concurrent(
        "[method]descriptor.rename-at",
        |outside: &Outside, (fd, old, new_fd, new): (Fd, String, Fd, String)| {
            Box::pin(async move {
                let last = outside.with(|mut access| {
                    at_once(files::replaced(access.get(), &fd, &old, &new_fd, &new)).flatten()
                });
                let files = outside.with_getter::<WasiFilesystem>(TaskState::filesystem);
                let renamed =
                    HostDescriptorWithStore::rename_at(&files, fd, old, new_fd, new).await;
                told(forgotten(outside, last, renamed))
            })
        },
    )
}

async fn stat(outside: &Outside, fd: Fd) -> FilesystemResult<DescriptorStat> {
    let shared = is_read_only(outside, &fd).map_err(FilesystemError::trap)?;
    let files = outside.with_getter::<WasiFilesystem>(TaskState::filesystem);
    let found = HostDescriptorWithStore::stat(&files, fd).await?;
    Ok(plain(found, shared))
}

/// See [`files`].
fn plain(found: DescriptorStat, shared: bool) -> DescriptorStat {
    let directory = matches!(found.type_, DescriptorType::Directory);
    let at = Instant { seconds: START as i64, nanoseconds: 0 };
    DescriptorStat {
        type_: found.type_,
        link_count: if directory || shared { found.link_count.min(1) } else { found.link_count },
        size: if directory { 0 } else { found.size },
        data_access_timestamp: Some(at),
        data_modification_timestamp: Some(at),
        status_change_timestamp: Some(at),
    }
}

fn is_read_only(outside: &Outside, fd: &Fd) -> wasmtime::Result<bool> {
    outside.with(|mut access| files::is_read_only(access.get(), fd))
}

fn numbered(outside: &Outside, found: &MetadataHashValue, linked: bool) -> MetadataHashValue {
    let identity = (found.lower, found.upper);
    let number = outside.with(|mut access| files::number_of(access.get(), identity, linked));
    MetadataHashValue { lower: number, upper: 0 }
}

fn last_name(outside: &Outside, fd: &Fd, path: &str) -> Option<(u64, u64)> {
    outside.with(|mut access| at_once(files::last_name(access.get(), fd, path)).flatten())
}

fn forgotten(
    outside: &Outside,
    last: Option<(u64, u64)>,
    done: FilesystemResult<()>,
) -> FilesystemResult<()> {
    done?;
    outside.with(|mut access| files::forget(access.get(), last));
    Ok(())
}

/// The entries of a directory by name.
fn listed(
    state: &mut TaskState,
    fd: Fd,
) -> wasmtime::Result<Result<Vec<DirectoryEntry>, ErrorCode>> {
    let Some(read) = at_once(files::read_directory(state, fd)) else {
        return Ok(Err(ErrorCode::Io));
    };
    Ok(match read? {
        Ok(entries) => Ok(entries.into_iter().map(entry).collect()),
        Err(code) => Err(error(code)),
    })
}

fn entry(found: p2::DirectoryEntry) -> DirectoryEntry {
    let type_ = match found.type_ {
        p2::DescriptorType::Directory => DescriptorType::Directory,
        p2::DescriptorType::RegularFile => DescriptorType::RegularFile,
        p2::DescriptorType::SymbolicLink => DescriptorType::SymbolicLink,
        _ => DescriptorType::Other(None),
    };
    DirectoryEntry { type_, name: found.name }
}

fn error(code: p2::ErrorCode) -> ErrorCode {
    match code {
        p2::ErrorCode::NotDirectory => ErrorCode::NotDirectory,
        p2::ErrorCode::NotPermitted => ErrorCode::NotPermitted,
        p2::ErrorCode::BadDescriptor => ErrorCode::BadDescriptor,
        p2::ErrorCode::NoEntry => ErrorCode::NoEntry,
        _ => ErrorCode::Io,
    }
}

fn again(fd: &Fd) -> Fd {
    Resource::new_borrow(fd.rep())
}

fn told<T>(result: FilesystemResult<T>) -> Told<T> {
    match result {
        Ok(value) => Ok((Ok(value),)),
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}
