//! What functions and methods have in common: how arguments are decoded and results encoded.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, FnArg, Ident, Pat, PatType, Result, ReturnType, Signature, Type, spanned::Spanned as _};

/// Refuses what the host could not call.
pub(crate) fn check(signature: &Signature) -> Result<()> {
    if let Some(token) = &signature.asyncness {
        return Err(Error::new(token.span(), "cannot be async: the host suspends guests by itself"));
    }
    if !signature.generics.params.is_empty() {
        return Err(Error::new(
            signature.generics.span(),
            "cannot be generic: the types of a message have to be known",
        ));
    }
    Ok(())
}

/// The arguments after a receiver, each a plain name with a type.
pub(crate) fn arguments(signature: &Signature) -> Result<Vec<(Ident, Type)>> {
    let typed = signature.inputs.iter().filter_map(|input| match input {
        FnArg::Typed(argument) => Some(argument),
        FnArg::Receiver(_) => None,
    });
    typed.map(argument).collect()
}

fn argument(PatType { pat, ty, .. }: &PatType) -> Result<(Ident, Type)> {
    if let Type::Reference(reference) = &**ty {
        return Err(Error::new(reference.span(), "take arguments by value: they are made from the message"));
    }
    match &**pat {
        Pat::Ident(name) => Ok((name.ident.clone(), (**ty).clone())),
        other => Err(Error::new(other.span(), "give the argument a plain name: callers see it in error messages")),
    }
}

/// Decodes `input` into variables named like the arguments.
pub(crate) fn decode(arguments: &[(Ident, Type)]) -> TokenStream {
    match arguments {
        [] => quote! { ::stride::private::no_arguments(&input); },
        [(name, ty)] if ends_with(ty, "Payload") => quote! { let #name: #ty = input; },
        [(name, ty)] => {
            let text = name.to_string();
            quote! { let #name: #ty = ::stride::private::one_argument(&input, #text)?; }
        }
        several => {
            let names: Vec<_> = several.iter().map(|(name, _)| name).collect();
            let types: Vec<_> = several.iter().map(|(_, ty)| ty).collect();
            let text = names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            quote! { let (#(#names,)*): (#(#types,)*) = ::stride::private::arguments(&input, #text)?; }
        }
    }
}

/// Encodes the value of `call` as the signature's result asks for.
pub(crate) fn encode(signature: &Signature, call: &TokenStream) -> TokenStream {
    let ReturnType::Type(_, ty) = &signature.output else {
        return quote! { #call; ::stride::private::Reply::reply(()) };
    };
    if !ends_with(ty, "Result") {
        return encode_value(ty, call);
    }
    let unwrapped = quote! { (#call).map_err(::stride::private::Erased::failure)? };
    match ok_type(ty) {
        Some(ok) => encode_value(ok, &unwrapped),
        None => quote! { ::stride::private::Reply::reply(#unwrapped) },
    }
}

fn encode_value(ty: &Type, value: &TokenStream) -> TokenStream {
    if ends_with(ty, "Payload") {
        quote! { ::core::result::Result::Ok(#value) }
    } else {
        quote! { ::stride::private::Reply::reply(#value) }
    }
}

/// Whether the last segment of a type's path is `name`.
fn ends_with(ty: &Type, name: &str) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|segment| segment.ident == name))
}

/// The `T` of `Result<T, _>`.
fn ok_type(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let syn::PathArguments::AngleBracketed(generics) = &path.path.segments.last()?.arguments else { return None };
    match generics.args.first()? {
        syn::GenericArgument::Type(ok) => Some(ok),
        _ => None,
    }
}
