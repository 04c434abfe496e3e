//! Calling services' functions on the build machine; not there in a component.
//!
//! ```
//! use wrun_sdk::http::{Error, Read, Response, StatusCode, get, testing};
//!
//! async fn weather() -> Result<String, Error> {
//!     let found = get("http://stations.wrun.internal/nearest").await?.text().await?;
//!     Ok(format!("{found}: rain"))
//! }
//!
//! testing::answer_requests(|request| {
//!     assert_eq!(request.uri().path(), "/nearest");
//!     Response::new("harbour".into())
//! });
//! assert_eq!(testing::block_on(weather()).unwrap(), "harbour: rain");
//! ```

use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::{Request, Response};

type Answer = Box<dyn FnMut(Request) -> Response>;

thread_local! {
    static ANSWER: RefCell<Option<Answer>> = const { RefCell::new(None) };
}

/// Runs a future to its end on this thread.
///
/// # Panics
/// When it waits for something that never comes: outside a cluster nothing does.
#[expect(clippy::panic, reason = "a test that would hang is told so")]
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    match future.as_mut().poll(&mut context) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits for something that nobody will bring"),
    }
}

/// Says how requests of this thread are answered from now on; without that they fail.
pub fn answer_requests(answer: impl FnMut(Request) -> Response + 'static) {
    ANSWER.set(Some(Box::new(answer)));
}

/// The answer to a request of the code under test.
pub(super) fn answer_to(request: Request) -> Option<Response> {
    ANSWER.with_borrow_mut(|answer| answer.as_mut().map(|answer| answer(request)))
}
