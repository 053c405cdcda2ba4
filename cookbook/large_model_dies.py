"""A large model dies within a span: the next one, or the small one, continues; nothing is lost.

Your own models: `SplitReasonLLM(small="hf:<small model>", large=["hf:<large>", "hf:<spare>"])`.
"""

from contextlib import aclosing

from langchain_core.callbacks import BaseCallbackHandler

from langchain_splitreason import SplitReasonLLM
from splitreason_integrations import ModelTerms, Policy, Prices, SplitEngine, blocking

PRICED = Policy(models={"*": ModelTerms(prices=Prices(input_usd=0.5, output_usd=2.0))})


class Dying:
    """A real model, or a session of it, on a machine that fails for good."""

    def __init__(self, real, machine):
        self.real, self.machine = real, machine

    def __getattr__(self, name):
        """Delegate everything else to the real one."""
        return getattr(self.real, name)

    def open(self, prompt, written=()):
        """Open a session on the same machine."""
        return Dying(self.real.open(prompt, written), self.machine)

    async def write(self, order):
        """Write like the real session until the machine fails."""
        async with aclosing(self.real.write(order)) as writing:
            async for written in writing:
                if self.machine["tokens_left"] <= 0:
                    raise ConnectionError("the machine is down")
                self.machine["tokens_left"] -= len(written.token_ids)
                yield written


class Events(BaseCallbackHandler):
    """Prints the events of handoffs."""

    def on_custom_event(self, name, data, **kwargs):
        """Handle an offload event."""
        print(f"  {name.rpartition('.')[2]:10}", {k: data[k] for k in data if k != "request_id"})


_, large = blocking.run(SplitEngine().models)
question = (
    "Mia has 47 boxes with 23 cards in each box. Then Mia sells 12 cards. "
    "How many cards does Mia have now?"
)
for spares in ([], ["embedded"]):
    print(f"large models: one that dies, and {len(spares)} more")
    dying = Dying(large, {"tokens_left": 4})
    llm = SplitReasonLLM(small="embedded", large=[dying, *spares], policy=PRICED, seed=1)
    reply = llm.invoke(question, config={"callbacks": [Events()]})
    facts = reply.response_metadata["splitreason"]
    print(reply.additional_kwargs["reasoning_content"], reply.content, sep="\n")
    print(f"{facts['tokens']}, degraded: {facts['degraded']}, {facts['cost_usd']:.6f} USD\n")
