from stride_flow import Flow, Retry, fn

flow = Flow("order", title="Take an order: approval, payment, notice")
order = flow.input(id=str, cents=int)

approved = flow.approval("approve", question=fn.format("order {} over {} cents?", order.id, order.cents), timeout="1d")
paid = flow.call(
    "shop/pay",
    {"order": order.id, "cents": order.cents},
    after=approved,
    retry=Retry(5, on=["unavailable"], jitter=True),
    compensate="shop/refund",
)
shipped = flow.ask("warehouse", "eu", "ship", {"order": order.id, "receipt": paid})
flow.publish("orders", {"shipped": order.id}, name="tell", after=shipped)

flow.output(shipped)
flow.print()
