//! What both attributes do alike: the item stays, with the export or what is wrong beside it.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, ItemFn};

/// The annotated function with what `export` makes of it, or the item with an error of the
/// compiler that says what is wrong.
pub(crate) fn function_with(
    attribute: &str,
    arguments: &TokenStream,
    item: TokenStream,
    export: impl FnOnce(&ItemFn) -> Result<TokenStream, Error>,
) -> TokenStream {
    if !arguments.is_empty() {
        let error = Error::new_spanned(arguments, format!("`{attribute}` takes no arguments"));
        return with_error(&item, &error);
    }
    let Ok(function) = syn::parse2::<ItemFn>(item.clone()) else {
        let error = Error::new_spanned(&item, format!("`{attribute}` goes on a function"));
        return with_error(&item, &error);
    };
    match export(&function) {
        Ok(export) => quote!(#function #export),
        Err(error) => with_error(&item, &error),
    }
}

fn with_error(item: &TokenStream, error: &Error) -> TokenStream {
    let error = error.to_compile_error();
    quote!(#item #error)
}
