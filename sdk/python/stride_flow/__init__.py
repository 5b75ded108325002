"""Write flows in Python. A flow is a small program that prints an artefact as JSON, which is what `stride flow deploy FILE.py` reads.

    from stride_flow import Flow

    flow = Flow("greet")
    who = flow.input(name=str)
    text = flow.call("texts/greeting", {"to": who.name}, retry=3)
    flow.tell("log", "greetings", "add", text)
    flow.output(text)
    flow.print()

Values. What a step gives can be used wherever a value is taken, also inside of lists and dicts: attributes and indices choose a part of it,
operators and `fn` compute with it. Nothing is computed when the program runs: it says what is to be computed. Plain data means itself.

Steps. Every operator is a method of `Flow`; what all of them may have (`retry`, `timeout`, `catch`, `compensate`, ...) are keywords of all. Whose
values a step takes follows from what it was given.

Bodies. A function (`"component/function"`), a value, or a Python function: steps that it makes are inside of the body. It may use values from
around it, and they are handed in; only the bodies of `iterate` and `reduce` see nothing but their state.

Mistakes are `FlowError`, with the line that made them. Whether functions exist and types fit is checked where the flow is deployed.
"""

from . import functions as fn
from .errors import FlowError
from .expr import Expr, context, literal, select
from .flow import Flow
from .policy import Retry, Slo, catch

__all__ = ["Expr", "Flow", "FlowError", "Retry", "Slo", "catch", "context", "fn", "literal", "select"]
