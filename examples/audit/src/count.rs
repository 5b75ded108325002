//! Parses Rust and counts.
//!
//! The parser descends once per level of nesting, and a stack that is used up ends the call before anything is recorded.
//! So a file that is nested too deep is found beforehand and reported like one that does not parse.

use proc_macro2::{TokenStream, TokenTree};
use serde::{Deserialize, Serialize};
use syn::{
    ExprUnsafe, ImplItemFn, ItemFn, ItemImpl, Signature, TraitItemFn,
    visit::{self, Visit},
};

/// What is counted, in one file or in all of a crate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) lines: u64,
    pub(crate) functions: u64,
    pub(crate) unsafe_blocks: u64,
    pub(crate) unsafe_fns: u64,
    pub(crate) unsafe_impls: u64,
}

impl Figures {
    pub(crate) fn add(&mut self, other: &Self) {
        self.lines += other.lines;
        self.functions += other.functions;
        self.unsafe_blocks += other.unsafe_blocks;
        self.unsafe_fns += other.unsafe_fns;
        self.unsafe_impls += other.unsafe_impls;
    }

    pub(crate) fn subtract(&mut self, other: &Self) {
        self.lines -= other.lines;
        self.functions -= other.functions;
        self.unsafe_blocks -= other.unsafe_blocks;
        self.unsafe_fns -= other.unsafe_fns;
        self.unsafe_impls -= other.unsafe_impls;
    }

    fn see(&mut self, signature: &Signature) {
        self.functions += 1;
        self.unsafe_fns += u64::from(signature.unsafety.is_some());
    }
}

/// How deep brackets may be nested. People stay below 50; the stack of a guest is enough for at least 200.
const NESTING_MAX: usize = 128;

/// Counts a source file, or says how many lines it has and why it does not parse.
pub(crate) fn count(source: &str) -> Result<Figures, (u64, String)> {
    let lines = source.lines().count() as u64;
    if nested_too_deep(source) {
        return Err((lines, format!("brackets are nested more than {NESTING_MAX} deep")));
    }
    let file = syn::parse_file(source).map_err(|e| {
        let at = e.span().start();
        (lines, format!("line {}, column {}: {e}", at.line, at.column + 1))
    })?;
    let mut figures = Figures { lines, ..Figures::default() };
    figures.visit_file(&file);
    Ok(figures)
}

/// Whether brackets are nested deeper than the parser can follow. Reading tokens needs no stack, unlike parsing them.
fn nested_too_deep(source: &str) -> bool {
    // Most files have too few brackets to be deep, or close them soon; only the others are read twice.
    let mut depth = 0usize;
    let mut deepest = 0;
    for byte in source.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    // Brackets in texts and comments count here, too, so this alone would not be fair.
    deepest > NESTING_MAX && source.parse::<TokenStream>().is_ok_and(|tokens| depth_of(tokens) > NESTING_MAX)
}

fn depth_of(tokens: TokenStream) -> usize {
    let mut deepest = 0;
    let mut open = vec![tokens.into_iter()];
    while let Some(innermost) = open.last_mut() {
        match innermost.next() {
            Some(TokenTree::Group(group)) => open.push(group.stream().into_iter()),
            Some(_) => {}
            None => drop(open.pop()),
        }
        deepest = deepest.max(open.len().saturating_sub(1));
    }
    deepest
}

impl<'ast> Visit<'ast> for Figures {
    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.see(&item.sig);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.see(&item.sig);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        self.see(&item.sig);
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_expr_unsafe(&mut self, block: &'ast ExprUnsafe) {
        self.unsafe_blocks += 1;
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        self.unsafe_impls += u64::from(item.unsafety.is_some());
        visit::visit_item_impl(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_unsafe_is_counted_by_itself() {
        let source = "
            unsafe fn a() {}
            fn b() { unsafe { a() } }
            struct S;
            unsafe impl Send for S {}
            impl S { fn c(&self) { unsafe { unsafe { a() } } } }
            trait T { unsafe fn d(); }
        ";
        let expected = Figures { lines: 8, functions: 4, unsafe_blocks: 3, unsafe_fns: 2, unsafe_impls: 1 };
        assert_eq!(count(source), Ok(expected));
    }

    #[test]
    fn nesting_is_refused_before_it_uses_up_the_stack() {
        let nested = |levels: usize| format!("fn a() {{ {}1{}; }}", "(".repeat(levels), ")".repeat(levels));
        assert_eq!(count(&nested(NESTING_MAX - 1)).unwrap().functions, 1);
        for levels in [NESTING_MAX, 100_000] {
            assert_eq!(count(&nested(levels)), Err((1, "brackets are nested more than 128 deep".into())));
        }
    }

    #[test]
    fn brackets_in_texts_and_comments_are_not_nesting() {
        let open = "({[".repeat(NESTING_MAX);
        let source = format!("//! {open}\nfn a() -> &'static str {{ /* {open} */ \"{open}\" }}\n");
        assert_eq!(count(&source).unwrap().functions, 1);
    }

    #[test]
    fn a_file_that_does_not_parse_says_where() {
        let (lines, error) = count("fn a() {}\nfn b( {}\n").unwrap_err();
        assert_eq!(lines, 2);
        assert!(error.starts_with("line 2, column"), "{error}");
    }
}
