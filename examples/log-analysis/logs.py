from stride_flow import Flow, context, fn

flow = Flow("logs", title="Count what happened, by hour, in a folder of logs")
folder = flow.input(bucket=str, prefix=str)

lines = flow.lines(folder.bucket, folder.prefix)
entries = flow.map(lines, "log-analysis/entry", effects=[])
known = flow.filter(entries, lambda entry: fn.ne(entry, None))
keyed = flow.key_by(known, lambda entry: fn.format("{} {}", entry.hour, entry.what))
ones = flow.map(keyed, lambda item: {"key": item.key, "value": 1}, name="ones")
counts = flow.reduce(ones, lambda counts: fn.sum_(counts), by_key=True, associative=True, name="count")
flow.put("reports", fn.format("{}.json", context.run.id), counts, name="report")

flow.output(counts)
flow.print()
