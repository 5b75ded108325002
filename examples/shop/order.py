from stride_flow import Flow, Retry, fn

flow = Flow("order", title="Take an order: hold, approval, payment, parcel, notice")
order = flow.input(id=str, item=str, count=int, cents=int, customer=str)

held = flow.ask(
    "warehouse",
    "eu",
    "hold",
    {"order": order.id, "item": order.item, "count": order.count},
    compensate=lambda: flow.ask("warehouse", "eu", "release", order.id),
)
question = fn.format("order {} over {} cents?", order.id, order.cents)
approved = flow.approval("approve", question=question, timeout="1d", after=held)
paid = flow.call(
    "shop/pay",
    {"order": order.id, "cents": order.cents},
    after=approved,
    retry=Retry(5, on=["unavailable"], jitter=True),
    compensate="shop/refund",
)
parcel = flow.ask("warehouse", "eu", "ship", {"order": order.id, "receipt": paid})
flow.tell("customer", order.customer, "notify", {"order": order.id, "parcel": parcel})

flow.output(parcel)
flow.print()
