//! What an instance does: takes requests, hands them to the guest, passes its answers on.
//! One way for WASI 0.2, which has one request at a time, and one for 0.3.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::Request;
use wasmtime::component::{Accessor, Resource};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};
use wasmtime_wasi_http::p3;
use wasmtime_wasi_http::p3::bindings::{Service, ServicePre};
use wasmtime_wasi_http::{Error, WasiHttpView};
use wrun_protocol::task::{Failure, Limit, Outcome};

use super::call::{Call, Given};
use super::instance::{Ended, Instance};
use crate::link::Entry;
use crate::outcome::Stage;
use crate::state::{Input, Own, TaskState};
use crate::store::Bounded;
use crate::{Body, BodyError, CallError, bodies};

/// Runs to its end. Dropping the future ends the guest and frees what it holds. The store
/// comes back with the end: when it goes, bodies that the guest had not finished end, and
/// their readers are to know why by then.
pub(super) async fn serve(instance: Arc<Instance>) -> (Ended, Bounded) {
    let batch = Arc::clone(&instance.dispatch.batch);
    let mut guest = bounded(&instance);
    let ended = match &batch.prepared.entry {
        Entry::Http(pre) => plain(&instance, pre, &mut guest).await,
        Entry::ConcurrentHttp(pre) => concurrent(&instance, pre, &mut guest).await,
        Entry::Command(_) | Entry::ConcurrentCommand(..) | Entry::Handler(_) => {
            Err(CallError::Setup { message: "it answers no HTTP requests".to_owned() })
        }
    };
    (ended, guest)
}

fn bounded(instance: &Arc<Instance>) -> Bounded {
    let identity = &instance.dispatch.identity;
    let (index, attempt) = (identity.index, identity.attempt);
    let own = Own { index, attempt, input: Input::Empty, checkpoint: None };
    let mut state = TaskState::new(&instance.control, own);
    state.instance = Some(Arc::clone(instance));
    Bounded::new(&instance.control, state)
}

/// The value, or how it ended the instance.
fn step<T>(guest: &mut Bounded, result: wasmtime::Result<T>, stage: Stage) -> Result<T, CallError> {
    guest.step(result, stage).map_err(ending)
}

/// What an outcome means to a request.
fn ending(outcome: Outcome) -> CallError {
    match outcome {
        Outcome::Succeeded => CallError::Exit { code: 0 },
        Outcome::Failed(Failure::Exit { code }) => CallError::Exit { code },
        Outcome::Failed(Failure::Limit { limit, allowed }) => CallError::Limit { limit, allowed },
        Outcome::Failed(Failure::Setup { message }) => CallError::Setup { message },
        Outcome::Failed(Failure::Trap { message }) => CallError::Trap { message },
        Outcome::Failed(Failure::Cancelled) => CallError::Stopped,
        other => CallError::Trap { message: other.to_string() },
    }
}

async fn plain(instance: &Arc<Instance>, pre: &ProxyPre<TaskState>, guest: &mut Bounded) -> Ended {
    let made = pre.instantiate_async(&mut guest.store).await;
    let proxy = step(guest, made, Stage::Setup)?;
    while let Some((call, request)) = poll_fn(|context| instance.poll_next(context)).await {
        charge(instance)?;
        let handed = hand_over(guest.store.data_mut(), instance, &call, request);
        let (request, out) = step(guest, handed, Stage::Guest)?;
        let handler = proxy.wasi_http_incoming_handler();
        let handled = handler.call_handle(&mut guest.store, request, out).await;
        step(guest, handled, Stage::Guest)?;
        let answered = call.on_return();
        // Before its caller hears of it: the next request finds the instance free.
        instance.on_done(&call);
        if answered {
            call.tell();
        } else {
            instance.dispatch.fail(&call, |_| CallError::NoResponse);
        }
    }
    Ok(())
}

fn charge(instance: &Instance) -> Result<(), CallError> {
    if instance.charge() {
        return Ok(());
    }
    let allowed = instance.control.account.limit();
    Err(CallError::Limit { limit: Limit::Memory, allowed })
}

type Handed = (Resource<HostIncomingRequest>, Resource<HostResponseOutparam>);

