//! The same as [`crate::files`] for WASI 0.3, where writes are streams that the host
//! reads from.

use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;
use wasmtime::StoreContextMut;
use wasmtime::component::{
    Accessor, FutureReader, Linker, LinkerInstance, Resource, Source, StreamConsumer, StreamReader,
    StreamResult,
};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p3::bindings::filesystem::types::{
    DescriptorFlags, ErrorCode, HostDescriptorWithStore, OpenFlags, PathFlags,
};
use wasmtime_wasi::p3::filesystem::FilesystemResult;

use crate::control::Control;
use crate::state::TaskState;
use crate::stdio::LimitReached;

pub(crate) const TYPES: &str = "wasi:filesystem/types@0.3.0";

type Told<T> = wasmtime::Result<(Result<T, ErrorCode>,)>;
type Store<'a> = StoreContextMut<'a, TaskState>;
type Written = FutureReader<Result<(), ErrorCode>>;

/// Shadows the standard functions.
pub(crate) fn add_to_linker(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut preopens = linker.instance("wasi:filesystem/preopens@0.3.0")?;
    preopens.func_wrap_async("get-directories", |mut store: Store<'_>, (): ()| {
        Box::new(async move { Ok((crate::files::directories(store.data_mut()).await?,)) })
    })?;
    let mut types = linker.instance(TYPES)?;
    add_writes(&mut types)?;
    add_names(&mut types)?;
    linker.allow_shadowing(false);
    Ok(())
}

fn add_writes(types: &mut LinkerInstance<'_, TaskState>) -> wasmtime::Result<()> {
    type WriteAt = (Resource<Descriptor>, StreamReader<u8>, u64);
    types.func_wrap(
        "[method]descriptor.write-via-stream",
        |store: Store<'_>, (fd, data, offset): WriteAt| write(store, &fd, data, Some(offset)),
    )?;
    types.func_wrap(
        "[method]descriptor.append-via-stream",
        |store: Store<'_>, (fd, data): (Resource<Descriptor>, StreamReader<u8>)| {
            write(store, &fd, data, None)
        },
    )?;
    types.func_wrap_concurrent(
        "[method]descriptor.set-size",
        |accessor: &Accessor<TaskState>, (fd, size): (Resource<Descriptor>, u64)| {
            Box::pin(async move {
                charge(accessor, size, false).await?;
                let files = accessor.with_getter::<WasiFilesystem>(TaskState::filesystem);
                told(HostDescriptorWithStore::set_size(&files, fd, size).await)
            })
        },
    )
}

fn add_names(types: &mut LinkerInstance<'_, TaskState>) -> wasmtime::Result<()> {
    type OpenAt = (Resource<Descriptor>, PathFlags, String, OpenFlags, DescriptorFlags);
    types.func_wrap_concurrent(
        "[method]descriptor.open-at",
        |accessor: &Accessor<TaskState>, (fd, path_flags, path, open_flags, flags): OpenAt| {
            Box::pin(async move {
                if open_flags.contains(OpenFlags::CREATE) {
                    charge(accessor, 0, true).await?;
                }
                let files = accessor.with_getter::<WasiFilesystem>(TaskState::filesystem);
                let opened = HostDescriptorWithStore::open_at(
                    &files, fd, path_flags, path, open_flags, flags,
                );
                let opened = opened.await;
                if let Ok(fd) = &opened {
                    note_open(accessor, fd).await?;
                }
                told(opened)
            })
        },
    )?;
    types.func_wrap_concurrent(
        "[method]descriptor.create-directory-at",
        |accessor: &Accessor<TaskState>, (fd, path): (Resource<Descriptor>, String)| {
            Box::pin(async move {
                charge(accessor, 0, true).await?;
                let files = accessor.with_getter::<WasiFilesystem>(TaskState::filesystem);
                told(HostDescriptorWithStore::create_directory_at(&files, fd, path).await)
            })
        },
    )?;
    types.func_wrap_concurrent(
        "[method]descriptor.symlink-at",
        |accessor: &Accessor<TaskState>, (fd, old, new): (Resource<Descriptor>, String, String)| {
            Box::pin(async move {
                charge(accessor, 0, true).await?;
                let files = accessor.with_getter::<WasiFilesystem>(TaskState::filesystem);
                told(HostDescriptorWithStore::symlink_at(&files, fd, old, new).await)
            })
        },
    )?;
    type LinkAt = (Resource<Descriptor>, PathFlags, String, Resource<Descriptor>, String);
    types.func_wrap_concurrent(
        "[method]descriptor.link-at",
        |accessor: &Accessor<TaskState>, (fd, flags, old, new_fd, new): LinkAt| {
            Box::pin(async move {
                charge(accessor, 0, true).await?;
                let files = accessor.with_getter::<WasiFilesystem>(TaskState::filesystem);
                told(HostDescriptorWithStore::link_at(&files, fd, flags, old, new_fd, new).await)
            })
        },
    )
}

