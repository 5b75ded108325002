"""From what was written to the artefact: names, edges, and paths from where a value is used to where it comes from.

A step's input is one value, or a record of several by the names of their nodes. A body that uses values from around it gets them through its node.
"""

import math
import re
from typing import Any, Callable, Dict, List, Tuple

from .book import Body, Closed, Given, Graph, Item, Lambda, Node, Whole, refs, refs_of
from .errors import FlowError
from .expr import Apply, Context, Expr, Literal, Ref, segment

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")

Source = Tuple[Graph, Any]


def render(root: Graph) -> Dict[str, Any]:
    """The graph as JSON."""
    _prepare(root)
    return _Writer().graph(root)


def _bodies(part: Any) -> List[Graph]:
    if isinstance(part, (Body, Lambda)):
        return [] if part.graph is None else [part.graph]
    parts = part.values() if isinstance(part, dict) else part if isinstance(part, (list, tuple)) else []
    return [graph for inner in parts for graph in _bodies(inner)]


def _prepare(graph: Graph) -> None:
    """Names, and what each graph uses from around it: bodies before what is around them."""
    graph.names = _names(graph)
    found: List[Ref] = []
    for node in graph.nodes:
        for body in _bodies([node.work, node.fields]):
            _prepare(body)
        found.extend(refs_of(node))
    found.extend(refs(graph.output))
    whole: Dict[Tuple[int, int], Ref] = {}
    for ref in found:
        if ref._graph is not graph:
            whole[(_depth(ref._graph), -1 if ref._node is None else ref._node)] = Ref(ref._graph, ref._node)
    graph.captured = [whole[at] for at in sorted(whole)]


def _depth(graph: Graph) -> int:
    return 0 if graph.parent is None else 1 + _depth(graph.parent)


def _names(graph: Graph) -> List[str]:
    """Names that were given stay; the others are numbered where they would meet."""
    taken = {"input"} | {node.name for node in graph.nodes if node.name is not None}
    names: List[str] = []
    for node in graph.nodes:
        name, number = node.name or node.base, 2
        while node.name is None and name in taken:
            name, number = f"{node.base}-{number}", number + 1
        taken.add(name)
        if not _NAME.match(name) or name == "input":
            raise FlowError(f"`{name}` is no name of a step: take 1 to 64 of a-z, A-Z, 0-9, `_` and `-`, and not `input`", node.at)
        if name in names:
            raise FlowError(f"there are two steps of the name `{name}`: give one another with `name`", node.at)
        names.append(name)
    return names


