"""The functions of expressions. What each gives is in the reference, `docs/flows.md`. Names that Python has for itself end in `_`."""

from typing import Any

from .expr import Apply


def if_(condition: Any, yes: Any, no: Any) -> Any:
    """One of two values."""
    return Apply("if", [condition, yes, no])


def exists(path: Any) -> Any:
    """Whether the path selects anything."""
    return Apply("exists", [path])


def not_(condition: Any) -> Any:
    """The opposite."""
    return Apply("not", [condition])


def eq(left: Any, right: Any) -> Any:
    """Whether both are the same."""
    return Apply("eq", [left, right])


def ne(left: Any, right: Any) -> Any:
    """Whether they differ."""
    return Apply("ne", [left, right])


def lt(left: Any, right: Any) -> Any:
    """Whether the first is less."""
    return Apply("lt", [left, right])


def le(left: Any, right: Any) -> Any:
    """Whether the first is less or equal."""
    return Apply("le", [left, right])


def gt(left: Any, right: Any) -> Any:
    """Whether the first is greater."""
    return Apply("gt", [left, right])


def ge(left: Any, right: Any) -> Any:
    """Whether the first is greater or equal."""
    return Apply("ge", [left, right])


def is_(value: Any, kind: Any) -> Any:
    """Whether a value is of a kind: `null`, `bool`, `int`, `number`, `string`, `list`, `record`, `bytes` or `object`."""
    return Apply("is", [value, kind])


def in_(value: Any, list: Any) -> Any:
    """Whether a value is in a list."""
    return Apply("in", [value, list])


def contains(whole: Any, part: Any) -> Any:
    """Whether a list has an item, or a text a part."""
    return Apply("contains", [whole, part])


def matches(text: Any, pattern: Any) -> Any:
    """Whether a text fits a pattern, in which `*` is any text."""
    return Apply("matches", [text, pattern])


def length(of: Any) -> Any:
    """Of a list, a text or a record."""
    return Apply("length", [of])


def set_(record: Any, path: Any, value: Any) -> Any:
    """A record with the value at a path such as `a.b`."""
    return Apply("set", [record, path, value])


def keys(record: Any) -> Any:
    """The names of a record's fields."""
    return Apply("keys", [record])


def values(record: Any) -> Any:
    """The values of a record's fields."""
    return Apply("values", [record])


def entries(record: Any) -> Any:
    """A record as a list of `{"key", "value"}`."""
    return Apply("entries", [record])


def from_entries(list: Any) -> Any:
    """The record of such a list."""
    return Apply("from_entries", [list])


def flatten(list: Any) -> Any:
    """A list of lists as one list."""
    return Apply("flatten", [list])


def slice_(list: Any, first: Any, end: Any) -> Any:
    """A part of a list."""
    return Apply("slice", [list, first, end])


def partition(list: Any, size: Any) -> Any:
    """A list as lists of a size."""
    return Apply("partition", [list, size])


def unique(list: Any) -> Any:
    """A list without what came before."""
    return Apply("unique", [list])


def sort(list: Any) -> Any:
    """A list of numbers or texts in order."""
    return Apply("sort", [list])


def range_(first: Any, last: Any, step: Any) -> Any:
    """Whole numbers, both ends included."""
    return Apply("range", [first, last, step])


def sum_(list: Any) -> Any:
    """Of a list of numbers."""
    return Apply("sum", [list])


def add(left: Any, right: Any) -> Any:
    """Two numbers."""
    return Apply("add", [left, right])


def sub(left: Any, right: Any) -> Any:
    """Two numbers."""
    return Apply("sub", [left, right])


def mul(left: Any, right: Any) -> Any:
    """Two numbers."""
    return Apply("mul", [left, right])


def div(left: Any, right: Any) -> Any:
    """Two numbers."""
    return Apply("div", [left, right])


def mod(left: Any, right: Any) -> Any:
    """The rest of a division."""
    return Apply("mod", [left, right])


def min_(list: Any) -> Any:
    """The least of a list."""
    return Apply("min", [list])


def max_(list: Any) -> Any:
    """The greatest of a list."""
    return Apply("max", [list])


def round_(number: Any) -> Any:
    """To the nearest whole number."""
    return Apply("round", [number])


def floor(number: Any) -> Any:
    """Down to a whole number."""
    return Apply("floor", [number])


def number(text: Any) -> Any:
    """The number that a text is."""
    return Apply("number", [text])


def split(text: Any, separator: Any) -> Any:
    """The parts of a text."""
    return Apply("split", [text, separator])


def join(list: Any, separator: Any) -> Any:
    """A list of texts as one."""
    return Apply("join", [list, separator])


def lower(text: Any) -> Any:
    """In small letters."""
    return Apply("lower", [text])


def upper(text: Any) -> Any:
    """In capital letters."""
    return Apply("upper", [text])


def trim(text: Any) -> Any:
    """Without white space around it."""
    return Apply("trim", [text])


def text(value: Any) -> Any:
    """A value as JSON."""
    return Apply("text", [value])


def parse(text: Any) -> Any:
    """The value that a text is as JSON."""
    return Apply("parse", [text])


def base64(value: Any) -> Any:
    """Text or bytes in base64."""
    return Apply("base64", [value])


def unbase64(text: Any) -> Any:
    """The text that this is in base64."""
    return Apply("unbase64", [text])


def hash_(value: Any) -> Any:
    """The BLAKE3 hash of a value as JSON, in hex."""
    return Apply("hash", [value])


def digest(value: Any, algorithm: Any) -> Any:
    """The hash of a text or of another value as JSON: `MD5`, `SHA-1`, `SHA-256`, `SHA-384` or `SHA-512`."""
    return Apply("digest", [value, algorithm])


def is_time(value: Any) -> Any:
    """Whether this is a text as in RFC 3339."""
    return Apply("is_time", [value])


def moment(milliseconds: Any) -> Any:
    """Milliseconds since 1970 as a text as in RFC 3339."""
    return Apply("moment", [milliseconds])


def time(text: Any) -> Any:
    """Milliseconds since 1970 of a text as in RFC 3339."""
    return Apply("time", [text])


def and_(*values: Any) -> Any:
    """Whether all are true."""
    return Apply("and", list(values))


def or_(*values: Any) -> Any:
    """Whether one is true."""
    return Apply("or", list(values))


def default(*values: Any) -> Any:
    """The first that has a value other than null, else the last."""
    return Apply("default", list(values))


def merge(*values: Any) -> Any:
    """Records: all fields, later ones win."""
    return Apply("merge", list(values))


def concat(*values: Any) -> Any:
    """Texts or lists, one behind the other."""
    return Apply("concat", list(values))


def get(whole: Any, at: Any, *otherwise: Any) -> Any:
    """An item of a list or a field of a record, or a value if there is none."""
    return Apply("get", [whole, at, *otherwise])


def uuid(*salt: Any) -> Any:
    """A UUID that is the same for the same run, step and salt."""
    return Apply("uuid", list(salt))


def random(first: Any, end: Any, *salt: Any) -> Any:
    """A whole number before the end that is the same for the same run, step and salt."""
    return Apply("random", [first, end, *salt])


def format(text: str, *values: Any) -> Any:
    """A text with a value for each `{}` in it."""
    return Apply("format", [text, *values])
