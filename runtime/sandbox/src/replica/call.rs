//! A request on its way: what its caller and the guest that handles it know of each other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use http::Request;
use wasmtime_wasi_http::WasiBody;

use super::instance::Instance;
use crate::{Body, CallError, hops};

/// A response as a guest gives it.
pub(super) struct Given {
    pub(super) response: http::Response<WasiBody>,
    /// Whether trailers, which may be empty, mark the end of its body: see
    /// [`crate::bodies`].
    pub(super) marked: bool,
}

/// One request, from when it is taken until both sides are done with it.
pub(crate) struct Call {
    pub(super) deadline: Instant,
    /// How often it went from service to service.
    pub(super) hops: u32,
    /// Its answer has no body, whatever the head says of it.
    pub(super) bodiless: bool,
    state: Mutex<State>,
}

struct State {
    stage: Stage,
    request: Option<Request<Body>>,
    given: Option<Given>,
    /// What became of it, where that is no whole answer.
    failure: Option<CallError>,
    /// The caller may have what the guest has given.
    told: bool,
    /// The guest writes nothing more.
    returned: bool,
    /// Whose turn it is to be told: the caller, and the instance.
    caller: Option<Waker>,
    guest: Option<Waker>,
    instance: Option<Arc<Instance>>,
}

/// Where a request was when its caller was done with it.
pub(super) enum Closed {
    /// No instance has it yet.
    Unassigned,
    /// This one has it, and is rid of it now.
    With(Arc<Instance>),
    /// Its instance sees to it, or was done with it.
    Gone,
}

/// How far the guest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No guest has seen anything of it.
    Waiting,
    /// A guest has it.
    Begun,
    /// The guest has given the head of its answer.
    Answered,
    /// The caller wants nothing more of it.
    Over,
}

impl Call {
    pub(super) fn new(mut request: Request<Body>, deadline: Instant) -> Arc<Self> {
        let hops = hops::take(request.headers_mut());
        let bodiless = request.method() == http::Method::HEAD;
        let state = State {
            stage: Stage::Waiting,
            request: Some(request),
            given: None,
            failure: None,
            told: false,
            returned: false,
            caller: None,
            guest: None,
            instance: None,
        };
        Arc::new(Self { deadline, hops, bodiless, state: Mutex::new(state) })
    }

    /// It is for that instance.
    pub(super) fn assign(&self, instance: &Arc<Instance>) {
        self.state().instance = Some(Arc::clone(instance));
    }

    /// The guest begins with it; `None` if nobody wants it anymore.
    pub(super) fn begin(&self) -> Option<Request<Body>> {
        let mut state = self.state();
        if state.failure.is_some() || state.stage != Stage::Waiting {
            return None;
        }
        state.stage = Stage::Begun;
        state.request.take()
    }

    /// The guest's answer. The caller has it from [`Self::tell`] on.
    pub(super) fn answer(&self, given: Given) {
        let mut state = self.state();
        if state.stage == Stage::Begun && state.failure.is_none() {
            state.stage = Stage::Answered;
            state.given = Some(given);
        }
    }

    /// Lets the caller look.
    pub(super) fn tell(&self) {
        let mut state = self.state();
        state.told = true;
        let caller = state.caller.take();
        drop(state);
        wake((caller, None));
    }

    /// There will be no whole answer. `false` if the caller does not hear of it: it has had
    /// one, or another error, or has gone.
    pub(super) fn fail(&self, error: impl FnOnce(bool) -> CallError) -> bool {
        let mut state = self.state();
        if state.stage == Stage::Over || state.failure.is_some() {
            return false;
        }
        state.failure = Some(error(state.stage != Stage::Waiting));
        let wakers = (state.caller.take(), state.guest.take());
        drop(state);
        wake(wakers);
        true
    }

    /// The guest has returned and writes nothing more. Returns whether it has answered.
    pub(super) fn on_return(&self) -> bool {
        let mut state = self.state();
        state.returned = true;
        state.stage != Stage::Begun
    }

    /// What the guest answered, for the caller.
    pub(super) fn poll_answer(&self, context: &mut Context<'_>) -> Poll<Result<Given, CallError>> {
        let mut state = self.state();
        if let Some(failure) = &state.failure {
            return Poll::Ready(Err(failure.clone()));
        }
        let told = state.told;
        if let Some(given) = state.given.take_if(|_| told) {
            return Poll::Ready(Ok(given));
        }
        wait(&mut state.caller, context);
        Poll::Pending
    }

    /// Why there will be no more of a body of which there is nothing now.
    pub(super) fn poll_broken(&self, context: &mut Context<'_>) -> Poll<CallError> {
        let mut state = self.state();
        if let Some(failure) = &state.failure {
            return Poll::Ready(failure.clone());
        }
        if state.returned {
            return Poll::Ready(CallError::Unfinished);
        }
        wait(&mut state.caller, context);
        Poll::Pending
    }

    pub(super) fn failure(&self) -> Option<CallError> {
        self.state().failure.clone()
    }

    /// Ready when nothing more is wanted of the guest.
    pub(super) fn poll_done(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.is_done() {
            return Poll::Ready(());
        }
        wait(&mut state.guest, context);
        Poll::Pending
    }

    /// Whether nothing more is wanted of the guest.
    pub(super) fn is_done(&self) -> bool {
        self.state().is_done()
    }

    /// The caller is done with it; `kept`: the instance is not yet.
    pub(super) fn close(&self, kept: bool) -> Closed {
        let mut state = self.state();
        let waited = state.stage == Stage::Waiting;
        state.stage = Stage::Over;
        let (request, given) = (state.request.take(), state.given.take());
        let guest = state.guest.take();
        let instance = if kept { None } else { state.instance.take() };
        drop(state);
        drop((request, given));
        wake((None, guest));
        match instance {
            Some(instance) => Closed::With(instance),
            None if waited => Closed::Unassigned,
            None => Closed::Gone,
        }
    }

    /// The guest is done with it. `false` if the caller was before.
    pub(super) fn leave(&self) -> bool {
        let mut state = self.state();
        let instance = state.instance.take();
        let guest = state.guest.take();
        drop(state);
        drop(guest);
        instance.is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_done(&self) -> bool {
        self.stage == Stage::Over || self.failure.is_some()
    }
}

fn wait(place: &mut Option<Waker>, context: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(context.waker()),
        None => *place = Some(context.waker().clone()),
    }
}

fn wake((first, second): (Option<Waker>, Option<Waker>)) {
    for waker in [first, second].into_iter().flatten() {
        waker.wake();
    }
}
