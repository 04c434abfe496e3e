//! How often a request went from service to service before it came to this guest. A guest's
//! own calls of services go on with the count of the request which they are part of, so that
//! a circle of services ends: the node sets it, whatever the guest says.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use wasmtime::component::{Accessor, GuestTaskId, Linker, Resource};
use wasmtime::{AsContextMut, StoreContextMut};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p2::types::{HostFutureIncomingResponse, HostOutgoingRequest};
use wasmtime_wasi_http::p3;
use wasmtime_wasi_http::{RequestOptions, WasiHttp};
use wrun_protocol::service::{HOPS, MAX_HOPS};

use crate::state::TaskState;

const FIELD: HeaderName = HeaderName::from_static(HOPS);

/// The counts of the requests that an instance handles.
#[derive(Default)]
pub(crate) struct Hops {
    /// That of what the guest sends now. One of WASI 0.2 handles one request at a time.
    now: u32,
    /// With WASI 0.3 by the task that handles the request. Without one it is zero. A task's
    /// entry stays for what it does after its answer, until another task has its number:
    /// there are as many as tasks at once.
    of_tasks: BTreeMap<GuestTaskId, u32>,
}

impl Hops {
    /// The guest handles one request, and no other.
    pub(crate) fn handle(&mut self, hops: u32) {
        self.now = hops;
    }

    /// This task of the guest handles a request, beside others.
    pub(crate) fn begin(&mut self, task: GuestTaskId, hops: u32) {
        if hops > 0 {
            self.of_tasks.insert(task, hops);
        } else if !self.of_tasks.is_empty() {
            self.of_tasks.remove(&task);
        }
    }

    /// That of what the guest sends now.
    pub(crate) fn now(&self) -> u32 {
        self.now
    }
}

/// Takes the count from a request: guests need not see it.
pub(crate) fn take(fields: &mut HeaderMap) -> u32 {
    let Some(value) = fields.remove(FIELD) else { return 0 };
    let hops = value.to_str().ok().and_then(|text| text.parse().ok());
    // Gateways say nothing else; should one, its request goes no further.
    hops.unwrap_or(MAX_HOPS)
}

/// Puts the count on a request, in place of what the guest says.
pub(crate) fn put(fields: &mut HeaderMap, hops: u32) {
    fields.insert(FIELD, HeaderValue::from(hops));
}

/// Shadows what sends requests, in both worlds, where a guest may handle several at once: the
/// engine knows which of its tasks it is that sends.
pub(crate) fn add_concurrent_to_linker(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
    type Sent = (Resource<HostOutgoingRequest>, Option<Resource<RequestOptions>>);
    type Answer = Result<Resource<HostFutureIncomingResponse>, ErrorCode>;
    linker.allow_shadowing(true);
    linker.instance("wasi:http/client@0.3.0")?.func_wrap_concurrent(
        "send",
        |accessor: &Accessor<TaskState>, (request,): (Resource<p3::Request>,)| {
            Box::pin(async move {
                accessor.with(|mut access| look(access.as_context_mut()))?;
                let accessor = accessor.with_getter::<WasiHttp>(TaskState::http);
                // It asks [`crate::http`] before it waits for anything.
                let sent = p3::bindings::http::client::HostWithStore::send(&accessor, request);
                Ok((match sent.await {
                    Ok(response) => Ok(response),
                    Err(error) => Err(error.downcast()?),
                },))
            })
        },
    )?;
    linker.instance("wasi:http/outgoing-handler@0.2.12")?.func_wrap(
        "handle",
        |mut store: StoreContextMut<'_, TaskState>, (request, options): Sent| {
            look(store.as_context_mut())?;
            let mut view = store.data_mut().http();
            let sent = outgoing_handler::Host::handle(&mut view, request, options);
            let answer: Answer = match sent {
                Ok(response) => Ok(response),
                Err(error) => Err(error.downcast()?),
            };
            Ok((answer,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Finds the task that sends.
fn look(mut store: StoreContextMut<'_, TaskState>) -> wasmtime::Result<()> {
    if store.data().hops().of_tasks.is_empty() {
        store.data_mut().hops_mut().now = 0;
        return Ok(());
    }
    // The first of all is the one that the host called.
    let task = store.async_call_stack()?.last();
    let hops = store.data_mut().hops_mut();
    hops.now = task.and_then(|task| hops.of_tasks.get(&task)).copied().unwrap_or(0);
    Ok(())
}
