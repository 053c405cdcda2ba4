"""A codec that remembers the conversation of each prompt."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from splitreason_integrations.errors import SessionError
from splitreason_integrations.protocols import Codec, Prompt
from splitreason_integrations.records import Message

_REMEMBERED_PROMPTS = 256


class PromptMemory:
    """A codec that remembers which conversation each prompt came from."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._rendered: OrderedDict[
            tuple[int, ...], tuple[Sequence[Message], Sequence[Message] | None]
        ] = OrderedDict()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codec, name)

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Message] | None,
        *,
        thinking: bool | None = None,
        context_tokens: int | None = None,
    ) -> Prompt:
        """Return the conversation as the codec renders it, and remember it."""
        limit = {} if context_tokens is None else {"context_tokens": context_tokens}
        prompt = self._codec.render(messages, tools, thinking=thinking, **limit)
        self._rendered[prompt.token_ids] = (list(messages), tools)
        self._rendered.move_to_end(prompt.token_ids)
        if len(self._rendered) > _REMEMBERED_PROMPTS:
            self._rendered.popitem(last=False)
        return prompt

    def recall(self, prompt: tuple[int, ...]) -> tuple[Sequence[Message], Sequence[Message] | None]:
        """Return the conversation of a prompt, the reasoning begun behind it or not."""
        known = [ids for ids in self._rendered if prompt[: len(ids)] == ids]
        if not known:
            raise SessionError("the prompt was not rendered by this model's codec")
        return self._rendered[max(known, key=len)]