async fn charge(accessor: &Accessor<TaskState>, bytes: u64, entry: bool) -> wasmtime::Result<()> {
    let control = accessor.with(|mut access| Arc::clone(&access.get().control));
    Ok(control.scratch.charge(&control, bytes, entry).await?)
}

async fn note_open(
    accessor: &Accessor<TaskState>,
    fd: &Resource<Descriptor>,
) -> wasmtime::Result<()> {
    let opened = accessor.with(|mut access| {
        let state = access.get();
        let file = match state.table().get(fd)? {
            Descriptor::File(file) if file.open_mode.contains(wasmtime_wasi::OpenMode::WRITE) => {
                Some(Arc::clone(&file.file))
            }
            _ => None,
        };
        wasmtime::error::Ok((file, Arc::clone(&state.control)))
    })?;
    if let (Some(file), control) = opened {
        control.scratch.on_open(&file).await;
    }
    Ok(())
}

fn told<T>(result: FilesystemResult<T>) -> Told<T> {
    match result {
        Ok(value) => Ok((Ok(value),)),
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}

/// Writes what comes through `data` at `offset`, or at the end of the file.
fn write(
    mut store: Store<'_>,
    fd: &Resource<Descriptor>,
    mut data: StreamReader<u8>,
    offset: Option<u64>,
) -> wasmtime::Result<(Written,)> {
    let (sender, written) = oneshot::channel::<Result<(), ErrorCode>>();
    let state = store.data_mut();
    let file = match state.table().get(fd)? {
        Descriptor::Dir(_) => Err(ErrorCode::BadDescriptor),
        Descriptor::File(file) if file.perms.write_not_permitted() => Err(ErrorCode::NotPermitted),
        Descriptor::File(file) => Ok(Arc::clone(&file.file)),
    };
    match file {
        Ok(file) => {
            let (control, sender) = (Arc::clone(&state.control), Some(sender));
            let writer = Writer { file, offset, control, sender, pending: None };
            data.pipe(&mut store, writer)?;
        }
        Err(code) => {
            data.close(&mut store)?;
            let _ = sender.send(Err(code));
        }
    }
    Ok((FutureReader::new(&mut store, written)?,))
}

type Pending = Pin<Box<dyn Future<Output = Result<std::io::Result<usize>, LimitReached>> + Send>>;

/// Most bytes of one write.
const CHUNK: usize = 64 << 10;

struct Writer {
    file: Arc<std::fs::File>,
    offset: Option<u64>,
    control: Arc<Control>,
    sender: Option<oneshot::Sender<Result<(), ErrorCode>>>,
    pending: Option<Pending>,
}

impl Writer {
    fn start_write(&self, bytes: Vec<u8>) -> Pending {
        let (file, offset) = (Arc::clone(&self.file), self.offset);
        let control = Arc::clone(&self.control);
        Box::pin(async move {
            control.scratch.charge(&control, bytes.len() as u64, false).await?;
            let write = move || match offset {
                Some(offset) => file.write_at(&bytes, offset),
                None => append(&file, &bytes),
            };
            Ok(blocking(control.world().is_some(), write).await)
        })
    }

    fn close(&mut self, result: Result<(), ErrorCode>) {
        if let Some(sender) = self.sender.take() {
            let _ = sender.send(result);
        }
    }
}

/// Off the guest's thread, unless the guest could see how long it took.
async fn blocking(
    at_once: bool,
    write: impl FnOnce() -> std::io::Result<usize> + Send + 'static,
) -> std::io::Result<usize> {
    if at_once {
        return write();
    }
    let done = tokio::task::spawn_blocking(write).await;
    done.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

/// The file is not open for appending, and only this task has it.
fn append(file: &std::fs::File, bytes: &[u8]) -> std::io::Result<usize> {
    file.write_at(bytes, file.metadata()?.len())
}

impl StreamConsumer<TaskState> for Writer {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: Store<'_>,
        source: Source<'_, u8>,
        _finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let mut source = source.as_direct(store);
        let me = &mut *self;
        if me.pending.is_none() {
            let bytes = source.remaining();
            if bytes.is_empty() {
                return Poll::Ready(Ok(StreamResult::Completed));
            }
            let bytes = bytes.get(..bytes.len().min(CHUNK)).unwrap_or_default().to_vec();
            me.pending = Some(me.start_write(bytes));
        }
        // A write that has begun is waited for, also when the guest wants to finish: it is
        // short, and the guest must know how much of it was done.
        let Some(pending) = &mut me.pending else { return Poll::Pending };
        let result = ready!(pending.as_mut().poll(cx));
        me.pending = None;
        match result {
            Ok(Ok(size)) => {
                source.mark_read(size);
                me.offset = me.offset.map(|offset| offset.saturating_add(size as u64));
                Poll::Ready(Ok(StreamResult::Completed))
            }
            Ok(Err(error)) => {
                me.close(Err(error.into()));
                Poll::Ready(Ok(StreamResult::Dropped))
            }
            Err(reached) => Poll::Ready(Err(reached.into())),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close(Ok(()));
    }
}
