//! The functions of WASI 0.2's file system that can make the scratch directory grow:
//! each is the standard one with a charge before it. They shadow the standard ones in
//! the linker.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, ErrorCode, HostDescriptor, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{
    DynOutputStream, FsResult, OutputStream, Pollable, StreamError, StreamResult,
};
use wasmtime_wasi::{FsPerms, WasiCtx};

use std::sync::Arc;

use crate::control::Control;
use crate::scratch::GUEST_PATH;
use crate::state::TaskState;

pub(crate) const TYPES: &str = "wasi:filesystem/types@0.2.12";
const PREOPENS: &str = "wasi:filesystem/preopens@0.2.12";

type Store<'a> = StoreContextMut<'a, TaskState>;
type Told<T> = wasmtime::Result<(Result<T, ErrorCode>,)>;

/// Shadows the standard functions.
pub(crate) fn add_to_linker(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut preopens = linker.instance(PREOPENS)?;
    preopens.func_wrap_async("get-directories", |mut store: Store<'_>, (): ()| {
        Box::new(async move { Ok((directories(store.data_mut()).await?,)) })
    })?;
    let mut types = linker.instance(TYPES)?;
    add_writes(&mut types)?;
    add_names(&mut types)?;
    linker.allow_shadowing(false);
    Ok(())
}

fn add_writes(
    types: &mut wasmtime::component::LinkerInstance<'_, TaskState>,
) -> wasmtime::Result<()> {
    types.func_wrap_async(
        "[method]descriptor.write",
        |mut store: Store<'_>, (fd, bytes, offset): (Resource<Descriptor>, Vec<u8>, u64)| {
            Box::new(async move {
                let state = store.data_mut();
                charge(state, bytes.len() as u64, false).await?;
                told(HostDescriptor::write(&mut state.filesystem(), fd, bytes, offset).await)
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.set-size",
        |mut store: Store<'_>, (fd, size): (Resource<Descriptor>, u64)| {
            Box::new(async move {
                let state = store.data_mut();
                charge(state, size, false).await?;
                told(HostDescriptor::set_size(&mut state.filesystem(), fd, size).await)
            })
        },
    )?;
    types.func_wrap(
        "[method]descriptor.write-via-stream",
        |mut store: Store<'_>, (fd, offset): (Resource<Descriptor>, u64)| {
            let state = store.data_mut();
            let stream = HostDescriptor::write_via_stream(&mut state.filesystem(), fd, offset);
            told(metered(state, stream)?)
        },
    )?;
    types.func_wrap(
        "[method]descriptor.append-via-stream",
        |mut store: Store<'_>, (fd,): (Resource<Descriptor>,)| {
            let state = store.data_mut();
            let stream = HostDescriptor::append_via_stream(&mut state.filesystem(), fd);
            told(metered(state, stream)?)
        },
    )
}

