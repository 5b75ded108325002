//! The attributes of the Stride SDK: `#[stride::function]` and `#[stride::agent]`.
//!
//! Both leave the user's code as it is and add a registration beside it, so that errors point at what the user wrote.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod agent;
mod function;
mod signature;

use proc_macro::TokenStream;

/// Makes a function callable. See the crate `stride` for what it may take and return.
#[proc_macro_attribute]
pub fn function(attribute: TokenStream, item: TokenStream) -> TokenStream {
    finish(function::expand(attribute.into(), item.into()))
}

/// Makes the methods of an `impl` block askable. `name = "..."` chooses another agent type than the type's name;
/// `migrate = function` names the function that takes the state of an older version and returns this one's.
#[proc_macro_attribute]
pub fn agent(attribute: TokenStream, item: TokenStream) -> TokenStream {
    finish(agent::expand(attribute.into(), item.into()))
}

fn finish(expanded: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    expanded.unwrap_or_else(|error| error.to_compile_error()).into()
}
