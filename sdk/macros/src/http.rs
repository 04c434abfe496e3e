//! Checks the signature of a service's function and writes the export.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, FnArg, ItemFn, ReturnType};

use crate::refusal;

/// What replaces the annotated item: the item, and the export or what is wrong.
pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> TokenStream {
    refusal::function_with("#[http]", &attribute, item, export)
}

fn export(function: &ItemFn) -> Result<TokenStream, Error> {
    check(function)?;
    let name = &function.sig.ident;
    let (taken, passed) = match function.sig.inputs.first() {
        Some(FnArg::Typed(argument)) => {
            let taken = &argument.ty;
            // Spans decide which part of the function the compiler points at.
            (quote_spanned!(taken.span()=> |argument: #taken|), quote!(argument))
        }
        Some(FnArg::Receiver(_)) | None => (quote!(|(): ()|), quote!()),
    };
    let returned = match &function.sig.output {
        ReturnType::Type(_, returned) => returned.span(),
        ReturnType::Default => function.sig.ident.span(),
    };
    let called = if function.sig.asyncness.is_some() {
        quote_spanned!(returned=> #name(#passed))
    } else {
        quote_spanned!(returned=> ::core::future::ready(#name(#passed)))
    };
    let answered =
        quote_spanned!(returned=> ::wrun_sdk::http::export::answer(request, #taken #called));
    // Names that no function or type of a guest has, since its own are looked up in here.
    Ok(quote! {
        const _: () = {
            async fn wrun_exported_service(request: ::wrun_sdk::http::Request) -> ::wrun_sdk::http::Response {
                #answered.await
            }

            #[cfg(not(target_family = "wasm"))]
            const _: fn() = || {
                let _ = wrun_exported_service;
            };

            #[cfg(target_family = "wasm")]
            struct WrunExportedService;

            #[cfg(target_family = "wasm")]
            impl ::wrun_sdk::http::export::wasip2::exports::http::incoming_handler::Guest
                for WrunExportedService
            {
                fn handle(
                    request: ::wrun_sdk::http::export::IncomingRequest,
                    out: ::wrun_sdk::http::export::ResponseOutparam,
                ) {
                    ::wrun_sdk::http::export::serve(request, out, wrun_exported_service);
                }
            }

            #[cfg(target_family = "wasm")]
            ::wrun_sdk::http::export::wasip2::http::proxy::export!(
                WrunExportedService with_types_in ::wrun_sdk::http::export::wasip2
            );
        };
    })
}

fn check(function: &ItemFn) -> Result<(), Error> {
    refusal::check_callable(function, "a service", "the request")?;
    if let Some(extra) = function.sig.inputs.iter().nth(1) {
        let text = "a service takes one argument: a `Request` has all there is";
        return Err(Error::new_spanned(extra, text));
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
    fn the_function_stays_as_it_was_async_or_not() {
        let text = expanded("pub async fn f(r: Request) -> Response { r }");
        assert!(text.starts_with("pub async fn f (r : Request) -> Response { r }"), "{text}");
        assert!(text.contains("| argument : Request | f (argument)"), "{text}");
        assert!(expanded("fn f() -> R { }").contains("| () : () | :: core :: future :: ready"));
    }

    #[test]
    fn a_function_may_have_any_name() {
        let text = expanded("async fn answer(r: Request) -> Response { r }");
        assert_eq!(text.matches("fn answer").count(), 1, "{text}");
    }

    #[test]
    fn what_cannot_be_a_service_is_told_what_to_do() {
        assert!(refusal("struct S;").contains("`#[http]` goes on a function"));
        assert!(refusal("unsafe fn f() -> R { }").contains("remove `unsafe`"));
        assert!(refusal("async fn f<T>(x: T) -> R { }").contains("not generic"));
        assert!(refusal("async fn f(a: u8, b: u8) -> R { }").contains("one argument"));
        assert!(refusal("async fn f(&self) -> R { }").contains("free function"));
        let function: TokenStream = "async fn f() -> R { }".parse().unwrap();
        assert!(refused(expand(quote!(path = "x"), function)).contains("takes no arguments"));
    }
}