fn add_names(
    types: &mut wasmtime::component::LinkerInstance<'_, TaskState>,
) -> wasmtime::Result<()> {
    type OpenAt = (Resource<Descriptor>, PathFlags, String, OpenFlags, DescriptorFlags);
    types.func_wrap_async(
        "[method]descriptor.open-at",
        |mut store: Store<'_>, (fd, path_flags, path, open_flags, flags): OpenAt| {
            Box::new(async move {
                let state = store.data_mut();
                if open_flags.contains(OpenFlags::CREATE) {
                    charge(state, 0, true).await?;
                }
                let mut files = state.filesystem();
                let opened =
                    HostDescriptor::open_at(&mut files, fd, path_flags, path, open_flags, flags);
                let opened = opened.await;
                if let Ok(fd) = &opened {
                    note_open(state, fd).await?;
                }
                told(opened)
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.create-directory-at",
        |mut store: Store<'_>, (fd, path): (Resource<Descriptor>, String)| {
            Box::new(async move {
                let state = store.data_mut();
                charge(state, 0, true).await?;
                told(HostDescriptor::create_directory_at(&mut state.filesystem(), fd, path).await)
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.symlink-at",
        |mut store: Store<'_>, (fd, old, new): (Resource<Descriptor>, String, String)| {
            Box::new(async move {
                let state = store.data_mut();
                charge(state, 0, true).await?;
                told(HostDescriptor::symlink_at(&mut state.filesystem(), fd, old, new).await)
            })
        },
    )?;
    type LinkAt = (Resource<Descriptor>, PathFlags, String, Resource<Descriptor>, String);
    types.func_wrap_async(
        "[method]descriptor.link-at",
        |mut store: Store<'_>, (fd, flags, old, new_fd, new): LinkAt| {
            Box::new(async move {
                let state = store.data_mut();
                charge(state, 0, true).await?;
                let mut files = state.filesystem();
                told(HostDescriptor::link_at(&mut files, fd, flags, old, new_fd, new).await)
            })
        },
    )
}

/// Makes the scratch directory, opens it and the mounts, and gives their handles.
pub(crate) async fn directories(
    state: &mut TaskState,
) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
    let control = Arc::clone(&state.control);
    if !control.scratch.is_given() && control.job().mounts.is_empty() {
        return Ok(Vec::new());
    }
    let mut opened = if control.world().is_some() {
        open_directories(&control)?
    } else {
        let opened = tokio::task::spawn_blocking(move || open_directories(&control));
        opened.await.map_err(wasmtime::Error::new)??
    };
    // The standard host gives whatever its context was built with.
    let standard = wasmtime_wasi::p2::bindings::filesystem::preopens::Host::get_directories;
    standard(&mut wasmtime_wasi::filesystem::WasiFilesystemCtxView {
        ctx: opened.filesystem(),
        table: state.table(),
    })
}

fn open_directories(control: &Control) -> wasmtime::Result<WasiCtx> {
    let mut opened = WasiCtx::builder();
    opened.allow_blocking_current_thread(control.world().is_some());
    if let Some(path) = control.scratch.make()? {
        opened.preopened_dir(path, GUEST_PATH, FsPerms::ReadWrite)?;
        opened.preopened_dir(path, ".", FsPerms::ReadWrite)?;
    }
    for (guest, host) in &control.job().mounts {
        opened.preopened_dir(host, guest, FsPerms::ReadOnly)?;
    }
    Ok(opened.build())
}

/// Charges before a write; trapping ends the guest at once.
pub(crate) async fn charge(state: &mut TaskState, bytes: u64, entry: bool) -> wasmtime::Result<()> {
    let control = &state.control;
    Ok(control.scratch.charge(control, bytes, entry).await?)
}

async fn note_open(state: &mut TaskState, fd: &Resource<Descriptor>) -> wasmtime::Result<()> {
    let control = Arc::clone(&state.control);
    if let Descriptor::File(file) = state.table().get(fd)?
        && file.open_mode.contains(wasmtime_wasi::OpenMode::WRITE)
    {
        control.scratch.on_open(&file.file).await;
    }
    Ok(())
}

fn told<T>(result: FsResult<T>) -> Told<T> {
    match result {
        Ok(value) => Ok((Ok(value),)),
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}

/// Puts a meter before a stream that the standard host has just made.
fn metered(
    state: &mut TaskState,
    stream: FsResult<Resource<DynOutputStream>>,
) -> wasmtime::Result<FsResult<Resource<DynOutputStream>>> {
    let stream = match stream {
        Ok(stream) => stream,
        Err(error) => return Ok(Err(error)),
    };
    let inner = state.table().delete(stream)?;
    let metered = MeteredStream { inner, control: Arc::clone(&state.control), granted: 0 };
    Ok(Ok(state.table().push(Box::new(metered) as DynOutputStream)?))
}

/// A stream into a file, charged ahead of what is written.
struct MeteredStream {
    inner: DynOutputStream,
    control: Arc<Control>,
    /// Bytes that are charged and not yet written.
    granted: usize,
}

/// How much a stream is charged for at a time.
const AHEAD: usize = 64 << 10;

#[wasmtime_wasi::async_trait]
impl Pollable for MeteredStream {
    async fn ready(&mut self) {
        self.inner.ready().await;
        if self.granted == 0 {
            // Reaching the limit is noted in the control, which ends the task.
            let control = &self.control;
            let granted = control.scratch.charge_up_to(control, AHEAD as u64).await;
            self.granted = granted.unwrap_or_default() as usize;
        }
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for MeteredStream {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        if self.control.must_end() {
            return Err(StreamError::Trap(crate::stdio::LimitReached.into()));
        }
        self.granted = self.granted.saturating_sub(bytes.len());
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.inner.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        if self.control.must_end() {
            return Err(StreamError::Trap(crate::stdio::LimitReached.into()));
        }
        Ok(self.inner.check_write()?.min(self.granted))
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}
