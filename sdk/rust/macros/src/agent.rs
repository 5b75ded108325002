//! `#[stride::agent]`

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{
    Error, FnArg, Ident, ImplItem, ImplItemFn, ItemImpl, LitStr, Path, Result, Type, parse::Parser as _,
    spanned::Spanned as _,
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
    let Options { name, migrate } = options(attribute)?;
    let kind = match name {
        Some(name) => checked(name.value(), name.span())?,
        None => kind_of(&block.self_ty)?,
    };
    let methods: Vec<_> = block.items.iter().filter_map(askable).collect::<Result<_>>()?;
    if methods.is_empty() {
        return Err(Error::new(
            block.self_ty.span(),
            "has no method that takes &self or &mut self, so nothing could be asked",
        ));
    }
    let (ty, input) = (&block.self_ty, signature::input());
    let migrate = match migrate {
        Some(function) => quote! { || ::stride::private::change_state::<_, #ty, _>(#function) },
        None => quote! { ::stride::private::keep_state },
    };
    let exports = methods.iter().map(Method::export);
    let arms = methods.iter().map(|method| method.arm(ty)).collect::<Result<Vec<_>>>()?;
    Ok(quote! {
        #block
        const _: () = {
            fn __serve(
                served: &mut ::stride::private::Served,
                method: &str,
                #input: ::stride::Payload,
            ) -> ::core::result::Result<::stride::Payload, ::stride::Failure> {
                match method {
                    #(#arms)*
                    other => ::core::result::Result::Err(::stride::private::no_method(other)),
                }
            }
            ::stride::private::inventory::submit! {
                ::stride::private::AgentExport {
                    kind: #kind,
                    methods: &[#(#exports),*],
                    serve: __serve,
                    migrate: #migrate,
                }
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
    fn export(&self) -> TokenStream {
        let (name, read_only) = (signature::name(&self.item.sig.ident), self.read_only);
        let conditions = signature::conditions(&self.item.attrs);
        quote! { #(#conditions)* ::stride::private::MethodExport { name: #name, read_only: #read_only } }
    }

    fn arm(&self, ty: &Type) -> Result<TokenStream> {
        let (ident, read_only) = (&self.item.sig.ident, self.read_only);
        let name = signature::name(ident);
        let conditions = signature::conditions(&self.item.attrs);
        let arguments = signature::arguments(&self.item.sig)?;
        let variables = signature::variables(&arguments);
        let agent = Ident::new("agent", Span::mixed_site());
        let decode = signature::decode(&arguments);
        let encode = signature::encode(&self.item.sig, &quote! { <#ty>::#ident(#agent, #(#variables),*) });
        Ok(quote! {
            #(#conditions)*
            #name => ::stride::private::serve_agent::<#ty>(served, #read_only, |#agent| {
                #decode
                #encode
            }),
        })
    }
}

/// What the attribute says.
#[derive(Default)]
struct Options {
    name: Option<LitStr>,
    migrate: Option<Path>,
}

fn options(attribute: TokenStream) -> Result<Options> {
    let mut options = Options::default();
    let parser = syn::meta::parser(|meta| {
        if meta.path.is_ident("name") {
            options.name = Some(meta.value()?.parse()?);
        } else if meta.path.is_ident("migrate") {
            options.migrate = Some(meta.value()?.parse()?);
        } else {
            return Err(meta.error("unknown option; there are name = \"...\" and migrate = function"));
        }
        Ok(())
    });
    parser.parse2(attribute)?;
    Ok(options)
}

fn checked(name: String, span: Span) -> Result<String> {
    signature::check_name(&name, span).map(|()| name)
}

fn kind_of(ty: &Type) -> Result<String> {
    let last = match ty {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    };
    let last = last.ok_or_else(|| Error::new(ty.span(), "an agent is a named type"))?;
    checked(kebab_case(&signature::name(&last.ident)), last.ident.span())
}

/// `CrateAudit` is asked as `crate-audit`, `HTTPServer` as `http-server`.
fn kebab_case(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut kebab = String::new();
    for (i, letter) in letters.iter().enumerate() {
        let lower = |at: Option<&char>| at.is_some_and(|c| c.is_lowercase() || c.is_ascii_digit());
        let begins_word = i > 0
            && letter.is_uppercase()
            && (lower(letters.get(i - 1)) || (letters[i - 1].is_uppercase() && lower(letters.get(i + 1))));
        if begins_word {
            kebab.push('-');
        }
        kebab.extend(letter.to_lowercase());
    }
    kebab
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
    fn a_migration_is_registered_if_one_is_named() {
        let item = quote! { impl A { fn get(&self) -> u8 { 1 } } };
        let expanded = expand(quote! { migrate = upgrade::from_v1 }, item.clone()).unwrap().to_string();
        assert!(expanded.contains("change_state :: < _ , A , _ > (upgrade :: from_v1)"), "{expanded}");
        let expanded = expand(TokenStream::new(), item).unwrap().to_string();
        assert!(expanded.contains("migrate : :: stride :: private :: keep_state"), "{expanded}");
    }

    #[test]
    fn words_are_told_apart_by_their_capitals() {
        let cases = [
            ("Counter", "counter"),
            ("CrateAudit", "crate-audit"),
            ("HTTPServer", "http-server"),
            ("V2Api", "v2-api"),
            ("Crate_Audit", "crate_audit"),
            ("A", "a"),
        ];
        for (name, kebab) in cases {
            assert_eq!(kebab_case(name), kebab);
        }
    }

    #[test]
    fn a_method_that_is_compiled_out_is_not_exported_either() {
        let item = quote! { impl A { fn get(&self) {} #[cfg(test)] fn probe(&self) {} } };
        let expanded = expand(TokenStream::new(), item).unwrap().to_string();
        assert_eq!(expanded.matches("cfg (test)").count(), 3, "the method, its arm and its export: {expanded}");
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
        refused(none(), quote! { impl (A, B) { fn get(&self) {} } }, "named type");
        refused(none(), quote! { impl Ä { fn get(&self) {} } }, "`ä` cannot be called");
        refused(quote! { name = "a b" }, quote! { impl A { fn get(&self) {} } }, "`a b` cannot be called");
        refused(quote! { nmae = "a" }, quote! { impl A { fn get(&self) {} } }, "unknown option");
    }
}