fn hand_over(
    state: &mut TaskState,
    instance: &Arc<Instance>,
    call: &Arc<Call>,
    request: Request<Body>,
) -> wasmtime::Result<Handed> {
    let secure = request.uri().scheme() == Some(&http::uri::Scheme::HTTPS);
    let scheme = if secure { Scheme::Https } else { Scheme::Http };
    let request = request.map(|body| http_body_util::BodyExt::map_err(body, broken));
    state.hops_mut().handle(call.hops);
    let mut view = state.http();
    let request = view.new_incoming_request(scheme, request)?;
    let (instance, call) = (Arc::clone(instance), Arc::clone(call));
    let out = view.new_response_outparam_from_callback(move |answer| match answer {
        Ok(response) => {
            call.answer(Given { response, marked: true });
            instance.on_answer(&call);
        }
        Err(code) => {
            instance.dispatch.fail(&call, |_| CallError::Refused { code: format!("{code:?}") });
        }
    })?;
    Ok((request, out))
}

/// The client broke off.
fn broken(error: BodyError) -> Error {
    Error::InternalError(Some(error.to_string()))
}

async fn concurrent(
    instance: &Arc<Instance>,
    pre: &ServicePre<TaskState>,
    guest: &mut Bounded,
) -> Ended {
    let made = pre.instantiate_async(&mut guest.store).await;
    let service = step(guest, made, Stage::Setup)?;
    let ran =
        guest.store.run_concurrent(async |accessor| serve_all(accessor, instance, &service).await);
    let ran = ran.await.and_then(|ran| ran);
    step(guest, ran, Stage::Guest)
}

/// Until there will be no more requests, and the guest has nothing left to do.
async fn serve_all(
    accessor: &Accessor<TaskState>,
    instance: &Arc<Instance>,
    service: &Service,
) -> wasmtime::Result<()> {
    let function = *service.wasi_http_handler().func_handle().func();
    let mut under_way = FuturesUnordered::new();
    let mut last = false;
    poll_fn(|context| {
        loop {
            match under_way.poll_next_unpin(context) {
                Poll::Ready(Some(Ok(()))) => continue,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) | Poll::Pending => {}
            }
            let ready = accessor.poll_ready_for_concurrent_call(function, context).is_ready();
            if ready && !last {
                match instance.poll_next(context) {
                    Poll::Ready(Some((call, request))) => {
                        under_way.push(handle(accessor, instance, service, call, request));
                        continue;
                    }
                    Poll::Ready(None) => last = true,
                    Poll::Pending => {}
                }
            }
            let idle = last && under_way.is_empty();
            let ends = idle
                && (instance.is_abandoned()
                    || accessor.poll_no_interesting_tasks(context).is_ready());
            return if ends { Poll::Ready(Ok(())) } else { Poll::Pending };
        }
    })
    .await
}

/// What became of passing a request's body on.
type Io = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// One request, until the guest has given all of the answer or its caller wants none.
async fn handle(
    accessor: &Accessor<TaskState>,
    instance: &Arc<Instance>,
    service: &Service,
    call: Arc<Call>,
    request: Request<Body>,
) -> wasmtime::Result<()> {
    if let Err(error) = charge(instance) {
        instance.dispatch.fail(&call, |_| error);
        instance.on_done(&call);
        return Ok(());
    }
    let handler = service.wasi_http_handler().func_handle();
    let answered = async {
        let (begun, io) = accessor.with(|mut access| {
            let view = access.get().http();
            let request = request.map(|body| http_body_util::BodyExt::map_err(body, broken));
            let (request, io) = p3::Request::from_http(view.hooks, request);
            let io: Io = Box::pin(io);
            let request = view.table.push(request)?;
            let begun = handler.start_call_concurrent(&mut access, (request,))?;
            access.get().hops_mut().begin(begun.task(), call.hops);
            wasmtime::error::Ok((begun, io))
        })?;
        let (told,) = handler.finish_call_concurrent(accessor, begun).await?;
        match told {
            Ok(response) => {
                let response = accessor.with(|mut access| {
                    let response = access.get().http().table.delete(response)?;
                    response.into_http(&mut access, io)
                })?;
                let (head, body) = response.into_parts();
                let (body, taking) = bodies::ahead(body);
                let response = http::Response::from_parts(head, body);
                call.answer(Given { response, marked: false });
                instance.on_answer(&call);
                taking.await;
            }
            Err(code) => {
                let code = format!("{code:?}");
                instance.dispatch.fail(&call, |_| CallError::Refused { code });
            }
        }
        wasmtime::error::Ok(())
    };
    let mut answered = pin!(answered);
    // Once all of the answer is where its caller takes it from, the instance is free for the
    // next request: it needs no turn to hear that it was read.
    poll_fn(|context| {
        if call.poll_done(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        answered.as_mut().poll(context)
    })
    .await?;
    instance.on_done(&call);
    Ok(())
}
