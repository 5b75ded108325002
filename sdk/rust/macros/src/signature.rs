//! What functions and methods have in common: how arguments are decoded and results encoded.
//!
//! Always true: generated variables are hygienic, so no name that a user chooses can collide with them; and a type that
//! does not fit is reported at the type, not at the attribute.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{
    Attribute, Error, FnArg, Ident, Pat, PatType, Result, ReturnType, Signature, Type, ext::IdentExt as _,
    spanned::Spanned as _,
};

/// The longest name that the platform takes.
const NAME_LEN_MAX: usize = 64;

/// An argument after the receiver.
pub(crate) struct Argument {
    /// What callers see in messages.
    name: String,
    ty: Type,
    /// The variable that it is decoded into.
    variable: Ident,
}

/// Refuses what the host could not call.
pub(crate) fn check(signature: &Signature) -> Result<()> {
    let refuse = |span, why: &str| Err(Error::new(span, why));
    if let Some(token) = &signature.asyncness {
        return refuse(token.span(), "cannot be async: the host suspends guests by itself");
    }
    if let Some(token) = &signature.unsafety {
        return refuse(token.span(), "cannot be unsafe: a caller outside could not promise anything");
    }
    if !signature.generics.params.is_empty() {
        return refuse(signature.generics.span(), "cannot be generic: the types of a message have to be known");
    }
    check_name(&name(&signature.ident), signature.ident.span())
}

/// The name that callers use.
pub(crate) fn name(ident: &Ident) -> String {
    ident.unraw().to_string()
}

/// Refuses a name that the platform would not take; the rule is `Name`'s in the crate `stride-ids`.
pub(crate) fn check_name(name: &str, span: Span) -> Result<()> {
    let valid = name.len() <= NAME_LEN_MAX
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'-');
    if valid {
        return Ok(());
    }
    let why = format!("`{name}` cannot be called: use 1 to 64 of a-z A-Z 0-9 _ - and start with a letter");
    Err(Error::new(span, why))
}

/// The attributes that decide whether an item is there at all; what is generated for it depends on them, too.
pub(crate) fn conditions(attributes: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg"))
}

/// The arguments after a receiver.
pub(crate) fn arguments(signature: &Signature) -> Result<Vec<Argument>> {
    let typed = signature.inputs.iter().filter_map(|input| match input {
        FnArg::Typed(argument) => Some(argument),
        FnArg::Receiver(_) => None,
    });
    let arguments = typed.enumerate().map(|(i, typed)| argument(i, typed)).collect::<Result<Vec<_>>>()?;
    if let [_, _, ..] = arguments[..]
        && let Some(payload) = arguments.iter().find(|argument| ends_with(&argument.ty, "Payload"))
    {
        return Err(Error::new(payload.ty.span(), "a Payload is the whole message: it has to be the only argument"));
    }
    Ok(arguments)
}

fn argument(i: usize, PatType { pat, ty, .. }: &PatType) -> Result<Argument> {
    match &**ty {
        Type::Reference(_) => {
            return Err(Error::new(ty.span(), "take arguments by value: they are made from the message"));
        }
        Type::ImplTrait(_) => {
            return Err(Error::new(ty.span(), "take a concrete type: the message is decoded into it"));
        }
        _ => {}
    }
    let Pat::Ident(pattern) = &**pat else {
        return Err(Error::new(pat.span(), "give the argument a plain name: callers see it in error messages"));
    };
    let variable = format_ident!("argument_{i}", span = Span::mixed_site());
    Ok(Argument { name: name(&pattern.ident), ty: (**ty).clone(), variable })
}

/// The variable that holds the message.
pub(crate) fn input() -> Ident {
    Ident::new("input", Span::mixed_site())
}

/// Decodes [`input`] into the arguments' variables.
pub(crate) fn decode(arguments: &[Argument]) -> TokenStream {
    let input = input();
    match arguments {
        [] => quote! { let _ = #input; },
        [Argument { ty, variable, .. }] if ends_with(ty, "Payload") => quote! { let #variable: #ty = #input; },
        [Argument { name, ty, variable }] => {
            let expected = readable(ty);
            quote! { let #variable = ::stride::private::one_argument::<#ty>(&#input, #name, #expected)?; }
        }
        several => {
            let (variables, types) = (variables(several), several.iter().map(|argument| &argument.ty));
            let list = |one: fn(&Argument) -> String| several.iter().map(one).collect::<Vec<_>>().join(", ");
            let names = list(|argument| argument.name.clone());
            let expected = list(|argument| readable(&argument.ty));
            quote! {
                let (#(#variables,)*) =
                    ::stride::private::arguments::<(#(#types,)*)>(&#input, #names, #expected)?;
            }
        }
    }
}

/// The variables that [`decode`] fills.
pub(crate) fn variables(arguments: &[Argument]) -> impl Iterator<Item = &Ident> {
    arguments.iter().map(|argument| &argument.variable)
}

/// Encodes the value of `call` as the signature's result asks for.
pub(crate) fn encode(signature: &Signature, call: &TokenStream) -> TokenStream {
    let ReturnType::Type(_, ty) = &signature.output else {
        return quote! { #call; ::stride::private::reply(&()) };
    };
    if let Type::Never(_) = &**ty {
        return call.clone();
    }
    if !ends_with(ty, "Result") {
        return encode_value(ty, call);
    }
    let converted = quote_spanned! { ty.span()=> ::core::result::Result::map_err(#call, ::stride::private::failure) };
    encode_value(ok_type(ty).unwrap_or(ty), &quote! { #converted? })
}

fn encode_value(ty: &Type, value: &TokenStream) -> TokenStream {
    if ends_with(ty, "Payload") {
        quote! { ::core::result::Result::Ok(#value) }
    } else {
        // Bound first, so that a type that cannot be serialised is reported where the signature has it.
        quote_spanned! { ty.span()=> match #value { value => ::stride::private::reply(&value) } }
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

/// A type as a person would write it: tokens are printed with spaces around the punctuation.
fn readable(ty: &Type) -> String {
    let mut text = quote! { #ty }.to_string();
    for (spaced, tight) in [(" :: ", "::"), (" <", "<"), ("< ", "<"), (" >", ">"), (" ,", ","), (" ;", ";")] {
        text = text.replace(spaced, tight);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_shown_as_they_are_written() {
        for text in ["u64", "Option<Vec<String>>", "std::path::PathBuf", "BTreeMap<String, u8>", "[u8; 4]", "(u8, ())"]
        {
            assert_eq!(readable(&syn::parse_str(text).unwrap()), text);
        }
    }
}
