from stride_flow import Flow, fn

flow = Flow("train", title="Train until the loss is small enough: an iterate over an agent that keeps the weights")
given = flow.input(training=str, batches=[str], goal=float)


def step(state):
    """One step of the trainer with the next batch. The state says which, so a run that goes on after a crash takes each step once."""
    batch = fn.get(state.batches, state.step % fn.length(state.batches))
    done = flow.ask("trainer", state.training, "step", batch)
    return fn.merge(state, {"step": state.step + 1, "loss": done.loss})


begin = fn.merge(given, {"step": 0})
trained = flow.iterate(begin, step, rounds_max=10_000, until=lambda state: state.loss <= state.goal, at_bound="finish", name="train")

flow.output({"steps": trained.step, "loss": trained.loss})
flow.print()
