//! Batch tasks for wrun as ordinary Rust functions.
//!
//! A task is a function from one input to one output, marked with [`macro@task`]. Built
//! for `wasm32-wasip2` as a library of type `cdylib`, it is a component that
//! `wrun submit` runs, once or for every index of an array:
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use wrun_sdk::{Error, info, progress, task};
//!
//! #[derive(Deserialize)]
//! struct Request {
//!     numbers: Vec<f64>,
//! }
//!
//! #[derive(Serialize, Debug, PartialEq)]
//! struct Response {
//!     mean: f64,
//! }
//!
//! #[wrun_sdk::task]
//! fn mean(request: Request) -> Result<Response, Error> {
//!     let count = request.numbers.len();
//!     if count == 0 {
//!         return Err(Error::new("there is no mean of nothing"));
//!     }
//!     info!("task {} of {} has {count} numbers", task().index, task().count);
//!     progress(1, 2, "adding");
//!     Ok(Response { mean: request.numbers.iter().sum::<f64>() / count as f64 })
//! }
//!
//! // It is still a function, which `cargo test` calls on the machine that builds it.
//! assert_eq!(mean(Request { numbers: vec![1.0, 2.0] }).unwrap(), Response { mean: 1.5 });
//! ```
//!
//! # Input and output
//!
//! Types of [`serde`] are read and written as JSON, so that `--input request.json` and
//! `wrun output` can be read by people and other programs. `Vec<u8>` and `String`, also
//! lent as `&[u8]` and `&str`, pass as they are. `()` is no bytes, and no input at all is
//! also what an `Option` takes as `None`.
//!
//! # Errors
//!
//! `?` turns any [`std::error::Error`] into an [`Error`], whose message is the task's
//! failure. [`Error::retryable`] and [`Retry::retryable`] mark what another attempt may
//! cure. A panic is a trap, and its message is in the task's log.
//!
//! # Services
//!
//! With the feature `http`, [`macro@http`] makes an async function a service: see the module
//! `http`.
//!
//! # Inference
//!
//! [`nn`] loads models that the job names and runs them; the node shares each with all who use it.
//!
//! # Outside a cluster
//!
//! The context works on the build machine too, so that functions that use it can be
//! tested: [`testing`] says what it answers and remembers what it was told.

pub mod checkpoint;
mod codec;
mod context;
mod error;
pub mod gang;
#[cfg(feature = "http")]
pub mod http;
mod log;
pub mod nn;

#[cfg(not(target_family = "wasm"))]
#[path = "host.rs"]
mod platform;
#[cfg(target_family = "wasm")]
#[path = "guest.rs"]
mod platform;

#[cfg(not(target_family = "wasm"))]
pub mod testing;

pub use context::{Task, progress, stopping, task};
pub use error::{Error, Retry};
pub use log::{Level, log};

/// Makes a function the component's task; one in a component.
///
/// The function takes no argument or one, by value or by reference, and returns a
/// [`Result`] whose error is an [`Error`] or any [`std::error::Error`]:
///
/// ```
/// #[wrun_sdk::task]
/// fn length(text: &str) -> Result<usize, std::num::ParseIntError> {
///     Ok(text.len())
/// }
/// ```
///
/// What cannot be a task does not compile, and says why:
///
/// ```compile_fail
/// #[wrun_sdk::task]
/// async fn length(text: String) -> Result<usize, wrun_sdk::Error> {
///     Ok(text.len())
/// }
/// ```
///
/// ```compile_fail
/// struct Plain; // does not derive serde::Deserialize
///
/// #[wrun_sdk::task]
/// fn consume(_: Plain) -> Result<(), wrun_sdk::Error> {
///     Ok(())
/// }
/// ```
pub use wrun_sdk_macros::task;

/// Makes a function the component's answer to HTTP requests; one in a component.
///
/// The function is `async` or not, takes no argument or one
/// ([`FromRequest`](http::FromRequest)), and returns what can be an answer
/// ([`IntoResponse`](http::IntoResponse)):
///
/// ```
/// #[wrun_sdk::http]
/// async fn hello() -> &'static str {
///     "Hello, world!\n"
/// }
/// ```
///
/// What cannot be a service does not compile, and says why:
///
/// ```compile_fail
/// #[wrun_sdk::http]
/// async fn add(a: u32, b: u32) -> String {
///     (a + b).to_string()
/// }
/// ```
///
/// ```compile_fail
/// struct Plain; // is no response
///
/// #[wrun_sdk::http]
/// async fn plain() -> Plain {
///     Plain
/// }
/// ```
#[cfg(feature = "http")]
pub use wrun_sdk_macros::http;

/// What the attribute's expansion calls. Not for use by hand, and may change.
#[doc(hidden)]
pub mod export {
    pub use crate::codec::{decode, encode};

    /// What a task may return.
    #[diagnostic::on_unimplemented(
        message = "a task returns a `Result`, and `{Self}` is none",
        label = "make it `Result<{Self}, wrun_sdk::Error>`"
    )]
    pub trait Returned {
        /// What succeeded.
        type Output;

        /// With the error that the node is told.
        ///
        /// # Errors
        /// The task's own, whatever type it had.
        fn returned(self) -> Result<Self::Output, crate::Error>;
    }

    impl<T, E: Into<crate::Error>> Returned for Result<T, E> {
        type Output = T;

        fn returned(self) -> Result<T, crate::Error> {
            self.map_err(E::into)
        }
    }

    #[cfg(target_family = "wasm")]
    pub use crate::platform::bindings::{
        self, export_task,
        exports::wrun::task::handler::{Error as HandlerError, Guest},
    };
}
