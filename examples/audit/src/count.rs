//! Parses Rust and counts.

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

/// Counts a source file, or says how many lines it has and why it does not parse.
pub(crate) fn count(source: &str) -> Result<Figures, (u64, String)> {
    let lines = source.lines().count() as u64;
    let file = syn::parse_file(source).map_err(|e| {
        let at = e.span().start();
        (lines, format!("line {}, column {}: {e}", at.line, at.column + 1))
    })?;
    let mut figures = Figures { lines, ..Figures::default() };
    figures.visit_file(&file);
    Ok(figures)
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
    fn a_file_that_does_not_parse_says_where() {
        let (lines, error) = count("fn a() {}\nfn b( {}\n").unwrap_err();
        assert_eq!(lines, 2);
        assert!(error.starts_with("line 2, column"), "{error}");
    }
}
