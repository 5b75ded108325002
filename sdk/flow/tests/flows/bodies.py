from typing import List

from stride_flow import Flow, catch

flow = Flow("bodies")
given = flow.input(lists=[[int]], rate=int)
factor = flow.call("f/inc", given.rate, name="factor")


def outer(numbers):
    numbers = flow.input(List[int])
    products = flow.map(numbers, lambda n: {"product": n * factor, "rate": given.rate, "whole": numbers})
    twice = flow.map(products, "f/double", name="twice")
    return {"all": twice, "of": numbers}


lists = flow.map(given.lists, outer)


def told(n):
    n = flow.input(int)
    flow.tell("a", "k", "m", n, name="tell")
    return n


flow.iterate(1, told, rounds_max=3, name="same")
flow.call(
    "f/pay",
    given.rate,
    catch=catch("refused", do=lambda e: flow.call("f/undo", {"why": e.message, "all": lists})),
    compensate=lambda undo: {"result": undo.result, "rate": given.rate},
)
flow.branch(given.rate, (True, "f/inc"))
flow.output(given)
flow.print()
