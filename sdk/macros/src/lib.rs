//! The attributes `#[wrun_sdk::task]` and `#[wrun_sdk::http]`. They are documented where
//! `wrun-sdk` re-exports them.
//!
//! The function stays as it was written, so that it can be called from tests; beside it
//! the component's export appears, on WebAssembly only.

mod http;
mod refusal;
mod task;

use proc_macro::TokenStream;

/// Makes a function the component's task. See `wrun_sdk::task`.
#[proc_macro_attribute]
pub fn task(attribute: TokenStream, item: TokenStream) -> TokenStream {
    task::expand(attribute.into(), item.into()).into()
}

/// Makes a function the component's answer to HTTP requests. See `wrun_sdk::http`.
#[proc_macro_attribute]
pub fn http(attribute: TokenStream, item: TokenStream) -> TokenStream {
    http::expand(attribute.into(), item.into()).into()
}
