//! Bodies that guests write.
//!
//! The standard host's body of WASI 0.2 ends alike whether the guest finished it or was cut
//! off: here one that was finished has trailers, which may be empty, and so whoever reads it
//! knows. That of WASI 0.3 takes the next piece when the one before was read: here some are
//! taken [ahead], so that a guest writes a small answer in one turn.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p2::body::HostOutgoingBody;
use wasmtime_wasi_http::{Error, FieldMap, WasiBody};

use crate::state::TaskState;

/// Most bytes of a body that are read at once.
const CHUNK: usize = 64 << 10;

/// Most bytes that a guest may write at once. Guests of WASI 0.2 mostly write 4 KiB, the most
/// that one of its calls takes.
pub(crate) const PIECE: usize = 16 << 10;

/// Pieces that may be written before the first is read: so 64 KiB are written without a change
/// of threads, and no body holds more than 256 KiB. The standard host lets it hold 2 MiB.
pub(crate) const PIECES: usize = 16;

/// What the host may hold of one request at once, in bytes: what was read of its body, and
/// what was written of the answer's and not yet taken.
pub(crate) const BUFFERS: u64 = (CHUNK + PIECE * (PIECES + 1)) as u64;

/// Shadows how WASI 0.2 finishes a body.
pub(crate) fn add_to_linker(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
    type Finish = (Resource<HostOutgoingBody>, Option<Resource<FieldMap>>);
    linker.allow_shadowing(true);
    linker.instance("wasi:http/types@0.2.12")?.func_wrap(
        "[static]outgoing-body.finish",
        |mut store: StoreContextMut<'_, TaskState>, (body, trailers): Finish| {
            let table = store.data_mut().table();
            let body = table.delete(body)?;
            let trailers = match trailers {
                Some(trailers) => table.delete(trailers)?,
                None => FieldMap::default(),
            };
            let finished: Result<(), ErrorCode> = body.finish(Some(trailers));
            Ok((finished,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// A body of which pieces are taken before they are asked for, and what takes them: the guest's
/// side has to poll that.
pub(crate) fn ahead(body: WasiBody) -> (WasiBody, impl Future<Output = ()>) {
    let (pieces, mut taken) = mpsc::channel(PIECES);
    let taken = stream::poll_fn(move |context| taken.poll_recv(context));
    (StreamBody::new(taken).boxed_unsync(), take(body, pieces))
}

async fn take(mut body: WasiBody, pieces: mpsc::Sender<Result<Frame<Bytes>, Error>>) {
    while let Some(piece) = body.frame().await {
        if pieces.send(piece).await.is_err() {
            return;
        }
    }
}

/// A body without the trailers that only say that it was finished.
pub(crate) fn unmarked(body: WasiBody) -> WasiBody {
    Unmarked(body).boxed_unsync()
}

struct Unmarked(WasiBody);

impl Body for Unmarked {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.0).poll_frame(context));
        Poll::Ready(frame.filter(|frame| !frame.as_ref().is_ok_and(is_mark)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// The body of a request that may fail: then what is left of it can be read all the same.
#[derive(Clone)]
pub(crate) struct Lent(Arc<Mutex<WasiBody>>);

impl Lent {
    pub(crate) fn new(body: WasiBody) -> Self {
        Self(Arc::new(Mutex::new(body)))
    }

    /// Reads what is left: whoever writes it is to hear why its request failed, and not that
    /// nobody reads.
    pub(crate) async fn drain(mut self) {
        while let Some(Ok(_)) = self.frame().await {}
    }

    fn body(&self) -> MutexGuard<'_, WasiBody> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Body for Lent {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Pin::new(&mut *self.body()).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body().size_hint()
    }
}

/// Whether it says nothing but that the body was finished.
pub(crate) fn is_mark(frame: &Frame<Bytes>) -> bool {
    frame.trailers_ref().is_some_and(http::HeaderMap::is_empty)
}
