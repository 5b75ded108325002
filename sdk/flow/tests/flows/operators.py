from typing import Any, Dict, Optional

from stride_flow import Flow, Retry, Slo, catch, context, fn, literal, select

flow = Flow("operators", title="Every operator once", timeout="1h", slo=Slo(p99=1.5, deadline="1m", budget=7))
order = flow.input(
    {"id": str, "cents": int, "tags": [str], "note?": Optional[str], "of": Dict[str, float], "at": Any, "raw": bytes, "file": "object", "ok": bool}
)

items = flow.items([1, 2, 3])
objects = flow.objects("images", fn.format("{}/", context.run.id))
lines = flow.lines("logs", "2026/")
messages = flow.messages("clicks", count_max=1000, time_max="5s")

price = flow.call("shop/price", {"sku": order.id, "five": "$5"}, effects=[])
pictures = flow.map(objects, "images/resize", window=128, failures_max=9, failures_percent_max=1.5, after=[price, items])
flow.map(order.tags, "text/tag", input={"at": context.item.index, "tag": context.item.value, "id": order.id}, name="indexed")
flow.flat_map(lines, "text/words")
errors = flow.filter(lines, lambda line: fn.matches(line, "*ERROR*"))
keyed = flow.key_by(errors, lambda line: fn.split(line, " ")[0])
counts = flow.reduce(keyed, "math/sum", by_key=True, associative=True, window=8)
joined = flow.join((pictures, lambda picture: picture.id), (messages, lambda message: message["the id"]), kind="left")

flow.iterate(
    {"weights": [0, 0]},
    "model/step",
    rounds_max=500,
    until=lambda model: (model.loss < 0.01) & (context.round > 2),
    at_bound="finish",
)


def stop():
    flow.fail("sold_out", fn.format("no {}", order.id), name="stop")


def end():
    flow.succeed(order.id, name="end")


flow.branch(order, (order.cents > 100000, "shop/review"), (order.id == "x", stop), otherwise=literal("fine"))
flow.parallel(order, {"card": "risk/card", "address": end})

flow.ask("counter", order.id, "add", 1, affinity=fn.format("agent:counter/{}", order.id))
flow.tell("index", "images", "added", pictures)
flow.event(
    fn.format("paid/{}", order.id),
    timeout="1h",
    catch=[catch("timeout", do=literal(None)), catch(do=lambda e: {"was": e.error, "id": order.id})],
)
flow.sleep("1m")
flow.sleep(until="2030-01-31T12:00:00Z")
flow.approval(question="release?", of="ops")
flow.put("reports", fn.format("{}.json", context.run.id), counts)
flow.publish("done", joined)
flow.subflow(
    "order",
    order["at"][0],
    title="another",
    gives={"n": int},
    hardware="gpu",
    slo=Slo(budget=1),
    retry=[Retry(5, on=["unavailable"], backoff="200ms", rate=1.5, backoff_max=9, jitter=True), Retry(1)],
    compensate="shop/undo",
)
flow.pass_(fn.set_(order, "state", order.cents * 2 + fn.split(order.id, "-")[0]))
flow.output({"sum": counts, "skus": select(pictures, "[*].sku")})
flow.print()
