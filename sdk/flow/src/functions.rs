//! The functions of expressions. What each gives is in the reference, `docs/flows.md`. Comparisons and arithmetic are also methods and operators of
//! [`Expr`].

use serde::Serialize;
use serde_json::Value;

use crate::expr::Expr;

macro_rules! functions {
    ($($function:ident $name:literal ($($argument:ident),*) $what:literal)*) => {
        $(#[doc = $what]
        #[track_caller]
        pub fn $function($($argument: impl Serialize),*) -> Expr {
            Expr::apply($name, vec![$(Expr::of(&$argument).value().clone()),*])
        })*
        /// As they are called in an artefact, each with how many arguments it takes here.
        pub const FIXED: &[(&str, usize)] = &[$(($name, <[&str]>::len(&[$(stringify!($argument)),*]))),*];
    };
}

macro_rules! of_many {
    ($($function:ident $name:literal $what:literal)*) => {
        $(#[doc = $what]
        #[track_caller]
        pub fn $function<T: Serialize>(arguments: impl IntoIterator<Item = T>) -> Expr {
            let arguments: Vec<Value> = arguments.into_iter().map(|argument| Expr::of(&argument).value().clone()).collect();
            Expr::apply($name, arguments)
        })*
        /// Those that take any number of arguments.
        pub const OF_MANY: &[&str] = &[$($name),*];
    };
}

functions! {
    if_ "if" (condition, yes, no) "One of two values."
    exists "exists" (path) "Whether the path selects anything."
    random "random" (first, end, salt) "A whole number before the end that is the same for the same run, step and salt."
    uuid "uuid" (salt) "A UUID that is the same for the same run, step and argument."
    not "not" (condition) "The opposite."
    eq "eq" (left, right) "Whether both are the same."
    ne "ne" (left, right) "Whether they differ."
    lt "lt" (left, right) "Whether the first is less."
    le "le" (left, right) "Whether the first is less or equal."
    gt "gt" (left, right) "Whether the first is greater."
    ge "ge" (left, right) "Whether the first is greater or equal."
    is "is" (value, kind) "Whether a value is of a kind: `null`, `bool`, `int`, `number`, `string`, `list`, `record`, `bytes` or `object`."
    in_ "in" (value, list) "Whether a value is in a list."
    contains "contains" (whole, part) "Whether a list has an item, or a text a part."
    matches "matches" (text, pattern) "Whether a text fits a pattern, in which `*` is any text."
    length "length" (of) "Of a list, a text or a record."
    get "get" (from, at) "An item of a list or a field of a record."
    get_or "get" (from, at, otherwise) "An item of a list or a field of a record, or a value if there is none."
    set "set" (record, path, value) "A record with the value at a path such as `a.b`."
    keys "keys" (record) "The names of a record's fields."
    values "values" (record) "The values of a record's fields."
    entries "entries" (record) "A record as a list of `{\"key\", \"value\"}`."
    from_entries "from_entries" (list) "The record of such a list."
    flatten "flatten" (list) "A list of lists as one list."
    slice "slice" (list, from, to) "A part of a list."
    partition "partition" (list, size) "A list as lists of a size."
    unique "unique" (list) "A list without what came before."
    sort "sort" (list) "A list of numbers or texts in order."
    range "range" (first, last, step) "Whole numbers, both ends included."
    sum "sum" (list) "Of a list of numbers."
    add "add" (left, right) "Two numbers."
    sub "sub" (left, right) "Two numbers."
    mul "mul" (left, right) "Two numbers."
    div "div" (left, right) "Two numbers."
    rem "mod" (left, right) "The rest of a division."
    min "min" (list) "The least of a list."
    max "max" (list) "The greatest of a list."
    round "round" (number) "To the nearest whole number."
    floor "floor" (number) "Down to a whole number."
    number "number" (text) "The number that a text is."
    split "split" (text, separator) "The parts of a text."
    join "join" (list, separator) "A list of texts as one."
    lower "lower" (text) "In small letters."
    upper "upper" (text) "In capital letters."
    trim "trim" (text) "Without white space around it."
    text "text" (value) "A value as JSON."
    parse "parse" (text) "The value that a text is as JSON."
    base64 "base64" (value) "Text or bytes in base64."
    unbase64 "unbase64" (text) "The text that this is in base64."
    hash "hash" (value) "The BLAKE3 hash of a value as JSON, in hex."
    digest "digest" (value, algorithm) "The hash of a text or of another value as JSON: `MD5`, `SHA-1`, `SHA-256`, `SHA-384` or `SHA-512`."
    is_time "is_time" (value) "Whether this is a text as in RFC 3339."
    moment "moment" (milliseconds) "Milliseconds since 1970 as a text as in RFC 3339."
    time "time" (text) "Milliseconds since 1970 of a text as in RFC 3339."
}

of_many! {
    and "and" "Whether all are true."
    or "or" "Whether one is true."
    default "default" "The first that has a value other than null, else the last."
    merge "merge" "Records: all fields, later ones win."
    concat "concat" "Texts or lists, one behind the other."
}

/// A text with a value for each `{}` in it.
#[track_caller]
pub fn format<T: Serialize>(text: &str, values: impl IntoIterator<Item = T>) -> Expr {
    let values = values.into_iter().map(|value| Expr::of(&value).value().clone());
    Expr::apply("format", std::iter::once(text.into()).chain(values).collect())
}
