"""Values that are not there yet: where they will be, and what is computed of them."""

import difflib
import re
from typing import Any, List, NoReturn, Optional

from .errors import FlowError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def segment(name: str) -> str:
    """A name as a step of a path."""
    if _NAME.match(name):
        return "." + name
    escaped = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"['{escaped}']"


class Expr:
    """A value of the flow. Attributes and indices choose a part of it; operators compute with it."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __getattr__(self, name: str) -> "Expr":
        if name.startswith("__"):
            raise AttributeError(name)
        return self._longer(segment(name), name)

    def __getitem__(self, at: Any) -> "Expr":
        if isinstance(at, bool) or not isinstance(at, (str, int)):
            raise FlowError("an index is a whole number or a name; `fn.slice` and `select` choose more")
        return self._longer(f"[{at}]" if isinstance(at, int) else segment(at), at)

    def _longer(self, _more: str, at: Any) -> "Expr":
        return Apply("get", [self, at])

    def __bool__(self) -> NoReturn:
        raise FlowError(
            "what this is will be known only when the flow runs: use `flow.branch` or `fn.if_` for `if`, `&`, `|` and `~` for `and`, `or` and `not`"
        )

    def __iter__(self) -> NoReturn:
        raise FlowError("how many items there are will be known only when the flow runs: use `flow.map` for `for`")

    def __len__(self) -> NoReturn:
        raise FlowError("how many there are will be known only when the flow runs: use `fn.length`")

    def __contains__(self, item: Any) -> NoReturn:
        raise FlowError("what is in it will be known only when the flow runs: use `fn.contains`")

    def __str__(self) -> str:
        raise FlowError("what this is will be known only when the flow runs: use `fn.format` for texts")

    def __eq__(self, other: Any) -> "Expr":  # type: ignore[override]
        return Apply("eq", [self, other])

    def __ne__(self, other: Any) -> "Expr":  # type: ignore[override]
        return Apply("ne", [self, other])

    def __lt__(self, other: Any) -> "Expr":
        return Apply("lt", [self, other])

    def __le__(self, other: Any) -> "Expr":
        return Apply("le", [self, other])

    def __gt__(self, other: Any) -> "Expr":
        return Apply("gt", [self, other])

    def __ge__(self, other: Any) -> "Expr":
        return Apply("ge", [self, other])

    def __and__(self, other: Any) -> "Expr":
        return Apply("and", [self, other])

    def __rand__(self, other: Any) -> "Expr":
        return Apply("and", [other, self])

    def __or__(self, other: Any) -> "Expr":
        return Apply("or", [self, other])

    def __ror__(self, other: Any) -> "Expr":
        return Apply("or", [other, self])

    def __invert__(self) -> "Expr":
        return Apply("not", [self])

    def __add__(self, other: Any) -> "Expr":
        return Apply("add", [self, other])

    def __radd__(self, other: Any) -> "Expr":
        return Apply("add", [other, self])

    def __sub__(self, other: Any) -> "Expr":
        return Apply("sub", [self, other])

    def __rsub__(self, other: Any) -> "Expr":
        return Apply("sub", [other, self])

    def __mul__(self, other: Any) -> "Expr":
        return Apply("mul", [self, other])

    def __rmul__(self, other: Any) -> "Expr":
        return Apply("mul", [other, self])

    def __truediv__(self, other: Any) -> "Expr":
        return Apply("div", [self, other])

    def __rtruediv__(self, other: Any) -> "Expr":
        return Apply("div", [other, self])

    def __mod__(self, other: Any) -> "Expr":
        return Apply("mod", [self, other])

    def __rmod__(self, other: Any) -> "Expr":
        return Apply("mod", [other, self])


class Ref(Expr):
    """A part of the value of a node, or, without one, of the input of a graph."""

    __slots__ = ("_graph", "_node", "_path", "_schema")

    def __init__(self, graph: Any, node: Any, path: str = "", schema: Any = "any"):
        self._graph = graph
        self._node = node
        self._path = path
        self._schema = schema

    def _longer(self, more: str, at: Any) -> "Expr":
        return Ref(self._graph, self._node, self._path + more, _part(self._schema, at))


class Context(Expr):
    """A part of what is known of the run."""

    __slots__ = ("_path",)

    def __init__(self, path: str = ""):
        self._path = path

    def _longer(self, more: str, at: Any) -> "Expr":
        return Context(self._path + more)


class Apply(Expr):
    """A function of values."""

    __slots__ = ("_name", "_arguments")

    def __init__(self, name: str, arguments: List[Any]):
        self._name = name
        self._arguments = arguments


class Literal(Expr):
    """Data as it is."""

    __slots__ = ("_data",)

    def __init__(self, data: Any):
        self._data = data


def _part(schema: Any, at: Any) -> Any:
    """What a part looks like, as far as that is known."""
    if not isinstance(schema, dict):
        return "any"
    if isinstance(at, int):
        return schema.get("list", "any")
    fields = schema.get("record")
    if fields is None:
        return schema.get("map", "any")
    if at in fields:
        return fields[at]
    if at + "?" in fields:
        return fields[at + "?"]
    known = [name.rstrip("?") for name in fields]
    near: Optional[str] = next(iter(difflib.get_close_matches(at, known, 1)), None)
    remedy = f"did you mean `{near}`?" if near else "there are " + ", ".join(f"`{name}`" for name in sorted(known))
    raise FlowError(f"there is no field `{at}`; {remedy}")


#: What is known of the run: `run` (`id`, `flow`, `input`, `started_ms`), `step` (`id`, `name`, `attempt`, `now_ms`); in the `input` of
#: what goes over items `item` (`index`, `value`); in `until` `round` and `previous`.
context: Any = Context()


def literal(data: Any) -> Any:
    """Data as a value of the flow, where it stands alone."""
    return data if isinstance(data, Expr) else Literal(data)


def select(value: Expr, path: str) -> Any:
    """What a path selects, as in RFC 9535: `lines[*].sku`, `lines[?@.cents > 5]`, `.sku`."""
    more = path if path.startswith(("[", ".")) else "." + path
    if isinstance(value, Ref):
        return Ref(value._graph, value._node, value._path + more)
    if isinstance(value, Context):
        return Context(value._path + more)
    raise FlowError(f"`{path}` can only select from what a step gives")
