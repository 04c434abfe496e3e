//! The attribute `#[wrun_sdk::task]`. It is documented where `wrun-sdk` re-exports it.
//!
//! The function stays as it was written, so that it can be called from tests; beside it
//! the component's export appears, on WebAssembly only.

mod task;

use proc_macro::TokenStream;

/// Makes a function the component's task. See `wrun_sdk::task`.
#[proc_macro_attribute]
pub fn task(attribute: TokenStream, item: TokenStream) -> TokenStream {
    task::expand(attribute.into(), item.into()).into()
}