class _Writer:
    def __init__(self) -> None:
        #: The sources of the node that is being written, of each graph.
        self._sources: Dict[Graph, List[Any]] = {}

    def graph(self, graph: Graph) -> Dict[str, Any]:
        written: Dict[str, Any] = {}
        if graph.schema is not None:
            written["input"] = graph.schema
            handed = self._handed(graph)
            if handed:
                written["input"] = {"record": {**{name: "any" for _, name in handed}, "item": graph.schema}}
        written["nodes"] = {name: self._node(graph, node) for name, node in zip(graph.names, graph.nodes)}
        if graph.output is not None and not isinstance(graph.output, Given):
            written["output"] = graph.output if graph.output == "input" else graph.names[graph.output]
        return written

    def _node(self, graph: Graph, node: Node) -> Dict[str, Any]:
        sources = {ref._node if ref._graph is graph else None for ref in refs_of(node)}
        self._sources[graph] = sorted(sources, key=lambda source: -1 if source is None else source)
        written: Dict[str, Any] = {"do": {node.op: self._part(graph, node.at, node.work)}}
        names = [_source(graph, source) for source in self._sources[graph]]
        if len(names) == 1:
            written["in"] = names[0]
        elif names:
            written["in"] = {name: name for name in names}
        after = {self._after(graph, node, step) for step in node.after}
        if after:
            written["after"] = sorted(after)
        for name, part in node.fields.items():
            written[name] = self._part(graph, node.at, part)
        return written

    def _after(self, graph: Graph, node: Node, step: Any) -> str:
        if isinstance(step, Ref) and step._graph is graph and step._node is not None:
            return graph.names[step._node]
        raise FlowError("`after` takes a step of the same graph", node.at)

    def _part(self, graph: Graph, at: str, part: Any) -> Any:
        if isinstance(part, Given):
            return self._template(at, part.value, lambda ref: self._in_node(graph, ref))
        if isinstance(part, dict):
            return self._record(graph, at, part)
        if isinstance(part, (list, tuple)):
            return [self._part(graph, at, inner) for inner in part]
        if isinstance(part, Lambda):
            return self._expr(part.graph, at)
        if isinstance(part, Body):
            return self._body(graph, at, part)
        return part

    def _body(self, graph: Graph, at: str, body: Body) -> Dict[str, Any]:
        if body.graph is not None:
            return {"expr": self._expr(body.graph, at)} if body.graph.is_expr else {"graph": self.graph(body.graph)}
        given = "$" if body.on is None else self._part(graph, at, body.on)
        if given == "$":
            return {"function": body.function}
        call = {"do": {"call": {"function": body.function, "input": given}}, "in": "input"}
        return {"graph": {"nodes": {"call": call}, "output": "call"}}

    def _expr(self, graph: Graph, at: str) -> Any:
        if graph.output is None:
            return None
        return self._template(graph.at or at, graph.output.value, lambda ref: self._resolve(graph, ref))

    def _record(self, graph: Graph, at: str, fields: Dict[str, Any]) -> Dict[str, Any]:
        written: Dict[str, Any] = {}
        for name, part in fields.items():
            value = self._part(graph, at, part)
            is_all = value == "$" or (value is None and not self._sources[graph])
            if not (isinstance(part, Whole) and is_all):
                written[name] = value
            handed = self._handed(part.graph) if isinstance(part, Body) and part.graph is not None else []
            if handed:
                try:
                    given = {name: "$" + self._in_node(graph, ref) for ref, name in handed}
                except LookupError as e:
                    raise FlowError(str(e.args[0]), at) from None
                written["input"] = {**given, "item": "$$.item.value"}
        return written

    def _handed(self, body: Graph) -> List[Tuple[Ref, str]]:
        """What is handed in to the body of something over items beside the item, and as what."""
        if not isinstance(body.around, Item):
            return []
        taken, names = {"item"}, []
        for ref in body.captured:
            base = _source(ref._graph, ref._node)
            name, number = base, 2
            while name in taken:
                name, number = f"{base}_{number}", number + 1
            taken.add(name)
            names.append((ref, name))
        return names

    def _in_node(self, graph: Graph, ref: Ref) -> str:
        """Where a value is in the input of the node of this graph that is being written."""
        mine = ref._graph is graph and ref._node is not None
        source, path = (ref._node, ref._path) if mine else (None, self._resolve(graph, ref))
        return path if len(self._sources.get(graph, [])) == 1 else segment(_source(graph, source)) + path

    def _resolve(self, graph: Graph, ref: Ref) -> str:
        """Where a value is in the input of this graph."""
        if ref._graph is graph:
            return ".item" + ref._path if self._handed(graph) else ref._path
        if graph.parent is None:
            raise LookupError("this value belongs to another body or to another flow, and cannot be used here")
        if isinstance(graph.around, Closed):
            raise LookupError(f"this body does not see values from around it: {graph.around.remedy}")
        outer = self._in_node(graph.parent, ref)
        if not isinstance(graph.around, Item):
            return str(graph.around) + outer
        name = next(name for handed, name in self._handed(graph) if handed._graph is ref._graph and handed._node is ref._node)
        return segment(name) + ref._path

    def _template(self, at: str, value: Any, path: Callable[[Ref], str]) -> Any:
        if isinstance(value, Ref):
            try:
                return "$" + path(value)
            except LookupError as e:
                raise FlowError(str(e.args[0]), at) from None
        if isinstance(value, Context):
            return "$$" + value._path
        if isinstance(value, Apply):
            return {"$" + value._name: [self._template(at, argument, path) for argument in value._arguments]}
        if isinstance(value, Literal):
            return _quoted(at, value._data)
        if isinstance(value, (list, tuple)):
            return [self._template(at, item, path) for item in value]
        if isinstance(value, dict):
            if any(_is_reserved(name) for name in value):
                if refs(value):
                    raise FlowError("a record with values of the flow in it has no field that begins with `$`: use a function of `fn`", at)
                return _quoted(at, value)
            return {_name(at, name): self._template(at, item, path) for name, item in value.items()}
        return _quoted(at, value)


def _source(graph: Graph, node: Any) -> str:
    return "input" if node is None else graph.names[node]


def _is_reserved(name: Any) -> bool:
    """Whether a field's name means something in a template. Bytes and references are values."""
    return isinstance(name, str) and name.startswith("$") and name not in ("$bytes", "$object")


def _name(at: str, name: Any) -> str:
    if isinstance(name, str):
        return name
    raise FlowError(f"{name!r} is no name of a field: names are texts", at)


def _quoted(at: str, data: Any) -> Any:
    """Data as a template that means it."""
    return data if _is_plain(at, data) else {"$literal": data}


def _is_plain(at: str, data: Any) -> bool:
    if isinstance(data, Expr):
        raise FlowError("`literal` takes data without values of the flow in it", at)
    if isinstance(data, str):
        return not data.startswith("$")
    if isinstance(data, (list, tuple)):
        return all([_is_plain(at, item) for item in data])
    if isinstance(data, dict):
        return all([not _is_reserved(_name(at, name)) and _is_plain(at, item) for name, item in data.items()])
    if data is None or isinstance(data, (bool, int)) or (isinstance(data, float) and math.isfinite(data)):
        return True
    raise FlowError(f"{data!r} is no JSON", at)
