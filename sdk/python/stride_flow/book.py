"""What was written so far: graphs of nodes, and the pieces of nodes. Dicts and lists among the pieces are records and lists of pieces."""

from typing import Any, Dict, List, Optional

from .expr import Apply, Ref


class Given:
    """An expression."""

    def __init__(self, value: Any):
        self.value = value


class Whole(Given):
    """An expression that is left out if it is the whole input."""


class Lambda:
    """An expression with an input of its own: a graph without nodes."""

    def __init__(self, graph: "Graph"):
        self.graph = graph


class Body:
    """A function and what it gets, if that is not all; or a graph."""

    def __init__(self, function: Optional[str] = None, on: Optional[Given] = None, graph: Optional["Graph"] = None):
        self.function = function
        self.on = on
        self.graph = graph


class Item:
    """Values from around a body are handed in beside the item."""


class Closed:
    """A body does not see values from around it."""

    def __init__(self, remedy: str):
        self.remedy = remedy


class Node:
    """A step."""

    def __init__(self, base: str, op: str, work: Any, fields: Dict[str, Any], after: List[Any], uses: List[Any], at: str, name: Optional[str]):
        self.base = base
        self.op = op
        self.work = work
        self.fields = fields
        self.after = after
        self.uses = uses
        self.at = at
        self.name = name


class Graph:
    """A graph, or the body of a node. `around` says how it gets at values from around it: an `Item`, `Closed`, or, as a text, where the input of its node is in its own."""

    def __init__(self, parent: Optional["Graph"], around: Any):
        self.parent = parent
        self.around = around
        self.schema: Any = None
        self.nodes: List[Node] = []
        self.names: List[str] = []
        self.captured: List[Ref] = []
        #: `None`, `"input"`, the number of a node, or the expression of a body without nodes.
        self.output: Any = None
        self.at = ""

    @staticmethod
    def item() -> Item:
        return Item()

    @staticmethod
    def closed(remedy: str) -> Closed:
        return Closed(remedy)

    @property
    def is_expr(self) -> bool:
        """Whether it is an expression and nothing else."""
        return isinstance(self.output, Given) or (self.output is None and not self.nodes)

    def push(self, node: Node) -> Ref:
        self.nodes.append(node)
        return Ref(self, len(self.nodes) - 1, "", node.fields.get("output", "any"))

    def close(self, result: Any, at: str) -> None:
        """Makes a value its output."""
        self.at = at
        is_mine = isinstance(result, Ref) and result._graph is self and not result._path
        if result is None:
            self.output = None
        elif is_mine and result._node is not None:
            self.output = result._node
        elif self.parent is not None and not self.nodes:
            self.output = Given(result)
        elif is_mine and not isinstance(self.around, Item):
            self.output = "input"
        else:
            self.push(Node("output", "pass", {"value": Whole(result)}, {}, [], [], at, None))
            self.output = len(self.nodes) - 1


def refs(value: Any) -> List[Ref]:
    """The values of the flow in an expression, in a piece or in plain data."""
    if isinstance(value, Ref):
        return [value]
    if isinstance(value, Given):
        return refs(value.value)
    if isinstance(value, Apply):
        return refs(value._arguments)
    if isinstance(value, Lambda):
        return captured(value.graph)
    if isinstance(value, Body):
        return captured(value.graph) if value.graph is not None else refs(value.on)
    if isinstance(value, dict):
        return [found for part in value.values() for found in refs(part)]
    if isinstance(value, (list, tuple)):
        return [found for part in value for found in refs(part)]
    return []


def refs_of(node: Node) -> List[Ref]:
    return refs([node.work, node.fields, node.uses])


def captured(graph: Graph) -> List[Ref]:
    """What a graph uses from around it. Known once it is closed."""
    return graph.captured
