//! Checks the function's signature and writes the export.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, FnArg, ItemFn, ReturnType, Type};

use crate::refusal;

/// What replaces the annotated item: the item, and the export or what is wrong.
pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> TokenStream {
    refusal::function_with("#[task]", &attribute, item, export)
}

fn export(function: &ItemFn) -> Result<TokenStream, Error> {
    check(function)?;
    let name = &function.sig.ident;
    let call = match function.sig.inputs.first() {
        Some(FnArg::Typed(argument)) => decoded_call(function, &argument.ty),
        Some(FnArg::Receiver(_)) | None => quote!(#name()),
    };
    let returned = match &function.sig.output {
        ReturnType::Type(_, returned) => returned.span(),
        ReturnType::Default => function.sig.ident.span(),
    };
    // Spans decide which part of the function the compiler points at.
    let encoded = quote_spanned! {returned=>
        ::wrun_sdk::export::encode(::wrun_sdk::export::Returned::returned(#call)?)
    };
    // Names that no function or type of a guest has, since its own are looked up in here.
    Ok(quote! {
        const _: () = {
            fn wrun_exported_task(
                input: ::std::vec::Vec<u8>,
            ) -> ::core::result::Result<::std::vec::Vec<u8>, ::wrun_sdk::Error> {
                let _ = &input;
                #encoded
            }

            #[cfg(not(target_family = "wasm"))]
            const _: fn(
                ::std::vec::Vec<u8>,
            ) -> ::core::result::Result<::std::vec::Vec<u8>, ::wrun_sdk::Error> = wrun_exported_task;

            #[cfg(target_family = "wasm")]
            struct WrunExportedTask;

            #[cfg(target_family = "wasm")]
            impl ::wrun_sdk::export::Guest for WrunExportedTask {
                fn handle(
                    input: ::std::vec::Vec<u8>,
                ) -> ::core::result::Result<::std::vec::Vec<u8>, ::wrun_sdk::export::HandlerError>
                {
                    wrun_exported_task(input).map_err(::wrun_sdk::Error::into)
                }
            }

            #[cfg(target_family = "wasm")]
            ::wrun_sdk::export::export_task!(WrunExportedTask with_types_in ::wrun_sdk::export::bindings);
        };
    })
}

/// The call with its argument decoded; a reference is lent what was decoded.
fn decoded_call(function: &ItemFn, argument: &Type) -> TokenStream {
    let name = &function.sig.ident;
    let span = argument.span();
    match argument {
        Type::Reference(reference) => {
            let owned = match &*reference.elem {
                Type::Slice(slice) => {
                    let element = &slice.elem;
                    quote!(::std::vec::Vec<#element>)
                }
                Type::Path(path) if path.path.is_ident("str") => quote!(::std::string::String),
                other => quote!(#other),
            };
            quote_spanned!(span=> #name(&::wrun_sdk::export::decode::<#owned>(input)?))
        }
        owned => quote_spanned!(span=> #name(::wrun_sdk::export::decode::<#owned>(input)?)),
    }
}

fn check(function: &ItemFn) -> Result<(), Error> {
    let signature = &function.sig;
    if let Some(token) = &signature.asyncness {
        return Err(Error::new_spanned(token, "a task is not async: it has its thread to itself"));
    }
    refusal::check_callable(function, "a task", "its input")?;
    if let Some(extra) = signature.inputs.iter().nth(1) {
        return Err(Error::new_spanned(
            extra,
            "a task has one input: put several values into a struct that derives `serde::Deserialize`",
        ));
    }
    if let Some(FnArg::Typed(argument)) = signature.inputs.first()
        && let Type::Reference(reference) = &*argument.ty
        && reference.mutability.is_some()
    {
        return Err(Error::new_spanned(&argument.ty, "take the input by value to change it"));
    }
    if matches!(signature.output, ReturnType::Default) {
        return Err(Error::new_spanned(
            &signature.ident,
            "a task returns a `Result`: `-> Result<Output, wrun_sdk::Error>`, or `Result<(), _>` for none",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::refused;

    fn expanded(item: &str) -> String {
        expand(TokenStream::new(), item.parse().unwrap()).to_string()
    }

    fn refusal(item: &str) -> String {
        refused(expand(TokenStream::new(), item.parse().unwrap()))
    }

    #[test]
    fn the_function_stays_as_it_was() {
        let text = expanded("pub fn f(x: u32) -> Result<u32, Error> { Ok(x) }");
        assert!(text.starts_with("pub fn f (x : u32) -> Result < u32 , Error > { Ok (x) }"));
        assert!(text.contains("decode :: < u32 >"), "{text}");
    }

    #[test]
    fn a_function_and_a_type_may_have_any_name() {
        let text = expanded("fn run(x: Component) -> Result<Component, Error> { Ok(x) }");
        assert_eq!(text.matches("fn run").count(), 1, "{text}");
        assert!(!text.contains("struct Component"), "{text}");
    }

    #[test]
    fn references_are_lent_what_they_refer_to() {
        assert!(expanded("fn f(x: &[u8]) -> R { x }").contains("Vec < u8 >"));
        assert!(expanded("fn f(x: &str) -> R { x }").contains("String"));
        assert!(expanded("fn f(x: &Job) -> R { x }").contains("decode :: < Job >"));
    }

    #[test]
    fn what_cannot_be_a_task_is_told_what_to_do() {
        assert!(refusal("struct S;").contains("goes on a function"));
        assert!(refusal("async fn f() -> R { }").contains("not async"));
        assert!(refusal("unsafe fn f() -> R { }").contains("remove `unsafe`"));
        assert!(refusal("fn f<T>(x: T) -> R { }").contains("not generic"));
        assert!(refusal("fn f(a: u8, b: u8) -> R { }").contains("one input"));
        assert!(refusal("fn f(&self) -> R { }").contains("free function"));
        assert!(refusal("fn f(x: &mut J) -> R { }").contains("by value"));
        assert!(refusal("fn f(x: u8) { }").contains("returns a `Result`"));
        let function: TokenStream = "fn f() -> R { }".parse().unwrap();
        assert!(refused(expand(quote!(name = "x"), function)).contains("takes no arguments"));
    }
}
