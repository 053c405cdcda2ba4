"""What the tests of the LangChain adapter share: a scripted pair, handlers that listen."""

import asyncio

from langchain_core.callbacks import (
    AsyncCallbackHandler,
    BaseCallbackHandler,
)
from langchain_core.tools import tool

from langchain_splitreason import SplitReasonLLM
from splitreason_integrations.testing import ScriptedModel

SMALL = "First, 2+3.<bigmodel> So 5.\nThen 5*3.<bigmodel> Fifteen.</think>\n\nThe answer is 15."
LARGE = " That is 5.</bigmodel> That is 15.</bigmodel>"
REASONING = "First, 2+3. That is 5. So 5.\nThen 5*3. That is 15. Fifteen."
ANSWER = "The answer is 15."
EVENTS = [f"splitreason.handoff.{verb}" for verb in ("requested", "started", "finished")] * 2


def scripted(small=SMALL, large=LARGE, *, delay_s=0.0, **options):
    return SplitReasonLLM(
        small=ScriptedModel(small, name="little", delay_s=delay_s),
        large=ScriptedModel(large, name="big", delay_s=delay_s),
        **{"seed": 1, **options},
    )


def joined(chunks):
    return sum(chunks[1:], chunks[0])


def open_sessions(model):
    return model.small.open_sessions + model.large.open_sessions


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


CALL = '</think>\n\n<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'


class Heard(BaseCallbackHandler):
    """Records the events of a synchronous handler."""

    def __init__(self):
        self.events, self.spans, self.ended, self.failed, self.runs = [], [], [], [], []

    def on_chat_model_start(self, serialized, messages, *, run_id, **kwargs):
        self.runs.append(run_id)
        self.params = kwargs["invocation_params"]

    def on_custom_event(self, name, data, *, run_id, **kwargs):
        self.events.append((name, data, run_id))

    def on_llm_start(self, serialized, prompts, *, run_id, parent_run_id=None, **kwargs):
        self.spans.append((serialized["name"], prompts[0], parent_run_id, kwargs["metadata"]))

    def on_llm_end(self, response, *, run_id, **kwargs):
        self.ended.append(response.generations[0][0])

    def on_llm_error(self, error, **kwargs):
        self.failed.append(error)

    @property
    def names(self):
        return [name for name, _, _ in self.events]


class HeardLater(AsyncCallbackHandler):
    """Records the events of an asynchronous handler."""

    def __init__(self):
        self.names = []

    async def on_custom_event(self, name, data, **kwargs):
        await asyncio.sleep(0)
        self.names.append(name)
