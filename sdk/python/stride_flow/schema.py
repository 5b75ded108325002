"""What values look like, from Python's types."""

import dataclasses
from typing import Any, Dict, Union, get_args, get_origin, get_type_hints

from .errors import FlowError

_WORDS = {type(None): "null", None: "null", bool: "bool", int: "int", float: "number", str: "string", bytes: "bytes", Any: "any", object: "any", list: {"list": "any"}, dict: {"map": "any"}}
_NAMES = ("any", "null", "bool", "int", "number", "string", "bytes", "object")


def schema(of: Any) -> Any:
    """`str`, `int`, `float`, `bool`, `bytes`, `None`, `Any`; `[str]` and `List[str]`; `{"id": int, "note?": str}` and dataclasses as records; `Dict[str, int]` as a map;
    `Union` and `Optional`; and the words of the reference as texts, such as `"object"`."""
    if isinstance(of, str):
        if of in _NAMES:
            return of
        raise FlowError(f"`{of}` is no schema: there are {', '.join(_NAMES)}")
    if isinstance(of, dict):
        return {"record": {name: schema(field) for name, field in of.items()}}
    if isinstance(of, (list, tuple)):
        if len(of) != 1:
            raise FlowError("a list of a type is written as `[str]`")
        return {"list": schema(of[0])}
    if dataclasses.is_dataclass(of):
        hints: Dict[str, Any] = get_type_hints(of)
        return {"record": {field.name: schema(hints[field.name]) for field in dataclasses.fields(of)}}
    origin, arguments = get_origin(of), get_args(of)
    if origin is list:
        return {"list": schema(arguments[0])}
    if origin is dict:
        return {"map": schema(arguments[1])}
    if origin is Union or type(of).__name__ == "UnionType":
        return {"one_of": [schema(argument) for argument in arguments]}
    try:
        return _WORDS[of]
    except (KeyError, TypeError):
        raise FlowError(f"{of!r} is no type that a value of a flow can have") from None
