"""The flow that is being written: every operator is a method. `docs/flows.md` says what they do."""

import inspect
import json
import sys
from typing import Any, Callable, Dict, Optional, Sequence, Tuple, Union

from .book import Body, Given, Graph, Lambda, Node, Whole
from .errors import FlowError, caller
from .expr import Expr, Ref
from .policy import Slo, Time, millis, retries, said
from .render import render
from .schema import schema

#: A function (`"component/function"`), a value, or a Python function of the body's input.
BodyLike = Union[str, Expr, Callable[..., Any]]

_MORE = ("after", "affinity", "catch", "compensate", "effects", "gives", "hardware", "name", "retry", "slo", "timeout", "title")


class Flow:
    """A flow of this name: letters, digits, `_` and `-`.

    All steps take these keywords: `name` (otherwise like its function, or else its operator), `after` (steps that are waited for), `title`, `gives` (what its
    value looks like), `effects` (all that it may do; `[]`: it is pure), `retry`, `timeout`, `catch` (see `catch`), `compensate` (a body that gets `input` and `result`),
    `affinity`, `hardware`, `slo`.
    """

    def __init__(self, name: str, title: Optional[str] = None, timeout: Optional[Time] = None, slo: Optional[Slo] = None):
        self._fields = said(
            version=1,
            name=name,
            title=title,
            timeout_ms=None if timeout is None else millis(timeout),
            slo=None if slo is None else slo._json(),
        )
        self._root = Graph(None, "")
        self._open = [self._root]

    # --- in and out ---

    def input(self, of: Any = None, **fields: Any) -> Any:
        """The input, and what it looks like: `flow.input(id=str, cents=int)`. Within a body: that of the body."""
        graph = self._open[-1]
        if of is not None or fields:
            graph.schema = schema(fields if of is None else of)
        return Ref(graph, None, "", graph.schema or "any")

    def output(self, value: Any) -> None:
        """What the flow gives: a step, or anything that is built from what steps give."""
        self._open[-1].close(value, caller())

    def draft(self) -> Dict[str, Any]:
        """The artefact."""
        return {**self._fields, "graph": render(self._root)}

    def print(self) -> None:
        """Prints the artefact as JSON, or its mistakes to stderr."""
        try:
            draft = self.draft()
        except FlowError as e:
            sys.exit(str(e))
        print(json.dumps(draft, indent=2, sort_keys=True))

    # --- data ---

    def items(self, list: Any, **more: Any) -> Any:
        """The items of a list."""
        return self._step("items", "source", {"value": Given(list)}, more)

    def objects(self, bucket: Any, prefix: Any = "", **more: Any) -> Any:
        """References to the objects of a bucket whose keys begin so."""
        return self._step("objects", "source", {"objects": {"bucket": Given(bucket), "prefix": Given(prefix)}}, more)

    def lines(self, bucket: Any, prefix: Any = "", **more: Any) -> Any:
        """The lines of these objects."""
        return self._step("lines", "source", {"lines": {"bucket": Given(bucket), "prefix": Given(prefix)}}, more)

    def messages(self, topic: Any, count_max: int, time_max: Time, **more: Any) -> Any:
        """Messages of a topic: so many, or those that come in this time after the first."""
        window = {"topic": Given(topic), "count_max": count_max, "time_max_ms": millis(time_max)}
        return self._step("messages", "source", {"topic": window}, more)

    def put(self, bucket: Any, key: Any, content: Any, **more: Any) -> Any:
        """Writes an object. The value is a reference to it."""
        return self._step("put", "sink", {"object": {"bucket": Given(bucket), "key": Given(key), "value": Whole(content)}}, more)

    def publish(self, topic: Any, message: Any, **more: Any) -> Any:
        """Publishes a message."""
        return self._step("publish", "sink", {"topic": {"topic": Given(topic), "value": Whole(message)}}, more)

    # --- over items ---

    def map(self, items: Any, body: BodyLike, **more: Any) -> Any:
        """Every item becomes one. `input`: what the body gets, built from `context.item` and values from around; `window`; `failures_max`, `failures_percent_max`."""
        return self._over("map", items, body, more)

    def flat_map(self, items: Any, body: BodyLike, **more: Any) -> Any:
        """Every item becomes the items of a list. Takes what `map` takes."""
        return self._over("flat_map", items, body, more)

    def filter(self, items: Any, body: BodyLike, **more: Any) -> Any:
        """Keeps the items for which the body is true. Takes what `map` takes."""
        return self._over("filter", items, body, more)

    def key_by(self, items: Any, body: BodyLike, **more: Any) -> Any:
        """Every item becomes `{"key", "value"}`; the body gives the key. Takes what `map` takes."""
        return self._over("key_by", items, body, more)

    def reduce(
        self,
        items: Any,
        body: BodyLike,
        by_key: Optional[bool] = None,
        associative: Optional[bool] = None,
        window: Optional[int] = None,
        **more: Any,
    ) -> Any:
        """The body gets a list of values and gives one; `by_key`: one for each key. `associative`: a fold of folds of neighbours is the fold of all."""
        fold = self._body(body, Graph.closed("put it into the items"))
        options = said(by_key=by_key, associative=associative, window=window)
        return self._step("reduce", "reduce", {"items": Whole(items), "body": fold, **options}, more)

    def join(
        self,
        left: Tuple[Any, Callable[[Any], Any]],
        right: Tuple[Any, Callable[[Any], Any]],
        kind: Optional[str] = None,
        **more: Any,
    ) -> Any:
        """Items of two lists with the same key, as `{"key", "left", "right"}`. A side is a list and a function that gives an item's key. `kind`: `inner`, `left` or `full`."""

        def side(of: Tuple[Any, Callable[[Any], Any]]) -> Dict[str, Any]:
            if not isinstance(of, tuple) or len(of) != 2:
                raise FlowError("a side of a join is `(list, function that gives the key of an item)`")
            return {"items": Given(of[0]), "key": self._lambda(of[1], "put it into the items")}

        return self._step("join", "join", {"left": side(left), "right": side(right), **said(kind=kind)}, more)

    # --- ways ---

    def iterate(
        self,
        state: Any,
        body: BodyLike,
        rounds_max: int,
        until: Optional[Callable[[Any], Any]] = None,
        at_bound: Optional[str] = None,
        **more: Any,
    ) -> Any:
        """From state to state, `rounds_max` times at most, until `until` of the new state is true (`context.previous` and `context.round` are known there) or it no longer
        changes. `at_bound="finish"`: the last state is the value then."""
        step = self._body(body, Graph.closed("put it into the state"))
        work = {"state": Whole(state), "body": step, "rounds_max": rounds_max, **said(at_bound=at_bound)}
        if until is not None:
            work["until"] = self._lambda(until, "put it into the state")
        return self._step("iterate", "iterate", work, more)

    def branch(self, on: Any, *cases: Tuple[Any, BodyLike], otherwise: Optional[BodyLike] = None, **more: Any) -> Any:
        """The first case, `(condition, body)`, whose condition is true. Bodies work on `on`."""
        for case in cases:
            if not isinstance(case, tuple) or len(case) != 2:
                raise FlowError("a case is `(condition, body)`")
        work: Dict[str, Any] = {"cases": [{"when": Given(when), "body": self._body(body, "", on)} for when, body in cases]}
        if otherwise is not None:
            work["otherwise"] = self._body(otherwise, "", on)
        return self._step("branch", "branch", work, more, [on])

    def parallel(self, on: Any, branches: Dict[str, BodyLike], **more: Any) -> Any:
        """Bodies side by side, which work on `on`. The value is the record of theirs."""
        work = {"branches": {name: self._body(body, "", on) for name, body in branches.items()}}
        return self._step("parallel", "parallel", work, more, [on])

    def pass_(self, value: Any, **more: Any) -> Any:
        """Builds a value. It costs no step."""
        return self._step("pass", "pass", {"value": Whole(value)}, more)

    def fail(self, error: Any, message: Any = "", **more: Any) -> Any:
        """Fails with a code that `catch` and `retry` know it by."""
        return self._step("fail", "fail", {"error": Given(error), "message": Given(message)}, more)

    def succeed(self, value: Any = None, **more: Any) -> Any:
        """Ends the nearest run, item or parallel branch around it with a value."""
        return self._step("succeed", "succeed", {"value": Whole(value)}, more)

    # --- code, agents, people, time ---

    def call(self, function: str, given: Any = None, **more: Any) -> Any:
        """Calls a function, `component/function`."""
        return self._step(function.rsplit("/", 1)[-1], "call", {"function": function, "input": Whole(given)}, more)

    def ask(self, agent: str, key: Any, method: str, given: Any = None, **more: Any) -> Any:
        """Asks an agent. The value is its reply."""
        return self._step(method, "ask", {"agent": agent, "key": Given(key), "method": method, "input": Whole(given)}, more)

    def tell(self, agent: str, key: Any, method: str, given: Any = None, **more: Any) -> Any:
        """Tells an agent."""
        return self._step(method, "tell", {"agent": agent, "key": Given(key), "method": method, "input": Whole(given)}, more)

    def subflow(self, flow: str, given: Any = None, **more: Any) -> Any:
        """Runs another flow and takes its value."""
        return self._step(flow, "subflow", {"flow": flow, "input": Whole(given)}, more)

    def event(self, event: Any, **more: Any) -> Any:
        """Waits for an event that somebody sends to the run. The value is what comes with it."""
        return self._step("event", "wait", {"event": {"name": Given(event)}}, more)

    def sleep(self, time: Any = None, until: Any = None, **more: Any) -> Any:
        """Waits: seconds or a text such as `"5m"`, or a value of the flow in milliseconds; or `until` a moment, a text as in RFC 3339 or milliseconds since 1970."""
        if (time is None) == (until is None):
            raise FlowError("`sleep` takes a time, or `until` a moment")
        if until is not None:
            return self._step("sleep", "wait", {"timer": {"until": Given(until)}}, more)
        return self._step("sleep", "wait", {"timer": {"ms": Given(time if isinstance(time, Expr) else millis(time))}}, more)

    def approval(self, name: Optional[str] = None, *, question: Any, of: Any = None, **more: Any) -> Any:
        """Waits for somebody's consent. The value is `{"by", "payload"}`."""
        approval = {"question": Given(question), **said(of=None if of is None else Given(of))}
        return self._step("approval", "wait", {"approval": approval}, {**more, **said(name=name)})

    # --- how steps are written down ---

    def _over(self, op: str, items: Any, body: BodyLike, more: Dict[str, Any]) -> Any:
        given = more.pop("input", None)
        around = Graph.item() if given is None else Graph.closed("put it into `input`")
        work: Dict[str, Any] = {"items": Whole(items), "body": self._body(body, around)}
        if given is not None:
            work["input"] = Given(given)
        window, count, percent = (more.pop(name, None) for name in ("window", "failures_max", "failures_percent_max"))
        failures = said(count_max=count, percent_max=percent)
        work.update(said(window=window, failures=failures or None))
        return self._step(op, op, work, more)

    def _body(self, body: BodyLike, around: Any, on: Any = None) -> Body:
        """Writes a body down. `around` says how it gets at values from around it, `on` is what it works on if that is one of these."""
        if isinstance(body, str):
            return Body(function=body, on=None if on is None else Given(on))
        if not callable(body) and not isinstance(body, Expr):
            raise FlowError("a body is a function such as 'shop/pay', a value of the flow, or a Python function; `literal` makes a value of data")
        graph = Graph(self._open[-1], around)
        self._open.append(graph)
        try:
            graph.close(_call(body, Ref(graph, None) if on is None else on), caller())
        finally:
            self._open.pop()
        return Body(graph=graph)

    def _lambda(self, function: Callable[[Any], Any], remedy: str) -> Lambda:
        graph = self._body(function, Graph.closed(remedy)).graph
        if graph is None or graph.nodes:
            raise FlowError("here stands a Python function that gives an expression, and no step can be made")
        return Lambda(graph)

    def _step(self, base: str, op: str, work: Dict[str, Any], more: Dict[str, Any], uses: Sequence[Any] = ()) -> Any:
        unknown = sorted(set(more) - set(_MORE))
        if unknown:
            raise FlowError(f"a step of the kind `{op}` takes no `{unknown[0]}`; all take {', '.join(_MORE)}")
        fields: Dict[str, Any] = {name: more[name] for name in ("title", "hardware") if name in more}
        if "gives" in more:
            fields["output"] = schema(more["gives"])
        if "effects" in more:
            fields["effects"] = sorted(more["effects"])
        if "retry" in more:
            fields["retry"] = retries(more["retry"])
        if "timeout" in more:
            fields["timeout_ms"] = millis(more["timeout"])
        if "slo" in more:
            fields["slo"] = more["slo"]._json()
        if "affinity" in more:
            fields["affinity"] = Given(more["affinity"])
        if "compensate" in more:
            fields["compensate"] = self._body(more["compensate"], ".input")
        if "catch" in more:
            rules = more["catch"] if isinstance(more["catch"], list) else [more["catch"]]
            fields["catch"] = [{"errors": errors, "body": self._body(body, ".input")} for errors, body in rules]
        after = more.get("after", ())
        after = list(after) if isinstance(after, (list, tuple)) else [after]
        node = Node(base, op, work, fields, after, list(uses), caller(), more.get("name"))
        return self._open[-1].push(node)


def _call(body: Any, given: Any) -> Any:
    """A body may leave out its parameter."""
    if isinstance(body, Expr):
        return body
    takes = len(inspect.signature(body).parameters)
    return body(given) if takes else body()
