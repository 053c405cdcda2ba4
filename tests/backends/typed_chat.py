"""A chat of the tests that knows `response_format` and heeds `tool_choice`, as vLLM does."""

import json
from contextlib import aclosing, suppress

from splitreason_integrations import Sampling
from splitreason_integrations.backends.base import WriteOrder
from splitreason_integrations.records import Channel
from splitreason_integrations.text.grammar import Guide, answer_grammar, call_grammar
from splitreason_integrations.text.replies import ReplyReader
from splitreason_integrations.text.tags import Tags, tags_of

PARAMETERS = {"response_format", "tools", "tool_choice"}
_PROBES = 2


def form_of(body, codec):
    """Return the grammar of the answer that a chat asks for; None where it is free."""
    tools, choice = body.get("tools"), body.get("tool_choice")
    if body.get("structured_outputs"):
        return body["structured_outputs"]["grammar"]
    if asked := body.get("response_format"):
        is_any = asked["type"] == "json_object"
        schema = {"type": "object"} if is_any else asked["json_schema"]["schema"]
        return answer_grammar(schema, codec)
    if isinstance(choice, dict):
        tools = [one for one in tools if one["function"]["name"] == choice["function"]["name"]]
    return call_grammar(tools, codec) if tools and choice not in (None, "auto", "none") else None


class TypedChat:
    """Answers in a form. The first `misfits` requests behind the two probes are answered freely."""

    def __init__(self, model, misfits):
        self.model, self.left = model, misfits
        self.asked = 0

    async def deltas(self, prompt, body, grammar):
        """Yield what a message has: its thought, then its text or its calls in pieces."""
        self.asked += 1
        if self.asked > _PROBES and self.left:
            self.left -= 1
            yield {"content": "Let me see."}
            return
        codec = self.model.codec
        thinks = codec.decode(prompt).rstrip().endswith("<think>")
        if body.get("structured_outputs"):
            # It is not asked to look for calls.
            yield {"content": codec.decode(await self._ids(prompt, body, grammar, thinks=False))}
            return
        reader = ReplyReader(codec.response_template, "<think>\n" if thinks else "")
        reader.feed(codec.decode(await self._ids(prompt, body, grammar, thinks=thinks)))
        reader.finish()
        if thought := reader.text(Channel.REASONING):
            yield {"reasoning_content": thought}
        said = reader.text(Channel.ANSWER)
        with suppress(ValueError):  # it is cut off
            said = json.dumps(json.loads(said), indent=1)
        for at in range(0, len(said), 7):
            yield {"content": said[at : at + 7]}
        for at, call in enumerate(reader.tool_calls):
            arguments = json.dumps(call.arguments, indent=1)
            for piece in ({"name": call.name, "arguments": ""}, {"arguments": arguments}):
                yield {"tool_calls": [{"index": at, "id": "c1", "function": piece}]}

    async def _ids(self, prompt, body, grammar, *, thinks):
        codec = self.model.codec
        order = WriteOrder(
            max_tokens=body.get("max_tokens") or body["max_completion_tokens"],
            sampling=Sampling(body.get("temperature", 0.0)),
            seed=body.get("seed", 0),
            stream=1,
            stop_tokens=codec.end_tokens,
            forbidden=tags_of(codec, as_text=False).control_tokens,
            guide=Guide(codec, grammar, Tags(), reasons=thinks),
        )
        session, ids = self.model.open(prompt), []
        try:
            async with aclosing(session.write(order)) as writing:
                async for written in writing:
                    ids += written.token_ids
        finally:
            session.close()
        return ids
