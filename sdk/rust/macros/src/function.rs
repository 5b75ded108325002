//! `#[stride::function]`

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, ItemFn, Result, spanned::Spanned as _};

use crate::signature;

pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> Result<TokenStream> {
    if !attribute.is_empty() {
        return Err(Error::new(attribute.span(), "takes no options; limits are in stride.toml"));
    }
    let function: ItemFn = syn::parse2(item)?;
    signature::check(&function.sig)?;
    let arguments = signature::arguments(&function.sig)?;
    let (ident, input) = (&function.sig.ident, signature::input());
    let name = signature::name(ident);
    let conditions = signature::conditions(&function.attrs);
    let variables = signature::variables(&arguments);
    let decode = signature::decode(&arguments);
    let encode = signature::encode(&function.sig, &quote! { #ident(#(#variables),*) });
    Ok(quote! {
        #function
        #(#conditions)*
        const _: () = {
            fn __call(#input: ::stride::Payload) -> ::core::result::Result<::stride::Payload, ::stride::Failure> {
                #decode
                #encode
            }
            ::stride::private::inventory::submit! {
                ::stride::private::FunctionExport { name: #name, call: __call }
            }
        };
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(item: TokenStream, because: &str) {
        let error = expand(TokenStream::new(), item).unwrap_err().to_string();
        assert!(error.contains(because), "{error}");
    }

    #[test]
    fn a_function_stays_as_it_is_and_is_registered_under_its_name() {
        let item = quote! { fn shout(text: String) -> String { text.to_uppercase() } };
        let expanded = expand(TokenStream::new(), item.clone()).unwrap().to_string();
        assert!(expanded.starts_with(&item.to_string()));
        assert!(expanded.contains("name : \"shout\""), "{expanded}");
        let expanded = expand(TokenStream::new(), quote! { fn r#type() {} }).unwrap().to_string();
        assert!(expanded.contains("name : \"type\""), "{expanded}");
    }

    #[test]
    fn what_cannot_be_called_is_refused_with_the_reason() {
        refused(quote! { async fn f() {} }, "cannot be async");
        refused(quote! { unsafe fn f() {} }, "cannot be unsafe");
        refused(quote! { fn f<T>(t: T) {} }, "cannot be generic");
        refused(quote! { fn f(text: &str) {} }, "by value");
        refused(quote! { fn f(text: impl Into<String>) {} }, "concrete type");
        refused(quote! { fn f((a, b): (u8, u8)) {} }, "plain name");
        refused(quote! { fn f(n: u8, all: Payload) {} }, "the only argument");
        refused(quote! { fn _f() {} }, "start with a letter");
        refused(quote! { struct S; }, "expected `fn`");
        let error = expand(quote! { memory = 1 }, quote! { fn f() {} }).unwrap_err().to_string();
        assert!(error.contains("stride.toml"), "{error}");
    }
}
