//! What both attributes do alike: the item stays, with the export or what is wrong beside it.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, FnArg, ItemFn};

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

/// Refuses what no function can be that the host calls; `what` it is, and what it takes.
pub(crate) fn check_callable(function: &ItemFn, what: &str, taken: &str) -> Result<(), Error> {
    let signature = &function.sig;
    if let Some(token) = &signature.unsafety {
        let text = format!("{what} is called by safe code: remove `unsafe`");
        return Err(Error::new_spanned(token, text));
    }
    if !signature.generics.params.is_empty() {
        let text = format!("{what} is not generic: what it takes and returns are given types");
        return Err(Error::new_spanned(&signature.generics, text));
    }
    if let Some(FnArg::Receiver(receiver)) = signature.inputs.first() {
        let text = format!("{what} is a free function: take {taken} as the argument");
        return Err(Error::new_spanned(receiver, text));
    }
    Ok(())
}

/// What an attribute makes of an item that it refuses, for tests.
#[cfg(test)]
pub(crate) fn refused(expanded: TokenStream) -> String {
    let text = expanded.to_string();
    assert!(text.contains("compile_error"), "{text}");
    text
}

fn with_error(item: &TokenStream, error: &Error) -> TokenStream {
    let error = error.to_compile_error();
    quote!(#item #error)
}
