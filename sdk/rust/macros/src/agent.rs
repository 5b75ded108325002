//! `#[stride::agent]`

use proc_macro2::TokenStream;
use quote::quote;
use syn::{
    Error, FnArg, ImplItem, ImplItemFn, ItemImpl, LitStr, Result, Type, parse::Parser as _, spanned::Spanned as _,
};

use crate::signature;

pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let block: ItemImpl = syn::parse2(item)?;
    if let Some((_, path, _)) = &block.trait_ {
        return Err(Error::new(path.span(), "goes on the type's own impl block, not on a trait's"));
    }
    if !block.generics.params.is_empty() {
        return Err(Error::new(block.generics.span(), "an agent cannot be generic: its state has to have one shape"));
    }
    let kind = match chosen_name(attribute)? {
        Some(name) => name.value(),
        None => kind_of(&block.self_ty)?,
    };
    let methods: Vec<_> = block.items.iter().filter_map(askable).collect::<Result<_>>()?;
    if methods.is_empty() {
        return Err(Error::new(
            block.self_ty.span(),
            "has no method that takes &self or &mut self, so nothing could be asked",
        ));
    }
    let ty = &block.self_ty;
    let exports = methods.iter().map(|method| {
        let (name, read_only) = (method.name(), method.read_only);
        quote! { ::stride::private::MethodExport { name: #name, read_only: #read_only } }
    });
    let arms = methods.iter().map(|method| method.arm(ty)).collect::<Result<Vec<_>>>()?;
    Ok(quote! {
        #block
        const _: () = {
            fn __serve(
                served: &mut ::core::option::Option<::std::boxed::Box<dyn ::core::any::Any>>,
                method: &str,
                input: ::stride::Payload,
            ) -> ::core::result::Result<::stride::Payload, ::stride::Failure> {
                match method {
                    #(#arms)*
                    other => ::core::result::Result::Err(::stride::Failure::new(
                        ::stride::Code::NotFound,
                        ::std::format!("there is no method `{other}`"),
                    )),
                }
            }
            ::stride::private::inventory::submit! {
                ::stride::private::AgentExport { kind: #kind, methods: &[#(#exports),*], serve: __serve }
            }
        };
    })
}

struct Method<'a> {
    item: &'a ImplItemFn,
    read_only: bool,
}

/// The method of an item, if it has a receiver; associated functions are left alone.
fn askable(item: &ImplItem) -> Option<Result<Method<'_>>> {
    let ImplItem::Fn(item) = item else { return None };
    let Some(FnArg::Receiver(receiver)) = item.sig.inputs.first() else { return None };
    if receiver.reference.is_none() {
        return Some(Err(Error::new(receiver.span(), "take &self or &mut self: an agent outlives its messages")));
    }
    Some(signature::check(&item.sig).map(|()| Method { item, read_only: receiver.mutability.is_none() }))
}

impl Method<'_> {
    fn name(&self) -> String {
        self.item.sig.ident.to_string()
    }

    fn arm(&self, ty: &Type) -> Result<TokenStream> {
        let (text, ident, read_only) = (self.name(), &self.item.sig.ident, self.read_only);
        let arguments = signature::arguments(&self.item.sig)?;
        let names = arguments.iter().map(|(name, _)| name);
        let decode = signature::decode(&arguments);
        let encode = signature::encode(&self.item.sig, &quote! { #ty::#ident(agent, #(#names),*) });
        Ok(quote! {
            #text => ::stride::private::serve_agent::<#ty>(served, #read_only, |agent| {
                #decode
                #encode
            }),
        })
    }
}

fn chosen_name(attribute: TokenStream) -> Result<Option<LitStr>> {
    let mut name = None;
    let parser = syn::meta::parser(|meta| {
        if !meta.path.is_ident("name") {
            return Err(meta.error("unknown option; there is only name = \"...\""));
        }
        name = Some(meta.value()?.parse()?);
        Ok(())
    });
    parser.parse2(attribute)?;
    Ok(name)
}

/// `CrateAudit` is asked as `crate-audit`.
fn kind_of(ty: &Type) -> Result<String> {
    let last = match ty {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    };
    let name = last.ok_or_else(|| Error::new(ty.span(), "an agent is a named type"))?.ident.to_string();
    let mut kind = String::new();
    for (i, c) in name.char_indices() {
        if c.is_uppercase() && i > 0 {
            kind.push('-');
        }
        kind.extend(c.to_lowercase());
    }
    Ok(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(attribute: TokenStream, item: TokenStream, because: &str) {
        let error = expand(attribute, item).unwrap_err().to_string();
        assert!(error.contains(because), "{error}");
    }

    #[test]
    fn the_agent_type_is_the_types_name_in_kebab_case_unless_chosen() {
        let item = quote! { impl CrateAudit { fn get(&self) -> u8 { 1 } } };
        let expanded = expand(TokenStream::new(), item.clone()).unwrap().to_string();
        assert!(expanded.contains("kind : \"crate-audit\""), "{expanded}");
        let expanded = expand(quote! { name = "crate" }, item).unwrap().to_string();
        assert!(expanded.contains("kind : \"crate\""), "{expanded}");
    }

    #[test]
    fn methods_are_read_only_by_their_receiver_and_helpers_are_not_exported() {
        let item = quote! { impl A { fn get(&self) {} fn set(&mut self) {} fn helper() {} } };
        let expanded = expand(TokenStream::new(), item).unwrap().to_string();
        assert!(expanded.contains("name : \"get\" , read_only : true"), "{expanded}");
        assert!(expanded.contains("name : \"set\" , read_only : false"), "{expanded}");
        assert!(!expanded.contains("name : \"helper\""), "{expanded}");
    }

    #[test]
    fn what_cannot_be_an_agent_is_refused_with_the_reason() {
        let none = TokenStream::new;
        refused(none(), quote! { impl A { fn new() {} } }, "nothing could be asked");
        refused(none(), quote! { impl A { fn end(self) {} } }, "&mut self");
        refused(none(), quote! { impl A { async fn get(&self) {} } }, "cannot be async");
        refused(none(), quote! { impl<T> A<T> { fn get(&self) {} } }, "cannot be generic");
        refused(none(), quote! { impl Clone for A { fn clone(&self) -> A { A } } }, "not on a trait's");
        refused(quote! { nmae = "a" }, quote! { impl A { fn get(&self) {} } }, "unknown option");
    }
}
